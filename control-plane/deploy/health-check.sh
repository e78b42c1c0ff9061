#!/bin/sh
# Whether this control node is well, as Leader or as a Standby that could take over: ends with 0 or 1. With --alive: whether
# it runs at all, for whom would end it otherwise; one that waits for its seed does.
set -eu
url=http://127.0.0.1:$HOLDFAST_HEALTH_PORT
if [ "${1:-}" != --alive ]; then exec holdfast status "$url"; fi
[ -e "$HOLDFAST_DATA_DIR/identity/node.key" ] || exit 0
exec node -e "fetch('$url/health').then(() => process.exit(0), () => process.exit(1))"
