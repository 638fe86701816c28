/** New charset and encoding in headers of every shape: what changes, and that nothing else does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HeaderFields } from "../../src/message/headers.ts";
import { changedBlock, headerEdits } from "../../src/message/part-header.ts";

const TYPES: [before: string, after: string | undefined][] = [
  ["text/plain", "text/plain; charset=utf-8"],
  ["text/plain;", "text/plain; charset=utf-8"],
  ["text/plain; charset=us-ascii", "text/plain; charset=utf-8"],
  ["text/plain; charset=", "text/plain; charset=utf-8"],
  ['text/plain; charset=""; a=b', "text/plain; charset=utf-8; a=b"],
  ['text/plain;CHARSET = "a b";format=flowed', "text/plain;CHARSET = utf-8;format=flowed"],
  ["text/plain;\r\n\tcharset=x\r\n\t(y)", "text/plain;\r\n\tcharset=utf-8\r\n\t(y)"],
  ['text/plain; a="; charset=b"; charset=c', 'text/plain; a="; charset=b"; charset=utf-8'],
  ['text/plain; a="\\"; charset=b"; charset=c', 'text/plain; a="\\"; charset=b"; charset=utf-8'],
  ["text/plain (; charset=a); charset=b", "text/plain (; charset=a); charset=utf-8"],
  ["text/plain; xcharset=a; charset=b", "text/plain; xcharset=a; charset=utf-8"],
  ["text/plain; charset=a; charset=b", "text/plain; charset=utf-8; charset=b"],
  // What defies it is given up, not broken.
  ["text/plain; charset*=us-ascii''iso-8859-1", undefined],
  ["text/plain; charset*0=iso; charset*1=-8859-1", undefined],
];

for (const [before, after] of TYPES) {
  test(`charset of ${JSON.stringify(before)}`, () => {
    const { headers } = HeaderFields.parse(Buffer.from(`X-A: 1\r\nContent-type: ${before}\r\nX-B: 2\r\n`));
    const change = { charset: "utf-8" };
    const block = changedBlock(headers, change)?.toString("latin1");
    assert.equal(block, after && `X-A: 1\r\nContent-type: ${after}\r\nX-B: 2\r\n`);
    const edits = headerEdits(headers, change);
    if (after === undefined) assert.equal(edits, undefined);
    else {
      const value = ` ${after.replaceAll("\r\n", "\n")}`;
      assert.deepEqual(edits, [
        { kind: "changeHeader", name: "Content-type", index: 1, value },
        { kind: "addHeader", name: "MIME-Version", value: " 1.0" },
      ]);
    }
  });
}

test("fields that are missing are added at the end, with the block's own line ends", () => {
  for (const eol of ["\r\n", "\n"]) {
    const { headers } = HeaderFields.parse(Buffer.from(`X-A: 1${eol}`));
    const block = changedBlock(headers, { charset: "utf-8", encoding: "base64" });
    const added = `Content-Type: text/plain; charset=utf-8${eol}Content-Transfer-Encoding: base64${eol}`;
    assert.equal(block?.toString(), `X-A: 1${eol}${added}`);
  }
  const { headers } = HeaderFields.parse(Buffer.from("MIME-Version: 1.0\r\n"));
  assert.deepEqual(headerEdits(headers, { encoding: "base64" }), [
    { kind: "addHeader", name: "Content-Transfer-Encoding", value: " base64" },
  ]);
  assert.deepEqual(headerEdits(headers, {}), []);
});
