#!/bin/sh
# Makes one cluster of control nodes that run in containers, and lets Followers in. Each step is left out where it has been
# done, so it may be run again until it ends well.
#
#   form.sh FIRST OTHER OTHER [FOLLOWER…]
#
# HOLDFAST_EXEC runs a command in the container that is named next, with our standard input; HOLDFAST_EXEC_THEN stands
# between that name and the command. Kubernetes: HOLDFAST_EXEC='kubectl exec -i -c node' HOLDFAST_EXEC_THEN=--
set -eu
exec_in=${HOLDFAST_EXEC:-docker compose exec -T}
at() {
  name=$1
  shift
  # Words, not one word.
  # shellcheck disable=SC2086
  $exec_in "$name" ${HOLDFAST_EXEC_THEN:-} "$@"
}
sh_at() { at "$1" sh -euc "$2"; }
say() { echo "form.sh: $*" >&2; }

first=$1
second=$2
third=$3
shift 3

say "$first makes the cluster, its authority and its own identity"
sh_at "$first" '[ -e $HOLDFAST_DATA_DIR/identity/node.key ] || {
  touch $HOLDFAST_DATA_DIR/alone
  holdfast ca init --data-dir $HOLDFAST_DATA_DIR --name $HOLDFAST_NAME --account $HOLDFAST_ACCOUNT \
    --node-addresses $HOLDFAST_NODE_ADDRESSES --altnames $NODE_ALTNAMES
}'

lead() { sh_at "$first" 'until holdfast status http://127.0.0.1:$HOLDFAST_HEALTH_PORT 2>/dev/null; do sleep 1; done'; }
say "waiting until $first is well"
lead
policy="- !policy
  id: conjur/cluster/$(at "$first" printenv HOLDFAST_CLUSTER)
  body:
  - !layer
  - !host $second
  - !host $third
  - !grant { role: !layer, members: [ !host $second, !host $third ] }"
# What makes seeds does so as the administrator, at whoever leads.
admin='HOLDFAST_API_KEY_FILE=$HOLDFAST_DATA_DIR/admin.key'
joined() { sh_at "$1" '[ -e $HOLDFAST_DATA_DIR/identity/node.pem ]' 2>/dev/null; }
await_joined() { sh_at "$1" 'until [ -e $HOLDFAST_DATA_DIR/identity/node.pem ]; do sleep 1; done'; }

for node in "$second" "$third"; do
  if joined "$node"; then continue; fi
  say "$node joins"
  echo "$policy" | sh_at "$first" "$admin holdfast policy load -b root > /dev/null"
  sh_at "$first" "$admin holdfast seed standby $node --altnames $(at "$node" printenv NODE_ALTNAMES)" |
    sh_at "$node" 'holdfast unpack seed - --data-dir $HOLDFAST_DATA_DIR'
  await_joined "$node"
done

for follower in "$@"; do
  if joined "$follower"; then continue; fi
  say "$follower joins"
  sh_at "$first" "$admin holdfast seed follower $follower" |
    sh_at "$follower" 'holdfast unpack seed - --data-dir $HOLDFAST_DATA_DIR'
  await_joined "$follower"
done

if sh_at "$first" '[ -e $HOLDFAST_DATA_DIR/alone ]'; then
  say "a Standby takes over, and $first begins anew as one of three: from now on each write is on two machines"
  sh_at "$first" 'until holdfast cluster switchover --why "the cluster is complete" 2>/dev/null; do sleep 2; done
    rm $HOLDFAST_DATA_DIR/alone'
  # Its engine starts it again. What runs in there ends with it, and so this does.
  sh_at "$first" 'kill -TERM 1; sleep 60' >/dev/null 2>&1 || true
fi
until sh_at "$first" 'holdfast status http://127.0.0.1:$HOLDFAST_HEALTH_PORT' 2>/dev/null; do sleep 1; done
say "done"
