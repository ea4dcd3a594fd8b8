-- Ends holds, each by its saga and exact driver.
-- KEYS: 1-4 as above; 4+i = product:{id}:ended:<key digest> of hold i.
-- ARGV: 1 = "sold": the units leave the stock; "released": they are given back; "undone": they are given back by
--       the call that took them, as if it had not;
--       2 = milliseconds for which the end is remembered ("undone" is not);
--       then for each hold: key digest, saga, instance, epoch.
-- Reply: for each hold "done", or "left" when there was nothing to do.

local entries = #KEYS - 4
local how, remembered = ARGV[1], ARGV[2]
local replies = {}
if not totals() then
  for i = 1, entries do
    replies[i] = 'left'
  end
  return replies
end

local keys = {}
for i = 1, entries do
  keys[i] = ARGV[4 * i - 1]
end
local holds = open_holds(keys)

local function remember(i, saga)
  if how == 'released' then
    local before = redis.call('GET', KEYS[4 + i])
    if ending(before) == 'sold' then
      return
    end
  end
  redis.call('SET', KEYS[4 + i], how .. ' ' .. saga, 'PX', remembered)
end

local function finish(i)
  local key, saga, instance, epoch = keys[i], ARGV[4 * i], ARGV[4 * i + 1], ARGV[4 * i + 2]
  local held = holds[key]
  if not held or held.saga ~= saga then
    if how == 'released' then
      -- A reservation that is still on its way comes too late.
      remember(i, saga)
    end
    return 'left'
  end
  if held.instance ~= instance or held.epoch ~= epoch or (how == 'undone' and held.ordered == '1') then
    return 'left'
  end
  count(held, -1)
  if how == 'sold' then
    pending.stock = pending.stock - held.units
  end
  if how ~= 'undone' then
    remember(i, saga)
  end
  holds[key] = nil
  pending.touched[key] = true
  return 'done'
end

for i = 1, entries do
  replies[i] = finish(i)
end
write(holds)
return replies
