-- Stores a record if its version is the expected one.
-- KEYS[1]  the record's hash
-- ARGV[1]  expected version, 0 if there must be no record
-- ARGV[2]  time to live in milliseconds, 0 for none
-- ARGV[3]  token of this store: sent again after a lost reply, it is not taken for a rival's;
--          empty for none
-- ARGV[4…] pairs of field and value; an empty value deletes the field
-- Returns the new version, or -1 if the version is another one.
local version = tonumber(redis.call('HGET', KEYS[1], 'ver') or '0')
if version ~= tonumber(ARGV[1]) then
  if redis.call('HGET', KEYS[1], 'by') == ARGV[3] then
    return version
  end
  return -1
end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('HSET', KEYS[1], 'ver', version + 1)
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], 'by')
else
  redis.call('HSET', KEYS[1], 'by', ARGV[3])
end
if tonumber(ARGV[2]) > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('PERSIST', KEYS[1])
end
return version + 1
