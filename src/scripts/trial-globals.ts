/**
 * What a script's top level finds when it is tried out, before there is a
 * session: a local client that is looked up nowhere. Without them a script
 * that reads a global at its top would be refused, though it would work.
 */
import type { LuaInput } from "../lua/values.ts";
import { SMTPSVR_FILE } from "./callbacks.ts";

export const TRIAL_GLOBALS: Readonly<Record<string, Readonly<Record<string, LuaInput>>>> = {
  [SMTPSVR_FILE]: {
    IPAddress: "127.0.0.1",
    ValidClientAddress: true,
    LocalClientAddress: true,
    AuthenticationRequired: false,
    AllowedUsers: "",
    AuthUser: "",
    SessionID: "",
    QueueID: "",
    TLSVersion: "",
    Submission: "smtp",
    CheckRBL: false,
    RBLServers: [],
    RBLWhitelist: [],
    RBLCheckAllServers: true,
    RBLFound: false,
    RBLResultInfo: [],
    RBLBlackhole: false,
    RBLAccept: false,
    RBLRedirect: "",
    RBLRejectMessage: "",
    RBLHeader: "",
  },
};
