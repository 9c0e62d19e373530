-- Has a claim hold for longer if it is still the caller's.
-- KEYS[1] the claim
-- ARGV[1] the digest of the caller's body
-- ARGV[2] for how long, in milliseconds
-- Returns 1, or 0 if it was not.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
