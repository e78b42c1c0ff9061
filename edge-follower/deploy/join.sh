#!/bin/sh
# Before a Follower's first start where nobody stands by to carry a seed: it asks for its own, as somebody who may make seeds of
# Followers (HOLDFAST_URL, HOLDFAST_ACCOUNT, HOLDFAST_LOGIN, HOLDFAST_API_KEY_FILE). Does nothing where it has joined; a seed
# that was not used may have expired, and is replaced.
set -eu
if [ -e "$HOLDFAST_DATA_DIR/identity/node.key" ]; then exit 0; fi
seed=$(holdfast seed follower "$HOLDFAST_NAME")
printf '%s\n' "$seed" | holdfast unpack seed - --data-dir "$HOLDFAST_DATA_DIR"
