#!/bin/sh
# etcd of a control node, under the identity of that node; control nodes are let in, and nobody else.
#
#   etcd.sh DATA_DIR NAME           begins a store, or goes on with its member of one
#   etcd.sh DATA_DIR NAME MEMBER    before its first start joins the store that runs at the control node MEMBER
#
# DATA_DIR is the node's data_dir; this waits until the node has joined, and DATA_DIR/identity is there. NAME and MEMBER are
# names of hosts, as in the certificates. Ports 2379 (clients) and 2380 (members). Needs etcd, and etcdctl to join.
set -eu
data=$1
name=$2
identity=$data/identity
until [ -e "$identity/node.key" ]; do sleep 1; done
only=coordination.$(sed -n 's/.*"clusterId": *"\([0-9a-f]*\)".*/\1/p' "$identity/cluster.json").internal
# etcd listens at addresses; IPv4, as one of them can stand in a URL as it is.
address=$(getent ahostsv4 "$name" | awk 'NR == 1 { print $1 }')
[ -n "$address" ] || { echo "etcd.sh: $name has no IPv4 address: put it into /etc/hosts or DNS" >&2; exit 1; }
state=new
members=$name=https://$name:2380

ctl() {
  ETCDCTL_API=3 etcdctl --endpoints "https://$member:2379" \
    --cacert "$identity/ca.pem" --cert "$identity/node.pem" --key "$identity/node.key" "$@"
}

# Fields of a line: id, state, name (empty before its first start), address, …
mine() { ctl member list | grep -F ", https://$name:2380, "; }

# It first takes all that the others have. Until it is promoted nothing depends on it.
promote() {
  until mine | grep -q ', false$'; do
    sleep 1
    ctl member promote "$(mine | cut -d, -f1)" >/dev/null 2>&1 || true
  done
}

if [ $# -gt 2 ]; then
  member=$3
  if [ ! -d "$data/etcd/member" ]; then
    state=existing
    # Refused while the members that there are have only just found each other.
    until mine >/dev/null || ctl member add "$name" --learner --peer-urls "https://$name:2380"; do sleep 1; done
    members=$(ctl member list | awk -F', ' '{ sub(/^https:\/\//, "", $4); host = $4; sub(/:2380$/, "", host); print host "=https://" $4 }' | paste -sd, -)
  fi
  promote &
fi

exec etcd --logger zap --name "$name" --data-dir "$data/etcd" --initial-cluster-state "$state" --initial-cluster "$members" \
  --listen-client-urls "https://$address:2379" --advertise-client-urls "https://$name:2379" \
  --listen-peer-urls "https://$address:2380" --initial-advertise-peer-urls "https://$name:2380" \
  --cert-file "$identity/node.pem" --key-file "$identity/node.key" --trusted-ca-file "$identity/ca.pem" \
  --peer-cert-file "$identity/node.pem" --peer-key-file "$identity/node.key" --peer-trusted-ca-file "$identity/ca.pem" \
  --client-cert-auth --client-cert-allowed-hostname "$only" \
  --peer-client-cert-auth --peer-cert-allowed-hostname "$only"
