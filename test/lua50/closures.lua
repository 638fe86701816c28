local function counter() local c = 0 return function(n) c = c + (n or 1) return c end end
local c1, c2 = counter(), counter() print(c1(), c1(5), c2(), c1())
local a = {} for i = 1, 5 do a[i] = function() i = i + 1 return i end end print(a[1](), a[1](), a[2](), a[5]())
local b = {} for i = 1, 3 do local j = i b[i] = {get = function() return j end, set = function(x) j = x end} end
b[1].set(10) print(b[1].get(), b[2].get(), b[3].get())
local w = {} local i = 1 while i <= 3 do local k = i w[i] = function() return k end i = i + 1 end print(w[1](), w[2](), w[3]())
local r = {} i = 0 repeat local k = i r[i] = function() k = k + 1 return k end i = i + 1 until i > 2 print(r[0](), r[0](), r[2]())
local g = {} for k, v in pairs({x = 1}) do g[1] = function() return k, v end end print(g[1]())
local h = {} for _, v in ipairs({"a", "b", "c"}) do h[v] = function() return v end end print(h.a(), h.b(), h.c())
for i = 1, 10 do if i == 2 then i = 8 end io.write(i, " ") end print()
for i = 10, 1, -3 do io.write(i, " ") end for i = 1, 0 do io.write("never") end for i = 1, 2, 0.5 do io.write(i, " ") end print()
local e = {} for i = 1, 3 do e[i] = function() return i end if i == 2 then break end end print(e[1](), e[2](), e[3])
local function f(x) return function(y) return function(z) x = x + 1 return x, y, z end end end
local f1 = f(1)(2) print(f1(3)) print(f1(4)) print(f(10)(20)(30))
local function fact(n) if n == 0 then return 1 end return n * fact(n - 1) end print(fact(5))
local z = 1 do local z = z + 1 print(z) do local z = z * 10 print(z) end print(z) end print(z)
local t = setmetatable({}, {__index = function(t, k) return function() return k end end}) print(t.foo(), t[1]())
local x = 5 local function show() return x end x = 6 print(show()) local x = 7 print(show(), x)
print((function() local a = 1 local function inc() a = a + 1 end inc() inc() return a end)())
local function two() local v = 0 return function() v = v + 1 return v end, function() return v end end
local inc, get = two() inc() inc() print(get())
goto = 3 print(goto)
