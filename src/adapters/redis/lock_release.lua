-- Gives a lock back, if it is still the token's.
-- KEYS: 1 = lock:<name>. ARGV: 1 = the token.
-- Reply: 1 when it was, 0 when it was not.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
