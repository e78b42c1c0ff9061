#!/bin/sh
# HAProxy in a container, with the haproxy.cfg beside this file: puts in where the three nodes are. Names are asked for again
# and again, because a node that comes back may have another address; a node whose name nobody knows is one that is down.
#
#   balancer.sh NODE NODE NODE
set -eu
config=/tmp/haproxy.cfg
sed -e "s/ 10\.0\.0\.11:/ $1:/" -e "s/ 10\.0\.0\.12:/ $2:/" -e "s/ 10\.0\.0\.13:/ $3:/" \
  -e 's/^  default-server check /  default-server init-addr last,libc,none resolvers names check /' \
  "$(dirname "$0")/haproxy.cfg" > $config
cat >> $config <<END

resolvers names
  parse-resolv-conf
  timeout resolve 1s
  timeout retry 500ms
  hold valid 1s
  hold nx 1s
  hold refused 1s
  hold timeout 1s
END
exec haproxy -db -f $config
