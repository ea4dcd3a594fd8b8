#!/bin/sh
# Runs beside a node that is meant to be a master: go-home.sh HOST PORT [COMMAND…]. After a failover the node comes
# back as a replica of the one that took over; when it has all data again, it asks to be the master, so that no machine
# keeps two. COMMAND is how to start redis-cli, the password is in REDISCLI_AUTH.
set -eu

host=$1
port=$2
shift 2
[ $# -gt 0 ] || set -- redis-cli

# Seconds between two looks, and after a request that others may still be busy with.
pause=2
pause_after_request=10

info() {
    timeout 5 "$@" -h "$host" -p "$port" info replication | tr -d '\r'
}

# Whether the node is a replica that has its master's data.
is_ready() {
    text=$(info "$@") || return 1
    for line in role:slave master_link_status:up master_sync_in_progress:0; do
        echo "$text" | grep -qx "$line" || return 1
    done
}

while true; do
    # Twice, because a link that has just come up may go down again.
    if is_ready "$@" && sleep "$pause" && is_ready "$@"; then
        echo "$(date -u +%FT%TZ) asks to be the master"
        # The master stops writes until this node has all of them; an answer other than OK is tried again later.
        timeout 5 "$@" -h "$host" -p "$port" cluster failover || true
        sleep "$pause_after_request"
    fi
    sleep "$pause"
done
