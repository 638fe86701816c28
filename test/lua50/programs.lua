-- sieve, base64, roman numerals, queues, serializers: whole little programs
local function sieve(n) local flags, out = {}, {} for i = 2, n do flags[i] = true end for i = 2, n do if flags[i] then table.insert(out, i) for k = i * i, n, i do flags[k] = false end end end return out end
print(table.concat(sieve(60), " "))
local b = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local function enc(s) local out = "" for i = 1, string.len(s), 3 do local a, c, d = string.byte(s, i), string.byte(s, i + 1), string.byte(s, i + 2)
  local n = a * 65536 + (c or 0) * 256 + (d or 0) for k = 3, 0, -1 do local v = math.mod(math.floor(n / 64 ^ k), 64) + 1
  if (k == 1 and not c) or (k == 0 and not d) then out = out .. "=" else out = out .. string.sub(b, v, v) end end end return out end
print(enc("hello"), enc("Lua 5.0"), enc(""), enc("a"), enc("ab"))
local function roman(n) local r = "" for _, p in ipairs({{1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"}, {50, "L"}, {40, "XL"}, {10, "X"}, {9, "IX"}, {5, "V"}, {4, "IV"}, {1, "I"}}) do while n >= p[1] do r = r .. p[2] n = n - p[1] end end return r end
print(roman(1994), roman(2007), roman(49))
local function ser(v, ind) ind = ind or "" if type(v) == "table" then local keys = {} for k in pairs(v) do table.insert(keys, k) end table.sort(keys, function(a, c) return tostring(a) < tostring(c) end)
  local out = "{\n" for _, k in ipairs(keys) do out = out .. ind .. "  [" .. (type(k) == "string" and string.format("%q", k) or tostring(k)) .. "] = " .. ser(v[k], ind .. "  ") .. ",\n" end return out .. ind .. "}" end
  if type(v) == "string" then return string.format("%q", v) end return tostring(v) end
print(ser({1, "two", {x = 1.5, y = {true, false}}, name = "n\"q\""}))
local function split(s, sep) local out = {} for piece in string.gfind(s .. sep, "(.-)" .. string.gsub(sep, "(%W)", "%%%1")) do table.insert(out, piece) end return out end
print(table.concat(split("a,b,,c", ","), "|"), table.getn(split("", ",")), table.concat(split("a.b.c", "."), "+"))
local Account = {} Account.__index = Account function Account.new(bal) return setmetatable({balance = bal}, Account) end
function Account:deposit(v) self.balance = self.balance + v return self end function Account:withdraw(v) if v > self.balance then error("insufficient funds", 2) end self.balance = self.balance - v end
local Special = setmetatable({}, {__index = Account}) Special.__index = Special function Special.new(bal, limit) local o = Account.new(bal) o.limit = limit return setmetatable(o, Special) end
function Special:withdraw(v) if v - self.balance >= self.limit then error("limit", 2) end self.balance = self.balance - v end
local a, s = Account.new(100), Special.new(100, 500) a:deposit(50):deposit(25) s:withdraw(300) print(a.balance, s.balance, pcall(a.withdraw, a, 1000), pcall(s.withdraw, s, 1000))
local function memo(f) local cache = setmetatable({}, {__mode = "k"}) local vals = {} return function(x) if vals[x] == nil then vals[x] = f(x) end return vals[x] end end
local fib fib = memo(function(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end) print(fib(50), fib(70), fib(80))
local function hanoi(n, x, y, z, c) c = c or {n = 0} if n > 0 then hanoi(n - 1, x, z, y, c) c.n = c.n + 1 hanoi(n - 1, z, y, x, c) end return c.n end print(hanoi(10, "a", "b", "c"))
local function mm(p, q) local r = {} for i = 1, table.getn(p) do r[i] = {} for j = 1, table.getn(q[1]) do local sum = 0 for k = 1, table.getn(q) do sum = sum + p[i][k] * q[k][j] end r[i][j] = sum end end return r end
local r = mm({{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}) print(r[1][1], r[1][2], r[2][1], r[2][2])
local text = [[the quick brown fox jumps over the lazy dog the end]] local freq, order = {}, {} for w in string.gfind(text, "%a+") do if not freq[w] then freq[w] = 0 table.insert(order, w) end freq[w] = freq[w] + 1 end
table.sort(order, function(x, y) if freq[x] ~= freq[y] then return freq[x] > freq[y] end return x < y end) for i = 1, 3 do io.write(order[i], "=", freq[order[i]], " ") end print()
local function gcd(x, y) while y ~= 0 do x, y = y, math.mod(x, y) end return x end print(gcd(48, 36), gcd(2^40, 2^20), gcd(17, 5))
local function tobin(n) local s = "" repeat s = math.mod(n, 2) .. s n = math.floor(n / 2) until n == 0 return s end print(tobin(10), tobin(255), tobin(2^33))
local q = {first = 1, last = 0} local function push(v) q.last = q.last + 1 q[q.last] = v end local function pop() local v = q[q.first] q[q.first] = nil q.first = q.first + 1 return v end
for i = 1, 5 do push(i * i) end pop() push("x") print(pop(), pop(), q.last - q.first + 1)
local function ip2n(ip) local _, _, a, b, c, d = string.find(ip, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$") return a and ((a * 256 + b) * 256 + c) * 256 + d end
print(ip2n("192.168.1.1"), ip2n("255.255.255.255"), ip2n("10.0.0"), ip2n("0.0.0.1")) local function inNet(ip, net, bits) return math.floor(ip2n(ip) / 2 ^ (32 - bits)) == math.floor(ip2n(net) / 2 ^ (32 - bits)) end
print(inNet("192.168.1.77", "192.168.1.0", 24), inNet("192.168.2.1", "192.168.1.0", 24), inNet("10.9.8.7", "10.0.0.0", 8))
local hdr = "Subject: Hello\r\nFrom: a@b.c\r\nX-Spam: yes\r\n\r\nBody" local h = {} for k, v in string.gfind(hdr, "([%w-]+): ([^\r\n]*)") do h[string.lower(k)] = v end print(h.subject, h.from, h["x-spam"])
local crc = 0 for i = 1, string.len(hdr) do crc = math.mod(crc * 31 + string.byte(hdr, i), 4294967296) end print(crc)
print(string.format("%-10s|%6.2f|%04d", "name", 3.14159, 42), string.rep("=", 20)) print(os.date("%Y-%m-%d", os.time{year = 2007, month = 3, day = 4, hour = 12}))
