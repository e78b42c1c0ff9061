#!/bin/sh
# A control node in a container. It begins when there is an identity, which form.sh makes for the first node, or a seed.
set -eu
data=$HOLDFAST_DATA_DIR
until [ -e "$data/identity/node.key" ] || [ -e "$data/init/seed" ]; do
  [ -n "${said:-}" ] || echo "node.sh: this node waits for its seed, or to be made the first of a cluster: see form.sh" >&2
  said=1
  sleep 1
done
# While the first is alone, writes wait for no Standby.
if [ -e "$data/alone" ]; then set -- "$@" --sync-required false; fi
exec holdfast node "$@"
