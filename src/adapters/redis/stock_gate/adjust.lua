-- Follows changes of stock that the ledger has made, each once.
-- KEYS: 1-4 as above; 4+i = product:{id}:adjusted:<version> of change i.
-- ARGV: 1 = milliseconds for which a change is remembered; then for each change: delta, version.
-- Reply: how many were applied.

local product = totals()
if not product then
  return 0
end
local applied = 0
for i = 1, #KEYS - 4 do
  local delta, version = ARGV[2 * i], ARGV[2 * i + 1]
  if tonumber(version) > product.version and redis.call('SET', KEYS[4 + i], '1', 'NX', 'PX', ARGV[1]) then
    redis.call('INCRBY', KEYS[1], delta)
    redis.call('HINCRBY', KEYS[4], 'changes', '1')
    applied = applied + 1
  end
end
return applied
