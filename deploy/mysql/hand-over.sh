#!/bin/bash
# Before a member of the group is stopped in an orderly way: hand-over.sh SOCKET ADDRESSES [COMMAND…]. If it is the primary,
# the first of the other members in ADDRESSES (with commas between them) that works becomes it: nobody has to miss a dead one
# first. COMMAND is how to start mysql.
set -euo pipefail

socket=$1
addresses=$2
shift 2
[ $# -gt 0 ] || set -- mysql

ask() {
    timeout 30 "${client[@]}" --no-defaults --user=root --socket="$socket" --connect-timeout=5 --batch --skip-column-names \
        --execute="$1"
}

client=("$@")
successor=$(ask "SELECT other.member_id FROM performance_schema.replication_group_members own
    JOIN performance_schema.replication_group_members other ON other.member_id <> own.member_id
    WHERE own.member_id = @@server_uuid AND own.member_role = 'PRIMARY' AND other.member_state = 'ONLINE'
    AND FIND_IN_SET(other.member_host, '$addresses') > 0
    ORDER BY FIND_IN_SET(other.member_host, '$addresses') LIMIT 1")
if [ -n "$successor" ]; then
    ask "SELECT group_replication_set_as_primary('$successor')" >/dev/null
fi
