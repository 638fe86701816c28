import assert from "node:assert/strict";
import { test } from "node:test";
import { Packet } from "dns2";
import {
  DnsFormatError,
  decodeAnswer,
  encodeQuery,
  isSameName,
  normaliseName,
} from "../../src/net/dns-packet.ts";
import { random } from "./servers.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;

/** An answer to "example.com" with these records in the answer section. */
function answer(...records: Record<string, unknown>[]): Buffer {
  const packet = new Packet();
  packet.header = new Packet.Header({ id: 77, qr: 1, rd: 1, ra: 1 });
  packet.questions.push(new Packet.Question("example.com", 255, 1));
  for (const fields of records) {
    packet.answers.push(new Packet.Resource({ name: "example.com", class: 1, ttl: 300, ...fields }));
  }
  return packet.toBuffer();
}

const one = (fields: Record<string, unknown>) => {
  const { name, section, ttl, ...rest } = decodeAnswer(answer(fields)).records[0]!;
  assert.deepEqual([name, section, ttl], ["example.com", "AN", 300]);
  return rest;
};

test("decodeAnswer() - each type that dns2 writes", () => {
  assert.deepEqual(one({ type: 1, address: "192.0.2.7" }), { type: 1, value: "192.0.2.7" });
  assert.deepEqual(one({ type: 28, address: "2001:db8::1" }), { type: 28, value: "2001:db8::1" });
  assert.deepEqual(one({ type: 2, ns: "ns.example.com" }), { type: 2, value: "ns.example.com" });
  assert.deepEqual(one({ type: 5, domain: "w.example.net" }), { type: 5, value: "w.example.net" });
  assert.deepEqual(one({ type: 12, domain: "host.example" }), { type: 12, value: "host.example" });
  assert.deepEqual(one({ type: 15, priority: 10, exchange: "mx.example.com" }), {
    type: 15,
    priority: 10,
    value: "mx.example.com",
  });
  assert.deepEqual(one({ type: 33, priority: 1, weight: 2, port: 5060, target: "sip.example.com" }), {
    type: 33,
    priority: 1,
    srv: { weight: 2, port: 5060 },
    value: "sip.example.com",
  });
  const soa = {
    primary: "ns.example.com",
    serial: 4_000_000_000,
    refresh: 1,
    retry: 2,
    minimum: 60,
  };
  assert.deepEqual(one({ type: 6, ...soa, admin: "hostmaster.example.com", expiration: 3 }), {
    type: 6,
    value: "ns.example.com",
    soa: { ...soa, mailbox: "hostmaster.example.com", expire: 3 },
  });
});

test("decodeAnswer() - TXT strings are joined and keep their bytes", () => {
  const strings = ["v=spf1 ", Buffer.from([0xe9, 0x00, 0xff]), "", "x".repeat(255)];
  assert.equal(one({ type: 16, data: strings }).value, `v=spf1 \xe9\0\xff${"x".repeat(255)}`);
  assert.equal(one({ type: 16, data: [] }).value, "");
});

test("decodeAnswer() - WKS as address, protocol and ports; other types raw", () => {
  const ports = Buffer.alloc(11);
  ports[3] = 0x40; // 25
  ports[10] = 0x80; // 80
  const data = Buffer.concat([Buffer.from([192, 0, 2, 9, 6]), ports]);
  assert.equal(one({ type: 11, data }).value, "192.0.2.9 6 25 80");
  assert.equal(one({ type: 999, data: Buffer.from([1, 0, 255]) }).value, "\x01\0\xff");
});

test("decodeAnswer() - header fields, sections, OPT and classes", () => {
  const packet = Packet.parse(answer({ type: 1, address: "192.0.2.1" }));
  packet.header.rcode = 0x10;
  packet.authorities.push(new Packet.Resource({ name: "example.com", type: 2, class: 1, ttl: 5, ns: "a.b" }));
  packet.additionals.push(
    new Packet.Resource({ name: "a.b", type: 1, class: 1, ttl: 5, address: "192.0.2.2" }),
  );
  packet.additionals.push(new Packet.Resource({ name: "c", type: 16, class: 3, ttl: 5, data: ["chaos"] }));
  packet.additionals.push(Packet.Resource.EDNS([]));
  const decoded = decodeAnswer(packet.toBuffer());
  assert.equal(decoded.id, 77);
  assert.equal(decoded.rcode, 16);
  assert.deepEqual(decoded.question, { name: "example.com", type: 255 });
  assert.deepEqual(
    decoded.records.map((r) => `${r.section} ${r.name} ${r.value}`),
    ["AN example.com 192.0.2.1", "NS example.com a.b", "AR a.b 192.0.2.2"],
  );
});

test("decodeAnswer() - a TTL with the top bit set is 0", () => {
  const message = answer({ type: 1, address: "192.0.2.1" });
  const ttlAt = message.length - 4 - 2 - 4;
  message.writeUInt32BE(0x80000001, ttlAt);
  assert.equal(decodeAnswer(message).records[0]!.ttl, 0);
});

test("decodeAnswer() - a dot inside a label is told from one between labels", () => {
  const message = answer({ type: 12, data: "", domain: "john!doe.example.com" });
  message[message.indexOf("!")] = 0x2e;
  assert.equal(decodeAnswer(message).records[0]!.value, "john\\.doe.example.com");
});

test("decodeAnswer() - every cut of a good answer is refused, never worse", () => {
  const message = answer(
    { type: 15, priority: 1, exchange: "mx.example.com" },
    { type: 16, data: ["one", "two"] },
    { type: 6, primary: "a.b", admin: "c.d", serial: 1, refresh: 1, retry: 1, expiration: 1, minimum: 1 },
    { type: 28, address: "2001:db8::1" },
  );
  assert.equal(decodeAnswer(message).records.length, 4);
  for (let length = 0; length < message.length; length++) {
    assert.throws(() => decodeAnswer(message.subarray(0, length)), DnsFormatError, `length ${length}`);
  }
});

test("decodeAnswer() - data shorter or longer than its type needs is refused", () => {
  for (const [type, data] of [
    [1, [1, 2, 3]],
    [1, [1, 2, 3, 4, 5]],
    [28, [1, 2]],
    [15, [0]],
    [16, [5, 65]],
    [11, [1, 2, 3, 4]],
    [2, [1, 65]],
    [2, [0, 0]],
  ] as const) {
    const message = answer({ type: 999, data: Buffer.from(data) });
    message.writeUInt16BE(type, message.length - data.length - 10);
    assert.throws(() => decodeAnswer(message), DnsFormatError, `type ${type} ${data}`);
  }
});

test("decodeAnswer() - pointer loops, forward pointers and chains end at once", () => {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(0x8000, 2);
  header.writeUInt16BE(1, 4);
  for (const name of [
    [0xc0, 12],
    [0xc0, 14, 0xc0, 12],
    [1, 65, 0xc0, 12],
    [0xc0, 200],
    [0xff, 0xff],
    [0x40, 65, 0],
    [0x80, 65, 0],
    [0xc0],
  ]) {
    const message = Buffer.concat([header, Buffer.from(name), Buffer.from([0, 1, 0, 1])]);
    assert.throws(() => decodeAnswer(message), DnsFormatError, `${name}`);
  }
});

test("decodeAnswer() - packets made to be slow are not", () => {
  const lying = Buffer.alloc(12, 0xff);
  const started = performance.now();
  for (let i = 0; i < 1000; i++) assert.throws(() => decodeAnswer(lying), DnsFormatError);

  // 16 KB of pointers, each to the one before, and thousands of names that enter the chain at its end.
  const first = Buffer.from([0, 0, 99, 0, 1, 0, 0, 0, 0, 0, 0]);
  const base = 12 + first.length;
  const chain = Buffer.alloc(16_000);
  for (let i = 0; i < chain.length; i += 2) chain.writeUInt16BE(0xc000 | (i === 0 ? 12 : base + i - 2), i);
  first.writeUInt16BE(chain.length, 9);
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0x8000, 2);
  head.writeUInt16BE(4000, 6);
  const next = Buffer.from([0, 0, 0, 99, 0, 1, 0, 0, 0, 0, 0, 0]);
  next.writeUInt16BE(0xc000 | (base + chain.length - 2), 0);
  const message = Buffer.concat([head, first, chain, ...Array.from({ length: 3999 }, () => next)]);
  assert.throws(() => decodeAnswer(message), DnsFormatError);
  assert.ok(performance.now() - started < 2000);
});

test("decodeAnswer() - random and mutated messages give an answer or DnsFormatError", () => {
  const seed = answer(
    { type: 15, priority: 1, exchange: "mx.example.com" },
    { type: 1, name: "mx.example.com", address: "192.0.2.1" },
    { type: 16, data: ["one", "two"] },
    { type: 6, primary: "a.b", admin: "c.d", serial: 1, refresh: 1, retry: 1, expiration: 1, minimum: 1 },
    { type: 33, priority: 1, weight: 2, port: 3, target: "x.example.com" },
    { type: 11, data: Buffer.from([1, 2, 3, 4, 6, 255]) },
  );
  const next = random(1);
  const below = (n: number) => Math.floor(next() * n);
  let answers = 0;
  const rounds = LONG ? 2_000_000 : 40_000;
  for (let i = 0; i < rounds; i++) {
    let message = Buffer.from(seed);
    if (i % 4 === 0) {
      message = Buffer.alloc(below(300));
      for (let j = 0; j < message.length; j++) message[j] = below(256);
      if (message.length > 2) message[2] = 0x80;
    } else {
      for (let changes = 1 + below(4); changes > 0; changes--) message[below(message.length)] = below(256);
    }
    try {
      for (const record of decodeAnswer(message).records) assert.ok(record.value.length < 400_000);
      answers++;
    } catch (error) {
      if (!(error instanceof DnsFormatError)) throw error;
    }
  }
  assert.ok(answers > 0 && answers < rounds);
});

test("encodeQuery() - what dns2 reads back", () => {
  const packet = Packet.parse(encodeQuery(513, "caf\xe9.example.com", 15, true));
  assert.equal(packet.header.id, 513);
  assert.equal(packet.header.rd, 1);
  assert.deepEqual({ ...packet.questions[0] }, { name: "caf\xe9.example.com", type: 15, class: 1 });
  assert.equal(packet.additionals[0]!.class, 1232);
  assert.equal(Packet.parse(encodeQuery(1, "", 2, false)).additionals.length, 0);
});

test("normaliseName() - lengths at their limits", () => {
  assert.equal(normaliseName("WWW.Example.COM."), "www.example.com");
  assert.equal(normaliseName("."), "");
  assert.equal(normaliseName("_dmarc.\xc9.com"), "_dmarc.\xc9.com");
  const label = "a".repeat(63);
  assert.equal(normaliseName(label), label);
  assert.equal(normaliseName(`${label}a`), undefined);
  const longest = `${label}.${label}.${label}.${"a".repeat(61)}`;
  assert.equal(normaliseName(longest), longest);
  assert.equal(normaliseName(`${longest}a`), undefined);
  assert.equal(encodeQuery(1, longest, 1, false).length, 12 + 255 + 4);
  for (const bad of ["", "..", "a..b", ".a", "a.b.."]) assert.equal(normaliseName(bad), undefined, bad);
});

test("isSameName() - ASCII case is nothing, other bytes are", () => {
  assert.ok(isSameName("www.example.com", "WWW.example.COM"));
  assert.ok(isSameName("a\\b.com", "a\\\\b.com"));
  assert.ok(!isSameName("\xe9.com", "\xc9.com"));
  assert.ok(!isSameName("a.b.com", "a\\.b.com"));
});
