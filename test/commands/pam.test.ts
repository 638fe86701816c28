/**
 * The examples for PAM and Roundcube. PAM is the system's own, in a mount
 * namespace where /etc/pam.d is the test's: chpasswd(8) and su(1) run its real
 * pam_exec, and no account is touched.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Place } from "./place.ts";

const ROOT = join(import.meta.dirname, "../..");
const NODE = process.execPath;

function example(name: string): string {
  return readFileSync(join(ROOT, "postfix/examples", name), "utf8");
}

/** The example as it would be here: this checkout, this configuration, and no user postlua. */
function here(text: string, place: Place): string {
  return text
    .replaceAll("/opt/postlua/node_modules/.bin/node", NODE)
    .replaceAll("/opt/postlua/", `${ROOT}/`)
    .replaceAll("/etc/postlua/postlua.toml", place.config)
    .replaceAll("--reuid=postlua --regid=postlua", "--reuid=0 --regid=0");
}

const SCRIPT = `function Check(user, password)
  return password == "s\\195\\169cret word", user .. " may not have it"
end`;

test("as pam_exec calls: PAM_USER, PAM_TYPE and nothing else in the environment, NUL or none at the end", async () => {
  using place = new Place();
  place.script(SCRIPT);
  const pam = { PAM_USER: "joe", PAM_TYPE: "password", PAM_SERVICE: "passwd" };
  const ask = (input: string, env: NodeJS.ProcessEnv = pam) => place.run(["password-check"], input, env);
  assert.deepEqual(await ask("sécret word\0"), { code: 0, out: "", err: "" });
  assert.deepEqual(await ask("sécret word"), { code: 0, out: "", err: "" });
  assert.deepEqual(await ask("something else\0"), { code: 1, out: "joe may not have it\n", err: "" });
  const nothing = await ask("");
  assert.equal(nothing.code, 1);
  assert.match(nothing.out, /^No password came from PAM: .*expose_authtok, Linux-PAM 1\.6 or later/);
  const login = await ask("sécret word\0", { ...pam, PAM_TYPE: "auth" });
  assert.deepEqual([login.code, /calls for auth/.test(login.err)], [64, true]);
  assert.equal((await ask("sécret word", {})).code, 64);
});

/** Runs a shell command where /etc/pam.d has these files. */
function withPam(place: Place, files: Readonly<Record<string, string>>, command: string, input: string) {
  const directory = place.file("pam.d");
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) place.write(`pam.d/${name}`, text);
  // What the asking module would write lies elsewhere, too.
  mkdirSync(place.file("security"), { recursive: true });
  const script = `cp -a /etc/security/. "${place.file("security")}" && mount --bind "${directory}" /etc/pam.d &&
    mount --bind "${place.file("security")}" /etc/security && ${command}`;
  const { status, stdout, stderr } = spawnSync("unshare", ["--mount", "sh", "-c", script], {
    input,
    encoding: "utf8",
  });
  return { status, said: stdout + stderr };
}

/** Why there can be no /etc/pam.d of our own; "" when there can. */
const without =
  spawnSync("unshare", ["--mount", "sh", "-c", "mount --bind /tmp /etc/pam.d"]).status === 0
    ? ""
    : "a mount namespace of its own needs root and a system that allows it";
if (without !== "") process.stderr.write(`\n*** NOT RUN: tests on the system's own PAM: ${without} ***\n\n`);

test("a real pam_exec: what it hands over, and the example's lines", {
  skip: without === "" ? false : without,
}, () => {
  using place = new Place();
  place.script(SCRIPT);
  const lines = here(example("pam-password"), place)
    .split("\n")
    .filter((line) => line.startsWith("password "));
  assert.equal(lines.length, 3);
  const exec = lines[1]!;
  assert.match(
    exec,
    /^password requisite pam_exec\.so seteuid expose_authtok quiet stdout \/usr\/bin\/setpriv /,
  );

  // At logins every Linux-PAM hands the password over: the same line but for its type, which is told wrongly here.
  const wrapper = place.write("ask", `#!/bin/sh\nPAM_TYPE=password; export PAM_TYPE; exec "$@"\n`);
  execFileSync("chmod", ["755", wrapper]);
  const auth = exec
    .replace("password requisite", "auth requisite")
    .replace("/usr/bin/setpriv", `${wrapper} $&`);
  const su = `${auth}\nauth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n`;
  const login = (password: string) =>
    withPam(place, { su }, "su -s /bin/sh -c 'echo inside' games", `${password}\n`);
  const right = login("sécret word");
  assert.match(right.said, /inside/, right.said);
  const wrong = login("something else");
  assert.notEqual(wrong.status, 0);
  assert.match(wrong.said, /games may not have it/);
  assert.equal(wrong.said.includes("inside"), false);

  // New passwords come to pam_exec from Linux-PAM 1.6 on; until then all of them are refused.
  const seen = place.file("seen");
  const probe = `password required pam_exec.so expose_authtok /bin/dd of=${seen} status=none\n`;
  const asks = "password requisite pam_pwhistory.so remember=1\n";
  const end = "password required pam_permit.so\n";
  const change = (stack: string, password: string) =>
    withPam(place, { chpasswd: `${asks}${stack}\n${end}` }, "chpasswd", `games:${password}\n`);
  assert.equal(change(probe, "sécret word").status, 0);
  const handsOver = readFileSync(seen, "utf8") !== "";
  const good = change(exec, "sécret word");
  const bad = change(exec, "something else");
  assert.notEqual(bad.status, 0, bad.said);
  if (handsOver) {
    assert.equal(good.status, 0, good.said);
    assert.match(bad.said, /games may not have it/);
  } else {
    assert.notEqual(good.status, 0, good.said);
    assert.match(good.said, /No password came from PAM/);
  }
});

test("Roundcube's chpasswd driver: the example's command, as PHP's popen runs it", async () => {
  using place = new Place();
  place.script(SCRIPT);
  await place.json("user", "add", "joe", "--address", "joe@example.com");
  const text = example("roundcube-password.php");
  const [, command = ""] = /^\$config\['password_chpasswd_cmd'\] = '([^']*)';$/m.exec(text) ?? [];
  const [, allowed = ""] = /^\/\/ www-data ALL=\(postlua\) NOPASSWD: (.*)$/m.exec(text) ?? [];
  assert.equal(command, `sudo -n -u postlua ${allowed} >/dev/null 2>&1`);
  const unprivileged = here(command.replace(/^sudo -n -u postlua /, ""), place);
  const save = (password: string) =>
    spawnSync("sh", ["-c", unprivileged], { input: `joe@example.com:${password}\n`, encoding: "utf8" });
  assert.notEqual(save("something else").status, 0);
  const done = save("sécret word");
  assert.deepEqual([done.status, done.stdout, done.stderr], [0, "", ""]);
  const { has_password: has } = (await place.json("user", "show", "joe")) as { has_password: boolean };
  assert.equal(has, true);
});
