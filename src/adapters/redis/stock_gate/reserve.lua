-- Holds one line of each request, in order of arrival.
-- KEYS: 1-4 as above; 4+i = product:{id}:ended:<key digest> of request i.
-- ARGV: 1 = "home" where this product decides whose the key's hold is, "line" where that has been decided;
--       then for each request: key digest, "1" if the request is the saga's own and "0" if it goes on with the
--       saga of an earlier attempt, the packed hold.
-- Reply: for each request one of
--   "taken"                  held, by this call
--   "open <saga>"            held before, for this saga
--   "reused <saga>"          the key holds units for another body
--   "sold <saga>"            the key has its units, or will, with this saga
--   "finished"               the saga's hold has ended, or its deadline is over
--   "unloaded"
--   "short <left> <unordered>"

local requests = #KEYS - 4
local home = ARGV[1] == 'home'
local product = totals()
local now = math.floor(microseconds() / 1000)
local ended = redis.call('MGET', unpack(KEYS, 5))

local keys = {}
for i = 1, requests do
  keys[i] = ARGV[3 * i - 1]
end
local holds = product and open_holds(keys) or {}

local function left()
  return product.stock - product.reserved - pending.reserved
end

local function reserve(i)
  local key, own, wish = keys[i], ARGV[3 * i] == '1', unpacked(ARGV[3 * i + 1])
  local held = holds[key]
  if held and (home or held.saga == wish.saga) then
    if held.body ~= wish.body then
      return 'reused ' .. held.saga
    end
    local old, new = tonumber(held.epoch), tonumber(wish.epoch)
    if new > old or (new == old and held.ordered == '0' and held.instance ~= wish.instance) then
      held.instance, held.epoch = wish.instance, wish.epoch
      pending.touched[key] = true
      pending.changes = pending.changes + 1
    end
    return 'open ' .. held.saga
  end

  local how, saga = ending(ended[i])
  if saga == wish.saga and own then
    return 'finished'
  end
  -- Released under another attempt's hands that goes on: it holds its units again.
  if how == 'sold' then
    return 'sold ' .. saga
  end
  if tonumber(wish.deadline) < now then
    return 'finished'
  end
  if not product then
    return 'unloaded'
  end

  if held then
    if held.body ~= wish.body then
      return 'reused ' .. held.saga
    end
    if held.ordered == '1' then
      return 'sold ' .. held.saga
    end
    -- The leftover of an attempt that has lost its home.
    count(held, -1)
    holds[key] = nil
    pending.touched[key] = true
  end

  if left() < wish.units then
    return 'short ' .. int(left()) .. ' ' .. int(product.unordered + pending.unordered)
  end
  count(wish, 1)
  holds[key] = wish
  pending.touched[key] = true
  return 'taken'
end

local replies = {}
for i = 1, requests do
  replies[i] = reserve(i)
end
write(holds)
return replies
