-- Records a failure.
-- KEYS[1] the breaker's hash; ARGV[1] failures in a row that open it;
-- ARGV[2] 1 if a probe failed; ARGV[3] the first and ARGV[4] the longest wait in
-- milliseconds; ARGV[5] what the wait is multiplied with, at random from [0.5, 1];
-- ARGV[6] the wait that the other side asked for; ARGV[7] for how many
-- milliseconds what is known is kept
-- Returns 1 if this opened the breaker.
local threshold = tonumber(ARGV[1])
local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or '0')
if failures >= threshold and ARGV[2] ~= '1' then
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
  return 0 -- sent before it opened
end
failures = math.min(failures + 1, threshold)
redis.call('HSET', KEYS[1], 'failures', failures)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
if failures < threshold then
  return 0
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local wait = tonumber(redis.call('HGET', KEYS[1], 'wait') or '0') * 2
wait = math.max(tonumber(ARGV[3]), math.min(wait, tonumber(ARGV[4])))
local pause = math.max(math.floor(wait * tonumber(ARGV[5])), tonumber(ARGV[6]))
redis.call('HSET', KEYS[1], 'wait', wait, 'probe', now + pause)
return redis.call('HSETNX', KEYS[1], 'since', now)
