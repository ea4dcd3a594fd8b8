#!/bin/sh
# Joins nodes to a cluster in which the second half replicates the first. Runs at every start, and leaves a cluster
# alone that is there. The arguments are the nodes' addresses, the password is in REDISCLI_AUTH.
set -eu

host=${1%:*}
port=${1#*:}

info() {
    redis-cli -h "$host" -p "$port" cluster info
}

ask() {
    address=$1
    shift
    redis-cli -h "${address%:*}" -p "${address#*:}" "$@"
}

# Who replicates whom is said, because redis-cli would choose for itself.
make() {
    half=$(($# / 2))
    masters=
    for _ in $(seq "$half"); do
        masters="$masters $1"
        shift
    done
    # shellcheck disable=SC2086
    redis-cli --cluster create $masters --cluster-replicas 0 --cluster-yes
    for master in $masters; do
        replica=$1
        shift
        ask "$replica" cluster meet "${master%:*}" "${master#*:}"
        # It is refused until the two have met.
        tries=60
        until [ "$(ask "$replica" cluster replicate "$(ask "$master" cluster myid)")" = OK ]; do
            tries=$((tries - 1))
            [ "$tries" -gt 0 ]
            sleep 1
        done
    done
}

if info | grep -q '^cluster_known_nodes:1[^0-9]*$'; then
    make "$@"
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
