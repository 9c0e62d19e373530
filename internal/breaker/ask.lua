-- Asks whether the other side may be spoken to.
-- KEYS[1] the breaker's hash; ARGV[1] failures in a row that open it;
-- ARGV[2] for how many milliseconds a probe is one caller's
-- Returns the failures in a row, the milliseconds until the next probe (0 if it
-- may be spoken to) and whether the caller is to make the probe.
local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or '0')
if failures < tonumber(ARGV[1]) then
  return {failures, 0, 0}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local probe = tonumber(redis.call('HGET', KEYS[1], 'probe') or '0')
if now < probe then
  return {failures, probe - now, 0}
end
redis.call('HSET', KEYS[1], 'probe', now + tonumber(ARGV[2]))
return {failures, 0, 1}
