-- Runs before every script of the stock gate: what they share. All keys of a product have one hash tag.
--   KEYS[1] product:{id}:stock     text of an integer: units on hand
--   KEYS[2] product:{id}:reserved  text of an integer: units held, the sum of the holds
--   KEYS[3] product:{id}:holds     hash: key digest -> a packed hold
--   KEYS[4] product:{id}:gate      hash: unordered (units held without an order), changes (a counter),
--                                  version (of the ledger's product, as loaded or corrected)
--   KEYS[5] and on                 one key for each entry of the call, said in each script
-- A packed hold is "saga instance body ordered epoch quantity deadline": two UUIDs of 36 characters, 32 hex
-- digits, 0 or 1, then numbers, the deadline in milliseconds since 1970. What has a fixed length comes first,
-- because it is read in half the time that a pattern for all of it takes.
-- Numbers of Lua are doubles, exact up to 2^53; totals are changed by INCRBY, and no number is
-- turned into text by Lua's own rules, which write 1e+15.

local function int(number)
  return string.format('%d', number)
end

local function unpacked(text)
  local epoch, quantity, deadline = string.match(text, '^(%d+) (%d+) (%-?%d+)$', 110)
  return {
    saga = string.sub(text, 1, 36),
    instance = string.sub(text, 38, 73),
    body = string.sub(text, 75, 106),
    ordered = string.sub(text, 108, 108),
    epoch = epoch,
    quantity = quantity,
    deadline = deadline,
    units = tonumber(quantity),
  }
end

local function packed(hold)
  return hold.saga .. ' ' .. hold.instance .. ' ' .. hold.body .. ' ' .. hold.ordered .. ' ' .. hold.epoch
    .. ' ' .. hold.quantity .. ' ' .. hold.deadline
end

-- The product's totals, or nil when it is not loaded. A product of which a part is gone is not loaded.
local function totals()
  local texts = redis.call('MGET', KEYS[1], KEYS[2])
  local gate = redis.call('HMGET', KEYS[4], 'unordered', 'version', 'changes')
  if not (texts[1] and texts[2] and gate[1] and gate[2] and gate[3]) then
    return nil
  end
  return {
    stock = tonumber(texts[1]),
    reserved = tonumber(texts[2]),
    unordered = tonumber(gate[1]),
    version = tonumber(gate[2]),
    texts = { stock = texts[1], reserved = texts[2], unordered = gate[1], changes = gate[3] },
  }
end

-- The open holds of these keys, by key.
local function open_holds(keys)
  local holds = {}
  local texts = redis.call('HMGET', KEYS[3], unpack(keys))
  for i, text in ipairs(texts) do
    if text then
      holds[keys[i]] = unpacked(text)
    end
  end
  return holds
end

-- Changes to be written at the end of a script, in a few commands for all entries of the call.
local pending = { stock = 0, reserved = 0, unordered = 0, changes = 0, touched = {} }

-- Adds a hold's units to `reserved`, or takes them away with sign -1.
local function count(hold, sign)
  pending.reserved = pending.reserved + sign * hold.units
  if hold.ordered == '0' then
    pending.unordered = pending.unordered + sign * hold.units
  end
  pending.changes = pending.changes + 1
end

-- Writes what is pending; `holds` says what each touched key has now.
local function write(holds)
  local set, gone = {}, {}
  for key in pairs(pending.touched) do
    if holds[key] then
      set[#set + 1] = key
      set[#set + 1] = packed(holds[key])
    else
      gone[#gone + 1] = key
    end
  end
  if #set > 0 then
    redis.call('HSET', KEYS[3], unpack(set))
  end
  if #gone > 0 then
    redis.call('HDEL', KEYS[3], unpack(gone))
  end
  if pending.stock ~= 0 then
    redis.call('INCRBY', KEYS[1], int(pending.stock))
  end
  if pending.reserved ~= 0 then
    redis.call('INCRBY', KEYS[2], int(pending.reserved))
  end
  if pending.unordered ~= 0 then
    redis.call('HINCRBY', KEYS[4], 'unordered', int(pending.unordered))
  end
  if pending.changes ~= 0 then
    redis.call('HINCRBY', KEYS[4], 'changes', int(pending.changes))
  end
end

-- How a hold ended: "sold" or "released", and the saga; nothing when `text` is not there.
local function ending(text)
  if text then
    return string.match(text, '^(%a+) (%S+)$')
  end
end

-- Redis' own time in microseconds since 1970.
local function microseconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end
