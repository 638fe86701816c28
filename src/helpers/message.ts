/**
 * The message helpers of ProcessMessage (manual, "Helper Functions which are
 * available from the POP3CLT.LUA and SMTPSVR.LUA 'ProcessMessage' function"):
 * GetMessagePart, MessageReset, MessageSeek, GetMessageLine(s), SaveAttachment.
 *
 * Outside ProcessMessage each of them raises an error.
 */
import type { HostCall, HostFunction, HostModule } from "../lua/host.ts";
import { LuaRaise } from "../lua/host.ts";
import type { MessageReader } from "../message/reader.ts";

/** What the helpers find in the environment's context. */
export interface MessageContext {
  /** Set while ProcessMessage runs. */
  message: OpenMessage | undefined;
}

export interface OpenMessage {
  readonly reader: MessageReader;
  /** Saves attachment `number` (from 1) under `filename`; resolves to why it could not, "" when it could. */
  save(number: number, filename: string): Promise<string>;
  /** Told of what a helper could not do, for the log. */
  problem(text: string): void;
}

/** A line longer than this many lines at once would only be asked for by mistake; the rest comes at the next call. */
const MAX_LINES = 1_000_000;

export function messageModule(): HostModule {
  const lines: HostFunction = (call) => {
    const wanted = Math.min(Math.max(Math.trunc(call.number(1)), 0), MAX_LINES);
    const { count, text } = open(call).reader.lines(wanted);
    call.charge(text.length >> 4);
    return [count, text];
  };
  return {
    table: "VPOP3",
    functions: {
      GetMessagePart: (call) => {
        const part = open(call).reader.part(call.string(1));
        if (part !== undefined) call.charge(part.length >> 4);
        return [part];
      },
      MessageReset: (call) => {
        open(call).reader.reset();
        return [];
      },
      MessageSeek: (call) => {
        open(call).reader.seek(Math.trunc(call.number(1)));
        return [];
      },
      GetMessageLine: lines,
      GetMessageLines: lines,
      SaveAttachment: async (call) => {
        const message = open(call);
        const problem = await message.save(Math.trunc(call.number(1)), call.string(2));
        if (problem !== "") message.problem(`SaveAttachment: ${problem}`);
        return [problem === ""];
      },
    },
  };
}

function open(call: HostCall): OpenMessage {
  const message = (call.context as Partial<MessageContext>).message;
  if (message === undefined) throw new LuaRaise("message functions can only be called inside ProcessMessage");
  return message;
}
