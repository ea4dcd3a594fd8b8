#!/bin/sh
# Joins nodes to a cluster in which the second half replicates the first. Runs at every start, and leaves a cluster
# alone that is there. The arguments are the nodes' addresses, the password is in REDISCLI_AUTH.
set -eu

host=${1%:*}
port=${1#*:}

info() {
    redis-cli -h "$host" -p "$port" cluster info
}

if info | grep -q '^cluster_known_nodes:1[^0-9]*$'; then
    redis-cli --cluster create "$@" --cluster-replicas 1 --cluster-yes
fi
tries=60
until info | grep -q '^cluster_state:ok'; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
        echo "the cluster does not work:" >&2
        info >&2
        exit 1
    fi
    sleep 1
done
