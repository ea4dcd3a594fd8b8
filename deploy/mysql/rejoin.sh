#!/bin/bash
# Runs beside a member of the group: rejoin.sh SOCKET [COMMAND…]. A member that was cut off tries to come back at once and
# then only every five minutes, and one that started while the group was away does not try again. This looks every few
# seconds and lets the member join as soon as another one is in the group. It never begins a group. COMMAND is how to start
# mysql.
set -euo pipefail

socket=$1
shift
[ $# -gt 0 ] || set -- mysql

# Seconds between two looks, and how many of them in a row have to find the member away: it may be joining by itself.
pause=2
looks=4

ask() {
    timeout 100 "${client[@]}" --no-defaults --user=root --socket="$socket" --connect-timeout=5 --batch --skip-column-names \
        --execute="$1"
}

# Whether the server works without being in the group, though it has been told as whom to join.
is_away() {
    local state
    state=$(ask "SELECT IF((SELECT COUNT(*) FROM performance_schema.replication_connection_configuration
        WHERE channel_name = 'group_replication_recovery' AND user <> '') = 0, 'NEW', IFNULL(MAX(member_state), 'OFFLINE'))
        FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid" 2>/dev/null) || return 1
    [ "$state" = OFFLINE ] || [ "$state" = ERROR ]
}

# Whether another member talks to the group: without that nobody listens on its port.
has_peer() {
    local addresses own peers peer
    addresses=$(ask 'SELECT @@group_replication_local_address, @@group_replication_group_seeds') || return 1
    read -r own peers <<<"$addresses"
    for peer in ${peers//,/ }; do
        if [ "$peer" != "$own" ] && timeout 1 bash -c "exec 3<>/dev/tcp/${peer%:*}/${peer#*:}" 2>/dev/null; then
            return 0
        fi
    done
    return 1
}

client=("$@")
away=0
while true; do
    sleep "$pause"
    if is_away; then
        away=$((away + 1))
    else
        away=0
    fi
    if [ "$away" -ge "$looks" ] && has_peer; then
        echo "$(date -u +%FT%TZ) joins the group again"
        # What fails is tried again.
        ask 'STOP GROUP_REPLICATION; START GROUP_REPLICATION' || true
        away=0
    fi
done
