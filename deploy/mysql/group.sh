#!/bin/bash
# What is done by hand with the group, in the container of a member:
#     group.sh begin    this member is the group: the first of all, or after all were stopped the one that `show` says has
#                       the most. Two members that began would be two groups, so it asks the others first.
#     group.sh join     this member joins the group, which is alive: when it is new. Later ones join by themselves.
#     group.sh show     what this member is, and which transactions it has
set -euo pipefail

administer() {
    mysql --no-defaults --user=root --socket=/var/run/mysqld/mysqld.sock --batch --skip-column-names
}

# The statements of a file, each ${NAME} replaced by the variable of that name.
statements() {
    local text name
    text=$(<"/etc/holdfast/$1")
    for name in PASSWORD REPLICATION_PASSWORD MONITOR_PASSWORD; do
        text=${text//"\${$name}"/"${!name}"}
    done
    printf '%s\n' "$text"
}

# What this member is in the group: its state and its role.
state() {
    echo 'SELECT member_state, member_role FROM performance_schema.replication_group_members
        WHERE member_id = @@server_uuid' | administer
}

wait_until_online() {
    for _ in {1..60}; do
        if state | grep -q ONLINE; then
            touch /var/lib/mysql/in-group
            state
            exit 0
        fi
        sleep 1
    done
    echo "this member does not get online: $(state); its log says why" >&2
    exit 1
}

if state | grep -q ONLINE && [ "$1" != show ]; then
    wait_until_online
fi
case $1 in
begin)
    for member in ${MEMBERS//,/ }; do
        if [ "$member" != "$ADDRESS" ] && MYSQL_PWD=$PASSWORD mysql --no-defaults --connect-timeout=3 \
            --host="$member" --user=holdfast --batch --skip-column-names --execute="SELECT 1 FROM
            performance_schema.replication_group_members WHERE member_state = 'ONLINE' LIMIT 1" 2>/dev/null | grep -q 1; then
            echo "$member has the group: join it instead" >&2
            exit 1
        fi
    done
    if [ ! -e /var/lib/mysql/in-group ]; then
        statements group.sql | administer
    fi
    echo 'STOP GROUP_REPLICATION; SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION;
        SET GLOBAL group_replication_bootstrap_group = OFF' | administer
    if [ ! -e /var/lib/mysql/in-group ]; then
        until state | grep -q ONLINE; do sleep 1; done
        { statements accounts.sql; statements group-accounts.sql; statements monitor.sql; } | administer
    fi
    wait_until_online
    ;;
join)
    if [ ! -e /var/lib/mysql/in-group ]; then
        statements group.sql | administer
    fi
    echo 'STOP GROUP_REPLICATION; START GROUP_REPLICATION' | administer
    wait_until_online
    ;;
show)
    state
    echo 'SELECT @@global.gtid_executed; SELECT received_transaction_set FROM
        performance_schema.replication_connection_status WHERE channel_name = "group_replication_applier"' | administer
    ;;
*)
    echo "usage: group.sh begin|join|show" >&2
    exit 2
    ;;
esac
