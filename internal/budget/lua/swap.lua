-- Makes one change, or answers with what is stored.
--
-- KEYS[1]  hash: the account's fields; "v" is its version
-- KEYS[2]  number of the worker's last change
-- KEYS[3]  list of what the last changes wrote, latest first
-- KEYS[4]  channel on which changes are published (in KEYS so that a cluster routes
--          the script by one tag; nothing is stored there)
-- ARGV[1]  version that the change was made from
-- ARGV[2]  version to store if exactly that one is stored, or "next"
-- ARGV[3]  ARGV[4] bounds of the clock in microseconds, "0" is open
-- ARGV[5]  the change as JSON: {"set":{field:value},"del":[field],"reset":bool}
-- ARGV[6]  its number
-- ARGV[7]  for how many seconds the number is remembered
-- ARGV[8]  how long the list is
--
-- Returns {1, seconds, microseconds} if the change is all that is new to the caller,
-- else {1 if it was made, seconds, microseconds, all fields, number of the worker's
-- last change}.
--
-- Lua's numbers are floating point: 2^53 microseconds reach until the year 2255.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local stored = tonumber(redis.call('HGET', KEYS[1], 'v') or '0') or 0
local last = redis.call('GET', KEYS[2]) or '0'
local function answer(done)
  return {done, t[1], t[2], redis.call('HGETALL', KEYS[1]), last}
end
if last == ARGV[6] then return answer(1) end
if tonumber(last) > tonumber(ARGV[6]) then return answer(0) end
local after, before = tonumber(ARGV[3]), tonumber(ARGV[4])
if (after > 0 and now < after) or (before > 0 and now > before) then return answer(0) end

local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
local c = cjson.decode(ARGV[5])
local writes, mine = {}, {}
for f in pairs(c.set or {}) do writes[#writes + 1], mine[f] = f, true end
for _, f in ipairs(c.del or {}) do writes[#writes + 1], mine[f] = f, true end
if stored ~= from then
  local since = stored - from
  if to or since < 0 or since > tonumber(ARGV[8]) then return answer(0) end
  local changes = redis.call('LRANGE', KEYS[3], 0, since - 1)
  if #changes < since then return answer(0) end
  for _, names in ipairs(changes) do
    for f in string.gmatch(names, '[^\n]+') do
      if mine[f] then return answer(0) end
    end
  end
end

if c.reset then redis.call('DEL', KEYS[1], KEYS[3]) end
for f, v in pairs(c.set or {}) do redis.call('HSET', KEYS[1], f, v) end
for _, f in ipairs(c.del or {}) do redis.call('HDEL', KEYS[1], f) end
to = string.format('%d', to or stored + 1)
redis.call('HSET', KEYS[1], 'v', to)
redis.call('LPUSH', KEYS[3], table.concat(writes, '\n'))
redis.call('LTRIM', KEYS[3], 0, tonumber(ARGV[8]) - 1)
redis.call('SET', KEYS[2], ARGV[6], 'EX', ARGV[7])
redis.call('PUBLISH', KEYS[4], string.format('%d', tonumber(to) - 1) .. ' ' .. ARGV[5])
if stored ~= from then
  last = ARGV[6]
  return answer(1)
end
return {1, t[1], t[2]}
