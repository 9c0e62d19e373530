-- Returns a record with all its clips, as it is at one moment.
-- KEYS[1] the record's hash; ARGV[1] what the names of its clips begin with;
-- ARGV[2] a field to return beside them, empty for none
-- Returns the version, the document, and each clip, none of them if there is no
-- record; last the field, empty if it is not there.
local names = {'ver', 'doc'}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(name, 1, #ARGV[1]) == ARGV[1] then
    names[#names + 1] = name
  end
end
local found = {}
for first = 1, #names, 1000 do -- a call takes only so many arguments
  local some = redis.call('HMGET', KEYS[1], unpack(names, first, math.min(first + 999, #names)))
  for _, value in ipairs(some) do
    if value then
      found[#found + 1] = value
    end
  end
end
if ARGV[2] ~= '' then
  found[#found + 1] = redis.call('HGET', KEYS[1], ARGV[2]) or ''
end
return found
