-- Enters an export among those that wait, unless it is known.
-- KEYS[1]  exports that have a record and are not archived, KEYS[2] those that are,
--          KEYS[3] those that wait, KEYS[4] what it is found by, KEYS[5…] the indexes of
--          its attributes
-- ARGV[1]  id
-- ARGV[2]  creation, milliseconds
-- ARGV[3]  for KEYS[4]
-- Returns 1, or 0 if it was known.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZSCORE', KEYS[2], ARGV[1])
  or redis.call('ZADD', KEYS[3], 'NX', ARGV[2], ARGV[1]) == 0 then
  return 0
end
for i = 5, #KEYS do
  redis.call('ZADD', KEYS[i], ARGV[2], ARGV[1])
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])
end
return 1
