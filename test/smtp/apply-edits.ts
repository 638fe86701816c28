/** What a message becomes when an MTA carries edits out, by Postfix's rules. Used to play conversations without one. */
import type { Edit } from "../../src/message/edit.ts";
import type { MessageStore } from "../../src/message/store.ts";
import type { ArrivedMessage } from "../postfix/conversation.ts";

interface Field {
  readonly name: string;
  value: string;
  /** Received with the message: change and delete count these alone. */
  readonly received: boolean;
}

export interface Delivered extends ArrivedMessage {
  readonly held: boolean;
}

/** `edits` applied in order to the message in `store` with its envelope. */
export function applyEdits(
  store: MessageStore,
  sender: string,
  recipients: readonly string[],
  edits: readonly Edit[],
): Delivered {
  // The MTA's own Received stands above everything; index 1 is right below it.
  const fields: Field[] = [{ name: "Received", value: " by the MTA", received: false }];
  for (const { name, line } of store.headers) {
    const value = line.slice(line.indexOf(":") + 1).replace(/\r\n/g, "\n");
    fields.push({ name, value, received: true });
  }
  let to = [...recipients];
  let from = sender;
  let held = false;
  let body = store.slice(store.bodyStart).toString("latin1");
  const numbered = (name: string, index: number): Field | undefined =>
    fields.filter((field) => field.received && field.name.toLowerCase() === name.toLowerCase())[index - 1];
  for (const edit of edits) {
    switch (edit.kind) {
      case "addHeader":
        fields.push({ name: edit.name, value: edit.value, received: true });
        break;
      case "insertHeader":
        fields.splice(edit.index, 0, { name: edit.name, value: edit.value, received: true });
        break;
      case "changeHeader": {
        const field = numbered(edit.name, edit.index);
        if (field === undefined) fields.push({ name: edit.name, value: edit.value, received: true });
        else if (edit.value === "") fields.splice(fields.indexOf(field), 1);
        else field.value = edit.value;
        break;
      }
      case "addRecipient":
        if (!to.includes(edit.address)) to.push(edit.address);
        break;
      case "deleteRecipient":
        to = to.filter((address) => address !== edit.address);
        break;
      case "changeSender":
        from = edit.address;
        break;
      case "replaceBody":
        body = Buffer.from(edit.body).toString("latin1");
        break;
      case "quarantine":
        held = true;
        break;
    }
  }
  return {
    sender: from,
    recipients: to,
    headers: fields.slice(1).map(({ name, value }) => [name, value.replace(/\n/g, "\r\n")] as const),
    body,
    held,
  };
}
