import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHostPort, parseRanges, UNREACHABLE_BY_DEFAULT } from "../../src/net/address.ts";

test("parseHostPort() - every notation, and what is none", () => {
  const cases: [string, string | undefined][] = [
    ["192.0.2.1", "192.0.2.1 53"],
    ["192.0.2.1:5353", "192.0.2.1 5353"],
    ["2001:db8::1", "2001:db8::1 53"],
    ["[2001:db8::1]", "2001:db8::1 53"],
    ["[2001:db8::1]:65535", "2001:db8::1 65535"],
    ["whois.example.com", "whois.example.com 53"],
    ["whois.example.com:43", "whois.example.com 43"],
    ["", undefined],
    [":53", undefined],
    ["a:", undefined],
    ["a:0", undefined],
    ["a:65536", undefined],
    ["a:1:2", undefined],
    ["a b", undefined],
    ["[192.0.2.1]:53", undefined],
    ["[::1", undefined],
  ];
  for (const [text, expected] of cases) {
    const found = parseHostPort(text, 53);
    assert.equal(found && `${found.host} ${found.port}`, expected, text);
  }
});

test("parseRanges() - what is out of reach unless the admin says so", () => {
  const ranges = parseRanges(UNREACHABLE_BY_DEFAULT);
  const forbidden = `0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
    239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::FFFF:10.1.2.3 0:0:0:0:0:ffff:a00:1 64:ff9b::127.0.0.1
    64:ff9b::a00:1 64:ff9b::169.254.169.254 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
    2001:db8::1 2002:7f00:1::1 2002::1 fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 febf::1 fec0::1 ff02::1 ff0e::1
    localhost 127.1 0x7f000001 2130706433`;
  for (const address of forbidden.split(/\s+/)) assert.ok(ranges.has(address), address);
  const open = `1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
    2001:4860:4860::8888 2606:4700::1111 2a00::1 ::ffff:8.8.8.8 ::ffff:808:808 64:ff9b::8.8.8.8`;
  for (const address of open.split(/\s+/)) assert.ok(!ranges.has(address), address);
});

test("parseRanges() - single addresses, edges, and entries that are wrong", () => {
  const ranges = parseRanges(["192.0.2.7", "198.51.100.0/31", "2001:db8::/33"]);
  assert.deepEqual(
    ["192.0.2.7", "192.0.2.8", "198.51.100.1", "198.51.100.2", "2001:db8:7fff::1", "2001:db8:8000::1"].map(
      (a) => ranges.has(a),
    ),
    [true, false, true, false, true, false],
  );
  assert.ok(!parseRanges([]).has("127.0.0.1"));
  assert.ok(parseRanges(["0.0.0.0/0"]).has("64:ff9b::1.2.3.4"));
  for (const bad of [
    "",
    "10",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "::1/129",
    "fe80::1%eth0",
    "a.example",
  ]) {
    assert.throws(() => parseRanges([bad]), { name: "RangeError", message: /bad address range/ }, bad);
  }
});
