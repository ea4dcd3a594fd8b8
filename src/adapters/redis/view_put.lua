-- Keeps a view of a product unless a newer one is kept.
-- KEYS: 1 = view:{id}, a hash: version, as_of (milliseconds since 1970), view (JSON).
-- ARGV: 1 = version, 2 = as_of, 3 = the view, 4 = when it is forgotten (milliseconds since 1970).
-- Reply: 1 when it was kept, 0 when a newer one, or this very one, was there.

local kept = redis.call('HMGET', KEYS[1], 'version', 'as_of')
if kept[1] and kept[2] then
  local version, as_of = tonumber(kept[1]), tonumber(kept[2])
  local new_version, new_as_of = tonumber(ARGV[1]), tonumber(ARGV[2])
  if new_version < version or (new_version == version and new_as_of <= as_of) then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'as_of', ARGV[2], 'view', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return 1
