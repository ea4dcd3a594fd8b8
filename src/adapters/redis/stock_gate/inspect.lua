-- Reads everything about a product. It changes nothing.
-- KEYS: 1-4 as above. ARGV: none.
-- Reply: stock, reserved, changes, then key digest and packed hold of each open hold; nil when the product is
-- not loaded.

local product = totals()
if not product then
  return nil
end
return {
  product.texts.stock, product.texts.reserved, product.texts.changes, redis.call('HGETALL', KEYS[3]),
}
