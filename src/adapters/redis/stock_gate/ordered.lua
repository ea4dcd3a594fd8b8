-- The order of each hold exists: the hold is its driver's and lasts. A hold that was lost is there again.
-- KEYS: 1-4 as above; 4+i = product:{id}:ended:<key digest> of hold i.
-- ARGV: for each hold: key digest, the packed hold with ordered = 1.
-- Reply: for each hold "done", or "left" when there was nothing to do.

local entries = #KEYS - 4
local replies = {}
if not totals() then
  -- Loading brings its PENDING orders.
  for i = 1, entries do
    replies[i] = 'left'
  end
  return replies
end

local keys = {}
for i = 1, entries do
  keys[i] = ARGV[2 * i - 1]
end
local holds = open_holds(keys)
local ended = redis.call('MGET', unpack(KEYS, 5))

local function ordered(i)
  local key, told = keys[i], unpacked(ARGV[2 * i])
  local held = holds[key]
  if held and held.saga == told.saga then
    if tonumber(told.epoch) < tonumber(held.epoch) then
      return 'left'
    end
    if held.ordered == '0' then
      pending.unordered = pending.unordered - held.units
      held.ordered = '1'
    elseif held.instance == told.instance and held.epoch == told.epoch then
      return 'left'
    end
    held.instance, held.epoch = told.instance, told.epoch
    pending.changes = pending.changes + 1
    pending.touched[key] = true
    return 'done'
  end
  local _, saga = ending(ended[i])
  if saga == told.saga then
    return 'left'
  end
  if held then
    -- A key has one order: what holds units for it without one gives way, and another order does not.
    if held.ordered == '1' then
      return 'left'
    end
    count(held, -1)
  end
  count(told, 1)
  holds[key] = told
  pending.touched[key] = true
  return 'done'
end

for i = 1, entries do
  replies[i] = ordered(i)
end
write(holds)
return replies
