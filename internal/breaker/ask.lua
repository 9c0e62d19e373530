-- Asks whether the other side may be spoken to.
-- KEYS[1] the breaker's hash; ARGV[1] failures in a row that open it;
-- ARGV[2] for how many milliseconds a probe is one caller's; ARGV[3] the calling
-- process; ARGV[4] every how many milliseconds it leaves a sign that it is there,
-- and ARGV[5] for how many what is known is kept; ARGV[6] 1 if it may probe
-- Returns the failures in a row, the milliseconds until the next probe (0 if it
-- may be spoken to) and 1 if the caller is to make the probe, 2 if it would be.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local seen = tonumber(redis.call('HGET', KEYS[1], 'seen:' .. ARGV[3]) or '0')
if now - seen >= tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], 'seen:' .. ARGV[3], now)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or '0')
if failures < tonumber(ARGV[1]) then
  return {failures, 0, 0}
end
local probe = tonumber(redis.call('HGET', KEYS[1], 'probe') or '0')
if now < probe then
  return {failures, probe - now, 0}
end
if ARGV[6] ~= '1' then
  return {failures, 0, 2}
end
redis.call('HSET', KEYS[1], 'probe', now + tonumber(ARGV[2]))
return {failures, 0, 1}
