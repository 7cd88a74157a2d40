-- What Argo CD gives to a script: the base library, tables, and time and date by require("os"); no strings, no files.
local script, object = ...
local libraries = { os = { time = os.time, date = os.date } }
local allowed = {
  require = function(name)
    return libraries[name] or error(name .. " is not there")
  end,
  table = table,
  obj = object,
}
for _, name in ipairs({
  "assert", "error", "ipairs", "next", "pairs", "pcall", "rawget", "rawset", "select", "tonumber", "tostring",
  "type", "unpack",
}) do
  allowed[name] = _G[name]
end

local escape, format, concat = string.gsub, string.format, table.concat
getmetatable("").__index = nil

local function json(value)
  if type(value) == "string" then
    local quoted = escape(value, '[%c"\\]', function(c)
      return format("\\u%04x", string.byte(c))
    end)
    return '"' .. quoted .. '"'
  end
  if type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  -- As Argo CD writes it: a table that is empty becomes a list.
  if #value > 0 or next(value) == nil then
    for _, item in ipairs(value) do
      parts[#parts + 1] = json(item)
    end
    return "[" .. concat(parts, ",") .. "]"
  end
  for key, item in pairs(value) do
    parts[#parts + 1] = json(key) .. ":" .. json(item)
  end
  return "{" .. concat(parts, ",") .. "}"
end

print(json(setfenv(script, allowed)()))
