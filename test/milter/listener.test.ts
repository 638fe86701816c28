import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, lstatSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type ListenerOptions, SocketListener } from "../../src/milter/listener.ts";
import { scratch } from "./serve.ts";

async function open(context: TestContext, address: string, options: Partial<ListenerOptions> = {}) {
  const listener = await SocketListener.open(address, { accept: (socket) => socket.destroy(), ...options });
  context.after(() => listener.close());
  return listener;
}

/** A socket file whose program was killed. */
async function leaveStale(path: string): Promise<void> {
  const program = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  await once(spawn(process.execPath, ["-e", program]), "exit");
  assert.ok(lstatSync(path).isSocket());
}

test("a unix socket has its mode and group, and is gone after close", async (context) => {
  const path = join(scratch(context), "s");
  const group = String(process.getgid?.() ?? 0);
  const umask = process.umask();
  const listener = await open(context, `unix:${path}`, { mode: 0o606, group });
  assert.equal(process.umask(), umask);
  const { mode, gid } = statSync(path);
  assert.equal((mode & 0o777).toString(8), "606");
  assert.equal(String(gid), group);
  assert.equal(listener.transport, "unix");
  assert.equal(listener.port, undefined);
  await listener.close();
  assert.equal(existsSync(path), false);
});

test("its mode is 0660 unless told otherwise", async (context) => {
  const path = join(scratch(context), "s");
  await open(context, `unix:${path}`);
  assert.equal((statSync(path).mode & 0o777).toString(8), "660");
});

test("a group is a name in /etc/group or a number", {
  skip: process.getuid?.() !== 0 && "needs root",
}, async (context) => {
  const folder = scratch(context);
  const [name, , id] = readFileSync("/etc/group", "utf8").split("\n")[1]!.split(":");
  await open(context, `unix:${folder}/name`, { group: name! });
  assert.equal(statSync(join(folder, "name")).gid, Number(id));
  await open(context, `unix:${folder}/number`, { group: "4242" });
  assert.equal(statSync(join(folder, "number")).gid, 4242);
});

test("an unknown group is an error and leaves nothing behind", async (context) => {
  const path = join(scratch(context), "s");
  await assert.rejects(open(context, `unix:${path}`, { group: "no such group" }), {
    code: "ENOENT",
    message: 'there is no group "no such group" in /etc/group',
  });
  assert.equal(existsSync(path), false);
});

test("a socket file left behind is replaced", async (context) => {
  const path = join(scratch(context), "s");
  await leaveStale(path);
  await open(context, `unix:${path}`);
  const client = connect(path);
  await once(client, "connect");
  client.destroy();
});

test("a socket where another program listens is left alone", async (context) => {
  const path = join(scratch(context), "s");
  const other = createServer((socket) => socket.on("error", () => {}).end("still here")).listen(path);
  context.after(() => other.close());
  await once(other, "listening");
  await assert.rejects(open(context, `unix:${path}`), {
    code: "EADDRINUSE",
    message: `another program is listening on ${path}`,
  });
  const client = connect(path);
  const [greeting] = await once(client, "data");
  assert.equal(String(greeting), "still here");
});

test("what is no socket is left alone", async (context) => {
  const folder = scratch(context);
  const file = join(folder, "file");
  writeFileSync(file, "precious");
  await assert.rejects(open(context, `unix:${file}`), { code: "EEXIST", message: /is not a socket/ });
  assert.equal(readFileSync(file, "utf8"), "precious");
  await assert.rejects(open(context, `unix:${folder}`), { code: "EEXIST" });
  const link = join(folder, "link");
  symlinkSync(file, link);
  await assert.rejects(open(context, `unix:${link}`), { code: "EEXIST" });
  assert.ok(lstatSync(link).isSymbolicLink());
});

test("a folder that does not exist", async (context) => {
  await assert.rejects(open(context, `unix:${scratch(context)}/none/s`), {
    code: "ENOENT",
    message: /^there is no folder/,
  });
});

test("inet on any port", async (context) => {
  const listener = await open(context, "inet:0@127.0.0.1");
  assert.equal(listener.transport, "tcp");
  assert.ok(listener.port !== undefined && listener.port > 0);
  await assert.rejects(open(context, `inet:${listener.port}@127.0.0.1`), { code: "EADDRINUSE" });
});

test("a name that is both IPv4 and IPv6 is taken as the address says", async (context) => {
  const listener = await open(context, "inet:0@localhost");
  const client = connect(listener.port!, "127.0.0.1");
  await once(client, "connect");
  client.destroy();
});

test("inet6", async (context) => {
  let listener: SocketListener;
  try {
    listener = await open(context, "inet6:0@::1");
  } catch (error) {
    if (!["EADDRNOTAVAIL", "EAFNOSUPPORT", "ENOTFOUND"].includes((error as { code: string }).code))
      throw error;
    context.skip("no IPv6 here");
    return;
  }
  const client = connect(listener.port!, "::1");
  await once(client, "connect");
  client.destroy();
});

test("an address that is none", async (context) => {
  await assert.rejects(open(context, "unix"), { name: "TypeError" });
});

test("accepted sockets are paused, so that they can be handed over whole", async (context) => {
  const { promise: accepted, resolve } = Promise.withResolvers<Socket>();
  const path = join(scratch(context), "s");
  await open(context, `unix:${path}`, { accept: resolve });
  const client = connect(path);
  client.write("first bytes");
  const socket = await accepted;
  for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  assert.equal(socket.bytesRead, 0);
  socket.resume();
  const [bytes] = await once(socket, "data");
  assert.equal(String(bytes), "first bytes");
  socket.destroy();
  client.destroy();
});

test("close() leaves accepted connections alone", async (context) => {
  const { promise: accepted, resolve } = Promise.withResolvers<Socket>();
  const path = join(scratch(context), "s");
  const listener = await open(context, `unix:${path}`, { accept: resolve });
  const client = connect(path);
  const socket = await accepted;
  await listener.close();
  socket.write("still served");
  const [bytes] = await once(client, "data");
  assert.equal(String(bytes), "still served");
  socket.destroy();
});
