#!/bin/sh
# Sets up a checkout: node modules (Node 24 among them) and, as root, Postfix,
# PostgreSQL and Dovecot for tests.
#
# Runs before `npm run quickstart` and `npm test`, says nothing when there is
# nothing to do, and may be run any number of times. Uses plain POSIX tools and
# whatever npm the system has, because Node 24 is what it installs. Never
# touches an installed Postfix, its configuration, or another mail server. What
# it cannot install it names; other users than root may go on without Postfix,
# as most tests do.

set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
PATH="$root/node_modules/.bin:$PATH"
wanted_node=24

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# --- node modules ---------------------------------------------------------

modules_are_current() {
  # npm writes this file last; find prints the lock file when it is newer.
  [ -f node_modules/.package-lock.json ] &&
    [ -z "$(find package-lock.json -newer node_modules/.package-lock.json)" ]
}

# npm empties the directory before it installs, behind a link as well: another checkout's modules would be gone.
if [ -L node_modules ]; then
  [ -x node_modules/.bin/node ] ||
    fail "node_modules is a link to $(readlink node_modules), where no modules are; run npm ci there, or remove the link"
elif ! modules_are_current; then
  command -v npm >/dev/null || fail "npm is missing; install it (Debian: apt-get install npm)"
  say "installing node modules (npm ci)"
  npm ci --include=dev --include=optional --no-audit --no-fund --loglevel=error </dev/null >&2 ||
    fail "npm ci failed; its words are above"
fi

[ -L node_modules ] || sh postfix/link-node.sh

node_major() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p'; }

major=$(node_major)
if [ "${major:-0}" -lt "$wanted_node" ]; then
  fail "Node $wanted_node is needed and $(command -v node || echo 'no node') is ${major:-not usable}." \
    "The modules bring it for Linux on x64 and arm64 with glibc; this is $(uname -sm)." \
    "Install Node $wanted_node yourself and put it first in PATH."
fi

# --- Postfix, and the databases that tests share with it ------------------

have_postfix() {
  command -v postconf >/dev/null || [ -x /usr/sbin/postconf ] || [ -x /usr/local/sbin/postconf ]
}

wanted='postfix postfix-sqlite postfix-pgsql postfix-pcre postgresql dovecot-core dovecot-sqlite dovecot-pgsql'

is_installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
if command -v dpkg-query >/dev/null; then
  for package in $wanted; do is_installed "$package" || missing="$missing $package"; done
  # A Postfix that did not come as a package stays the one there is.
  if have_postfix && ! is_installed postfix; then missing=; fi
else
  have_postfix || missing=postfix
fi
missing=${missing# }
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  say "missing: $missing; run this as root, or install it (Debian: apt-get install $missing)"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  say "Postfix is missing and there is no apt-get here; install the package that brings postconf and postqueue"
  exit 0
fi

scratch=$(mktemp -d)
policy=/usr/sbin/policy-rc.d
made_policy=
clean() {
  [ -z "$made_policy" ] || rm -f "$policy"
  rm -rf "$scratch"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

export DEBIAN_FRONTEND=noninteractive
quietly() { "$@" </dev/null >"$scratch/out" 2>&1; }

say "installing $missing (apt-get)"
quietly apt-get -q update || say "apt-get update failed; trying with the package lists there are"
# shellcheck disable=SC2086
if ! quietly apt-get -q --simulate --no-install-recommends install $missing; then
  cat "$scratch/out" >&2
  fail "apt-get cannot install $missing; install it by hand"
fi
if grep -q '^Remv ' "$scratch/out"; then
  grep '^Remv ' "$scratch/out" >&2
  fail "installing $missing would remove the packages above, perhaps this machine's mail server." \
    "Decide that by hand: apt-get install $missing"
fi

# What is in service here is not brought to another version by the way.
servers='^Inst (postfix|postgresql|dovecot)[^ ]* \['
if grep -Eq "$servers" "$scratch/out"; then
  grep -E "$servers" "$scratch/out" >&2
  fail "installing $missing would upgrade the packages above. Decide that by hand: apt-get install $missing"
fi

# No main.cf, and no service started: only the programs are wanted.
is_installed postfix || printf 'postfix postfix/main_mailer_type select No configuration\n' |
  debconf-set-selections
if [ ! -e "$policy" ]; then
  made_policy=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
# shellcheck disable=SC2086
if ! quietly apt-get -q -y --no-install-recommends install $missing; then
  cat "$scratch/out" >&2
  fail "apt-get could not install $missing; its words are above"
fi
have_postfix || fail "Postfix was installed and yet postconf is nowhere to be found"
say "installed: $missing; no service was started"
