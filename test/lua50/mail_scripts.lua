-- the way VPOP3 scripts are written: globals, stray semicolons, numbers as booleans
blockedWords = {"password", "letmein"};
localDomains = {["example.com"] = 1, ["example.org"] = 1};
counter = 0;
function Check(Username, Password, minlength)
  lowerPassword = string.lower(Password);
  for _, value in pairs(blockedWords) do if lowerPassword == value then return false end; end;
  hasDigit = 0; if string.find(Password, "%d") then hasDigit = 1; end;
  return hasDigit == 1 and string.len(Password) >= minlength
end
function DoRCPTTO(recipient)
  counter = counter + 1;
  local _, _, user, domain = string.find(recipient, "^([^@]+)@(.+)$")
  if not user then return "501 5.1.3 Bad address" end;
  if not localDomains[string.lower(domain)] then return "550 5.7.1 Relaying denied for <" .. recipient .. ">" end
  if counter > 3 then return "452 4.5.3 Too many recipients" end
  return "", user, domain, 1, false
end
function ProcessMessage(actions, headers)
  for name, value in headers do if string.lower(name) == "x-spam-score" and tonumber(value) > 5 then actions["Delete"] = 1; actions.Reason = "spam " .. value end end
  if not actions.Delete then actions.HeaderModifiers = {"X-Checked: yes"}; table.insert(actions.HeaderModifiers, "Subject: [tag] " .. (headers.Subject or "")) end
  return table.getn(actions.HeaderModifiers or {})
end
print(Check("u", "Password", 4), Check("u", "abc1", 4), Check("u", "abc1", 8))
for _, r in {"a@example.com", "b@Example.ORG", "c@elsewhere.net", "nonsense", "d@example.com"} do print(DoRCPTTO(r)) end
local acts = {SendToOriginalRecipients = 1} print(ProcessMessage(acts, {Subject = "Hi", ["X-Spam-Score"] = "2"}), acts.HeaderModifiers[1], acts.HeaderModifiers[2], acts.Delete)
acts = {} print(ProcessMessage(acts, {["x-spam-score"] = "7.5"}), acts.Delete, acts.Reason)
hour = os.date("*t").hour; if hour >= 0 and hour < 24 then print("hour ok") end
function Shadow(type, error, string) return type .. error .. string end print(Shadow("a", "b", "c"), type("x"))
SkipSend = 0; if SkipSend then print("zero is true") end; x = nil; if not x then print("nil is false") end
path = "C:\VPOP3\Mail"; print(path, string.len(path)) print("C:\\VPOP3\\Mail")
limit = 10 * 1024 * 1024 * 1024; print(limit, limit / 1024, "size " .. limit) print(2147483647 + 1, 1e9 * 5, "" .. 4294967295)
