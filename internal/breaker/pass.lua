-- Records that the other side did what it was asked.
-- KEYS[1] the breaker's hash; ARGV[1] the calling process; ARGV[2] for how many
-- milliseconds what is known is kept; ARGV[3] the failures in a row that stay in
-- mind: after a probe all but one of those that open it, else none
if tonumber(ARGV[3]) == 0 then
  redis.call('HDEL', KEYS[1], 'failures', 'since', 'probe', 'wait')
elseif redis.call('HEXISTS', KEYS[1], 'failures') == 1 then
  redis.call('HDEL', KEYS[1], 'since', 'probe')
  redis.call('HSET', KEYS[1], 'failures', ARGV[3])
end
local t = redis.call('TIME')
redis.call('HDEL', KEYS[1], 'bad:' .. ARGV[1])
redis.call('HSET', KEYS[1], 'seen:' .. ARGV[1], t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
