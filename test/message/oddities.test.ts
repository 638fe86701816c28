/**
 * Real oddities, one message file each, with the parts and attachments that
 * must be seen in it beside it (NAME.parts), each part with the bytes it cuts
 * out. To accept new results: POSTLUA_WRITE_GOLDEN=1.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fromBytes } from "../../src/bytes.ts";
import { attachments, decode } from "../../src/message/attachment.ts";
import { decodedSubject } from "../../src/message/header-text.ts";
import { structure } from "../../src/message/mime.ts";
import { MessageStore } from "../../src/message/store.ts";

const MESSAGES = new URL("../messages/", import.meta.url);

/** UTF-8 as text, other bytes escaped, long texts in the middle cut. */
function shown(byteString: string): string {
  const bytes = Buffer.from(byteString, "latin1");
  const utf8 = bytes.toString("utf8");
  const text = utf8.includes("\ufffd") ? byteString : utf8;
  const quoted = JSON.stringify(text).replace(
    /[\x7f-\x9f]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16)}`,
  );
  return quoted.length > 160 ? `${quoted.slice(0, 70)} ... ${quoted.slice(-70)}` : quoted;
}

function describeMessage(store: MessageStore): string {
  const { parts, complete } = structure(store);
  const lines = [
    `size ${store.size} fields ${store.headers.length} body ${store.bodyStart} subject ${shown(decodedSubject(store.headers))}`,
  ];
  if (!complete) lines.push("not complete");
  for (const part of parts) {
    const names = [
      part.contentDisposition,
      part.contentTypeFilename && `name=${shown(part.contentTypeFilename)}`,
      part.contentDispositionFilename && `filename=${shown(part.contentDispositionFilename)}`,
      part.encoding,
      part.charset,
    ].filter((text) => text !== "");
    lines.push(
      [
        `part "${part.path}"`,
        `${part.contentType}/${part.contentSubtype}`,
        ...names,
        `${part.start} ${part.bodyStart} ${part.end}`,
      ].join(" "),
      `  ${shown(fromBytes(store.slice(part.bodyStart, part.end)))}`,
    );
  }
  for (const attachment of attachments(store, parts)) {
    const { section, name, mimeType, size, type } = attachment;
    const bytes = Buffer.concat([...decode(store, attachment)]);
    assert.equal(bytes.length, size);
    lines.push(
      `attachment ${section} ${type} ${mimeType} ${shown(name)} ${size}`,
      `  ${shown(fromBytes(bytes))}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

for (const file of readdirSync(MESSAGES).filter((name) => name.endsWith(".eml"))) {
  test(`parts of ${file}`, () => {
    const store = MessageStore.fromBytes(readFileSync(new URL(file, MESSAGES)));
    const golden = new URL(file.replace(/\.eml$/, ".parts"), MESSAGES);
    const found = describeMessage(store);
    if (process.env.POSTLUA_WRITE_GOLDEN) writeFileSync(golden, found);
    assert.equal(found, readFileSync(golden, "utf8"));
  });
}
