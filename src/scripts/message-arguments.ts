/** The seven arguments of ProcessMessage, in the manual's order and with the manual's field names. */
import type { LuaInput } from "../lua/values.ts";
import type { Attachment } from "../message/attachment.ts";
import type { MimePart } from "../message/mime.ts";
import { actionsOnEntry } from "./process-actions.ts";

export interface MessageFacts {
  readonly sender: string;
  readonly subject: string;
  readonly recipients: readonly string[];
  readonly parts: readonly MimePart[];
  readonly attachments: readonly Attachment[];
  /** Bytes. */
  readonly size: number;
}

export interface MessageArguments {
  readonly list: readonly LuaInput[];
}

export function messageArguments(facts: MessageFacts): MessageArguments {
  return {
    list: [
      facts.sender,
      facts.subject,
      facts.recipients,
      actionsOnEntry(),
      facts.parts.map(partTable),
      facts.size,
      facts.attachments.map(attachmentTable),
    ],
  };
}

function partTable(part: MimePart): LuaInput {
  return {
    Path: part.path,
    ContentType: part.contentType,
    ContentSubtype: part.contentSubtype,
    ContentTypeFilename: part.contentTypeFilename,
    ContentDisposition: part.contentDisposition,
    ContentDispositionFilename: part.contentDispositionFilename,
    Start: part.start,
    End: part.end,
  };
}

function attachmentTable(attachment: Attachment): LuaInput {
  return {
    MIMESection: attachment.section,
    Name: attachment.name,
    MIMEType: attachment.mimeType,
    Size: attachment.size,
    Type: attachment.type,
  };
}
