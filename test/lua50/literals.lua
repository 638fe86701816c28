print("\a\b\f\n\r\t\v\\\"\'" == "\7\8\12\10\13\9\11\92\34\39", "\0651\65", string.len("\0\0\0"), "a\zb", '\q\w\e')
print([[]], [[
x]], [[

y]], string.len([[
]]), [[a]b]], [[ [[x]] ]], [[]]..'')
print('single "double"', "double 'single'", "back\\slash", 'tab\	x')
print(3, 3.0, 3.1416, 314.16e-2, 0.31416E1, .5, 5., 1e10, 1E-5, 1e+5, 12345678901234567890, 0.1e-300, 1e308 * 10, -1e308 * 10)
-- comment
--[[ long
comment ]] print("after long") --[[x]] print("same line") --[==[ print("short comment")
print(1) --
local _x, x1, X_1, _ = 1, 2, 3, 4 print(_x, x1, X_1, _)
print("a" .. --[[ inside ]] "b", 1 --[[ x ]] + --[[ y ]] 2)
print(type(nil), nil, true, false, not nil)
local and_, orr, nott = "reserved", "words", "fine" print(and_, orr, nott)
a = "one\
two" print(a, string.len(a))
print("\1\01\001" == "\1\1\1", "\10" == "\n", "\0009" == "\0" .. "9", string.byte("\255"))
print(string.format("%q", "\0\1\r\n\"\\x"))
