#!/bin/sh
# Runs all test files; arguments go to `node --test`.
#
# Some tests run parts of postlua as users without rights, who have to be able
# to read the checkout. One that lies in a private directory, such as root's
# home, is copied to where they can, and the copy is tested.

set -eu

root=$(cd "$(dirname "$0")/.." && pwd)

seen_by_others() {
  [ "$(id -u)" -ne 0 ] ||
    setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$root/package.json" -a -x "$root/node_modules/.bin/node"
}

# These may run two at a time; tests that load the whole machine, or wait for what others would slow down, may not.
beside='commands|config|directory|lua|lua50|message|milter|policy|queue|routing|scripts|smtp|socketmap'

run() {
  files=$(find test -name '*.test.ts' | sort)
  status=0
  # shellcheck disable=SC2046
  node --test --test-concurrency=2 "$@" $(echo "$files" | grep -E "^test/($beside)/") || status=$?
  # shellcheck disable=SC2046
  node --test --test-concurrency=1 "$@" $(echo "$files" | grep -Ev "^test/($beside)/") || status=$?
  return "$status"
}

cd "$root"
if seen_by_others; then
  run "$@"
  exit
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$copy"
echo "test: other users cannot read $root; testing a copy in $copy" >&2
for name in * .[!.]*; do
  case $name in .git) ;; *) cp -Rp --reflink=auto "$name" "$copy/" ;; esac
done
# Else databases wait for the disk while tests count milliseconds.
sync
cd "$copy"
PATH="$copy/node_modules/.bin:$PATH" run "$@"
