-- Holds a lock for another while, if it is still the token's.
-- KEYS: 1 = lock:<name>. ARGV: 1 = the token, 2 = milliseconds from now.
-- Reply: 1 when it was, 0 when it was not.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
