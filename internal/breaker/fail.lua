-- Records a failure.
-- KEYS[1] the breaker's hash; ARGV[1] failures in a row that open it;
-- ARGV[2] 1 if a probe failed; ARGV[3] the first and ARGV[4] the longest wait in
-- milliseconds; ARGV[5] what the wait is multiplied with, at random from [0.5, 1];
-- ARGV[6] the wait that the other side asked for; ARGV[7] for how many
-- milliseconds what is known is kept; ARGV[8] the calling process, ARGV[9] its own
-- failures in a row; ARGV[10] for how many milliseconds a sign of a process counts
-- Returns 1 if this opened the breaker, 2 if others are there that don't fail.
local threshold = tonumber(ARGV[1])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'seen:' .. ARGV[8], now, 'bad:' .. ARGV[8], 1)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or '0')
if ARGV[2] ~= '1' then
  if failures >= threshold then
    return 0 -- sent before it opened
  end
  local known, bad, signs = redis.call('HGETALL', KEYS[1]), {}, {}
  for i = 1, #known, 2 do
    local what, who = string.match(known[i], '^(%a+):(.+)$')
    if what == 'bad' then
      bad[who] = true
    elseif what == 'seen' then
      signs[who] = now - tonumber(known[i + 1])
    end
  end
  local alone = false
  for who, age in pairs(signs) do
    if age > tonumber(ARGV[7]) then
      redis.call('HDEL', KEYS[1], 'seen:' .. who, 'bad:' .. who)
    elseif age <= tonumber(ARGV[10]) and not bad[who] then
      alone = true
    end
  end
  if alone then
    return 2
  end
end
failures = math.min(math.max(failures + 1, tonumber(ARGV[9])), threshold)
redis.call('HSET', KEYS[1], 'failures', failures)
if failures < threshold then
  return 0
end
local wait = tonumber(redis.call('HGET', KEYS[1], 'wait') or '0') * 2
wait = math.max(tonumber(ARGV[3]), math.min(wait, tonumber(ARGV[4])))
local pause = math.max(math.floor(wait * tonumber(ARGV[5])), tonumber(ARGV[6]))
redis.call('HSET', KEYS[1], 'wait', wait, 'probe', now + pause)
return redis.call('HSETNX', KEYS[1], 'since', now)
