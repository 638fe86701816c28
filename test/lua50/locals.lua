local function f(x) x = nil return x end print(f(10)) local function g() local x return x end print(g(10))
do local i = 10 do local i = 100 print(i) end do local i = 1000 print(i) end print(i) if i ~= 10 then local i = 20 else local i = 30 print(i) end end
x = 1 local x = x print(x) x = 2 print(x, _G.x) local x, y = x print(x, y)
local a, b, a = 1, 2, 3 print(a, b) local function rec(n) return n > 0 and rec(n - 1) or "end" end print(rec(3))
local b = 10 local c repeat local b b, c = 1, 2 until b + c == 12 print(b, c)
do local f = {} local _G = _G for i = 1, 3 do f[i] = function(x) A = A + 1 return A, _G.getfenv(x) end end
A = 10 print((f[1]())) for i = 1, 3 do setfenv(f[i], {A = i}) end print((f[3]()), A) local a, b = f[2](1) print(b.A) a, b = f[2](0) print(b.A) end
local function foo(s) return loadstring(s) end print(getfenv(foo("")) == _G) local e = {loadstring = loadstring} setfenv(foo, e) print(getfenv(foo("")) == _G) setfenv(0, e) local same = getfenv(foo("")) == e setfenv(0, _G) print(same)
print(getfenv() == getfenv(1), getfenv(0) == _G, getfenv(print) == _G, pcall(setfenv, print, {}))
local env = {print = print} local chunk = loadstring("y = 5 print(y) local function inner() return y end y = 6 return inner") setfenv(chunk, env) print(chunk()(), y, env.y)
local function outer() local function inner() return z end return inner end z = "global" local i1 = outer() setfenv(outer, {z = "private"}) local i2 = outer() print(i1(), i2())
print(pcall(setfenv, 1, nil)) print(pcall(setfenv, function() end, setmetatable({}, {}))) local prot = setmetatable({}, {}) prot.__fenv = "locked" local pf = function() end setfenv(pf, prot) print(getfenv(pf), pcall(setfenv, pf, {}))
for i = 1, 2 do local v if i == 1 then v = 5 end print(v) end
local t = {} for i = 1, 3 do local x t[i] = x x = i end print(t[1], t[2], t[3])
function _G.glob(a) return a end print(glob(5)) local s = "x" do local s = s .. "y" print(s) end print(s)
