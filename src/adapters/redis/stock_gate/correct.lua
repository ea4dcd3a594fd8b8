-- Sets the stock of a product if nothing has changed.
-- KEYS: 1-4 as above. ARGV: 1 = stock, 2 = version that explains it, 3 = the changes counter that was seen.
-- Reply: 1 when it was set, 0 when something had changed or the product is not loaded.

local product = totals()
if not product or product.texts.changes ~= ARGV[3] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[4], 'version', ARGV[2])
redis.call('HINCRBY', KEYS[4], 'changes', '1')
return 1
