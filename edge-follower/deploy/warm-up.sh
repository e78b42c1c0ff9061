#!/bin/sh
# Starts a Follower without a Leader while its image is built, and stops it when it answers: what it has loaded is then kept
# beside the packages with its types erased. Its keys and its copy are of this start alone.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
holdfast keys new "$folder/data.key" >/dev/null
holdfast keys new --bearer "$folder/bearer" >/dev/null
holdfast follower --name warm-up --data-dir "$folder/data" --data-key-file "$folder/data.key" \
  --bearer-file "$folder/bearer" --leader-url http://127.0.0.1:9 --host 127.0.0.1 --log-level warn &
until node "$(dirname "$0")/health-check.ts" --any; do
  kill -0 $! || { echo "warm-up.sh: the Follower has ended" >&2; exit 1; }
  sleep 0.2
done
kill $!
wait $!
