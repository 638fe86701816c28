local function f(a, b, c) return c, b, a end
print(f(1, 2, 3), f(4)) print((f(1, 2, 3)))
local t = {f(1, 2, 3), f(4, 5, 6)} print(table.getn(t), t[1], t[2], t[3], t[4])
print(f"x", f{1} ~= nil, f[[long]], type(f'y'))
local o = {n = 5} function o:add(x) self.n = self.n + x return self end function o.sub(self, x) self.n = self.n - x return self end
print(o:add(3):sub(1).n, o.add(o, 2).n)
local a = {b = {c = {}}} function a.b.c.f(x) return x + 1 end function a.b.c:m(x) return self == a.b.c, x end
print(a.b.c.f(1), a.b.c:m(2), a["b"].c["f"](5))
local function tail(n) if n == 0 then return "done" end return tail(n - 1) end print(tail(100000))
local function deep(n) if n == 0 then return 0 end return 1 + deep(n - 1) end print(deep(3000))
print(pcall(function(...) return unpack(arg) end, 1, nil, 3))
print((function(...) return arg.n end)(nil, nil))
print(type(f), (function() end)() == nil, (function() return end)())
local function count(...) return arg.n end print(count(f(1)), count((f(1))), count(), count(nil), count(f(1), f(2)))
print(math.max(f(3, 9, 2)), string.format("%d %d %d", f(1, 2, 3)))
do local function a() return 1, 2 end local x, y, z = a() print(x, y, z) local p, q = (a()) print(p, q) local r = {a(), a()} print(table.getn(r)) end
local fs = {} for i = 1, 3 do fs[i] = function(...) return i, arg.n end end print(fs[1](1, 2), fs[3]())
print(pcall(f), pcall(pcall), pcall(pcall, f, 1, 2, 3))
x = function(a) return a and a * 2 end print(x(4), x(), x(nil), x(false))
