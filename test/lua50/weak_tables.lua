local function count(t) local n = 0 for _ in pairs(t) do n = n + 1 end return n end
local keys, values, both = setmetatable({}, {__mode = "k"}), setmetatable({}, {__mode = "v"}), setmetatable({}, {__mode = "kv"})
local kept = {} for i = 1, 10 do keys[{}] = i keys[i] = {} values[i] = {} values["s" .. i] = "string" .. i both[{}] = i both[i] = {} end
keys[kept] = "kept" values.kept = kept both[kept] = kept both.print = print both.f = function() end values.n = 5 values.co = coroutine.create(function() end)
collectgarbage() print(count(keys), count(values), count(both), keys[kept], values.kept == kept, both[kept] == kept, both.print == print, both.f, values.co, values.s3)
local own = setmetatable({}, {__mode = "k"}) do local t = {} own[t] = t end collectgarbage() print(count(own))
local up = setmetatable({}, {__mode = "v"}) do local x = {} up[1] = x up.f = function() return x end end local hold = up.f collectgarbage() print(up[1] ~= nil, up.f ~= nil, hold() == up[1])
local co = coroutine.wrap(function(t) local inner = {} t.inner = inner coroutine.yield() coroutine.yield(inner == t.inner) end) local w = setmetatable({}, {__mode = "v"}) co(w) collectgarbage() print(w.inner ~= nil, co())
local cache = setmetatable({}, {__mode = "v"}) for i = 1, 3 do cache[i] = {i} end local second = cache[2] collectgarbage() print(cache[1], cache[2] == second, cache[3])
for k in pairs(both) do if type(k) == "table" then both[k] = nil end end print(count(both))
local x = setmetatable({[1] = {}}, {__mode = "v"}) local n = 0 while x[1] do local garbage = "a" .. n n = n + 1 end print(x[1], n > 0)
