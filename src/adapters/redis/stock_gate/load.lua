-- Loads a product that is not loaded, with the holds of its PENDING orders.
-- KEYS: 1-4 as above; 4+i = product:{id}:ended:<key digest> of hold i.
-- ARGV: 1 = stock, 2 = version of the product that the stock was read at,
--       then for each hold: key digest, the packed hold with ordered = 1.
-- Reply: 1 when it was loaded, 0 when it had been before.

if totals() then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])

local reserved, sold, seen = 0, 0, {}
for i = 1, #KEYS - 4 do
  local key, text = ARGV[2 * i + 1], ARGV[2 * i + 2]
  local hold = unpacked(text)
  local how, saga = ending(redis.call('GET', KEYS[4 + i]))
  if saga == hold.saga then
    -- It has ended since the ledger was read.
    if how == 'sold' then
      sold = sold + hold.units
    end
  elseif not seen[key] then
    seen[key] = true
    redis.call('HSET', KEYS[3], key, text)
    reserved = reserved + hold.units
  end
end

redis.call('MSET', KEYS[1], ARGV[1], KEYS[2], int(reserved))
if sold > 0 then
  redis.call('DECRBY', KEYS[1], int(sold))
end
-- A counter that begins with the time does not come back to a value it had before it was lost.
redis.call('HSET', KEYS[4], 'unordered', '0', 'changes', int(microseconds()), 'version', ARGV[2])
return 1
