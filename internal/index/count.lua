-- Counts members of a batch by the index that they are in.
-- KEYS[1]  the members, KEYS[2…] the indexes
-- ARGV[1]  the rank of the first member to look at, ARGV[2] how many to look at
-- Returns a count for each index, of those that are in none, and of all that were
-- looked at.
local ids = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[1] + ARGV[2] - 1)
local counts, left = {}, ids
for i = 2, #KEYS do
  local n, out = 0, {}
  for first = 1, #left, 1000 do
    local last = math.min(first + 999, #left)
    for j, score in ipairs(redis.call('ZMSCORE', KEYS[i], unpack(left, first, last))) do
      if score then
        n = n + 1
      else
        out[#out + 1] = left[first + j - 1]
      end
    end
  end
  counts[#counts + 1] = n
  left = out
end
counts[#counts + 1] = #left
counts[#counts + 1] = #ids
return counts
