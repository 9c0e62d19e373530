-- Returns the newest exports that are in all of the indexes.
-- KEYS     the indexes, each by creation
-- ARGV[1]  the latest creation that may follow, as Redis spells a bound
-- ARGV[2]  creation and ARGV[3] id of the export that they follow; of that creation
--          only those with a lesser id do. An empty id: none of this applies.
-- ARGV[4]  how many to return at most, ARGV[5] how many to look at at most
-- Returns 1 if there may be more, the creation and id of the last one that was
-- looked at, then ids and creations in turn.
local least = 1
for i = 2, #KEYS do
  if redis.call('ZCARD', KEYS[i]) < redis.call('ZCARD', KEYS[least]) then
    least = i
  end
end
local most, looks, page = tonumber(ARGV[4]), tonumber(ARGV[5]), 500
local found, last_ms, last_id = {}, '', ''
local function answer(more)
  local out = {more, last_ms, last_id}
  for _, value in ipairs(found) do
    out[#out + 1] = value
  end
  return out
end
local offset, looked = 0, 0
while looked < looks do
  local some = redis.call('ZREVRANGEBYSCORE', KEYS[least], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', offset, page)
  local ids = {}
  for i = 1, #some, 2 do
    ids[#ids + 1] = some[i]
  end
  local inall = {}
  for i = 1, #KEYS do
    if i ~= least and #ids > 0 then
      for j, score in ipairs(redis.call('ZMSCORE', KEYS[i], unpack(ids))) do
        if not score then
          inall[j] = false
        end
      end
    end
  end
  for j, id in ipairs(ids) do
    local ms = some[2 * j]
    last_ms, last_id = ms, id
    local follows = ARGV[3] == '' or tonumber(ms) < tonumber(ARGV[2]) or id < ARGV[3]
    if follows then
      looked = looked + 1
    end
    if follows and inall[j] ~= false then
      found[#found + 1] = id
      found[#found + 1] = ms
      if #found == 2 * most then
        return answer(1)
      end
    end
  end
  if #ids < page then
    return answer(0)
  end
  offset = offset + page
end
return answer(1)
