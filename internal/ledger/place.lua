-- Puts an export where it belongs in the indexes.
-- KEYS[1]  every export that is not archived, KEYS[2] those that need care, KEYS[3] those that wait and
--          have no record, KEYS[4] what each is found by, KEYS[5…] one for each state,
--          then those of its attributes
-- ARGV[1]  id
-- ARGV[2]  creation, milliseconds
-- ARGV[3]  version of the record that this follows from
-- ARGV[4]  1 if the export needs care
-- ARGV[5]  1 if it is not archived
-- ARGV[6]  which of KEYS is its state's
-- ARGV[7]  which of KEYS is the last state's
-- ARGV[8]  for KEYS[4]
-- It may have been entered with another creation before, by a worker that died.
if ARGV[5] == '1' then
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREM', KEYS[3], ARGV[1])
for i = 5, #KEYS do
  if i == tonumber(ARGV[6]) or i > tonumber(ARGV[7]) then
    redis.call('ZADD', KEYS[i], ARGV[2], ARGV[1])
  else
    redis.call('ZREM', KEYS[i], ARGV[1])
  end
end
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[8])
end
-- Whoever comes late must not take away what a later version of the record put there.
local version = tonumber(ARGV[3])
local known = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0')
if ARGV[4] == '1' then
  if known < version then
    redis.call('ZADD', KEYS[2], version, ARGV[1])
  end
elseif known <= version then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
