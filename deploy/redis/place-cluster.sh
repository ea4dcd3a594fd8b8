#!/bin/sh
# Joins the nodes of six hosts to a cluster in which each replica has the master that it is meant for. Run once, by hand;
# it leaves alone what is there. Each argument is MASTER,REPLICA, both as ADDRESS:PORT; the password is in REDISCLI_AUTH.
set -eu

# Asks one node.
ask() {
    node=$1
    shift
    redis-cli -h "${node%:*}" -p "${node#*:}" "$@"
}

# A node that knows only itself is new.
is_new() {
    ask "$1" cluster info | grep -q '^cluster_known_nodes:1[^0-9]*$'
}

masters=$(for pair in "$@"; do echo "${pair%,*}"; done)
if is_new "${1%,*}"; then
    # shellcheck disable=SC2086 # They are words.
    redis-cli --cluster create $masters --cluster-replicas 0 --cluster-yes
fi
for pair in "$@"; do
    master=${pair%,*}
    replica=${pair#*,}
    if is_new "$replica"; then
        ask "$replica" cluster meet "${master%:*}" "${master#*:}"
        tries=60
        # It is refused until the two have met.
        until [ "$(ask "$replica" cluster replicate "$(ask "$master" cluster myid)" 2>&1)" = OK ]; do
            tries=$((tries - 1))
            if [ "$tries" -eq 0 ]; then
                echo "$replica does not follow $master" >&2
                exit 1
            fi
            sleep 1
        done
    fi
done
ask "${1%,*}" cluster nodes
