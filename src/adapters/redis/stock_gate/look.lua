-- Reads the totals of a product. It changes nothing.
-- KEYS: 1-4 as above. ARGV: none.
-- Reply: stock, reserved and unordered; nil when the product is not loaded.

local product = totals()
return product and { product.texts.stock, product.texts.reserved, product.texts.unordered }
