-- Enters an export among those that wait, unless it is known.
-- KEYS[1]  exports that have a record, KEYS[2] those that wait, KEYS[3] what each is
--          found by, KEYS[4…] the indexes of its attributes
-- ARGV[1]  id
-- ARGV[2]  creation, milliseconds
-- ARGV[3]  for KEYS[3]
-- Returns 1, or 0 if it was known.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZADD', KEYS[2], 'NX', ARGV[2], ARGV[1]) == 0 then
  return 0
end
for i = 4, #KEYS do
  redis.call('ZADD', KEYS[i], ARGV[2], ARGV[1])
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
end
return 1
