local function raise(n) error("here", n) end
local function tailed(n) return raise(n) end
for n = 1, 5 do print(pcall(raise, n)) print(pcall(tailed, n)) end
local function caller(f, n) local r = f(n) return r end
for n = 1, 6 do print(pcall(caller, raise, n)) print(pcall(caller, tailed, n)) end
for n = 1, 5 do print(pcall(function() caller(tailed, n) end)) end
local function env(n) return getfenv(n) end local function tenv(n) return env(n) end
for n = 0, 4 do print(pcall(function() local e = tenv(n) return e == _G end)) end
print(pcall(function() return string.rep() end)) print(pcall(function() return error("tail error") end)) print(pcall(function() local x = string.rep() return x end))
print(pcall(loadstring("return error('x')", "@tail"))) print(pcall(loadstring("local x = error('x')", "@notail")))
