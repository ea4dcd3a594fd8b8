#!/bin/bash
# Gives the primary its accounts and tells the replica whom to follow. Runs at every start, and changes nothing
# that is there. Both sockets are below /run, the passwords in the environment.
set -euo pipefail

# The statements of a file, each ${NAME} replaced by the variable of that name.
statements() {
    local text name
    text=$(<"/etc/holdfast/$1")
    for name in PASSWORD REPLICATION_PASSWORD MONITOR_PASSWORD PRIMARY_HOST PRIMARY_PORT; do
        text=${text//"\${$name}"/"${!name}"}
    done
    printf '%s\n' "$text"
}

administer() {
    mysql --no-defaults --user=root --socket="/run/$1/mysqld.sock" --vertical
}

{ statements accounts.sql; statements monitor.sql; } | administer primary
if [ -z "$(echo 'SHOW REPLICA STATUS' | administer replica)" ]; then
    statements follow.sql | administer replica
fi
echo 'START REPLICA' | administer replica

for _ in {1..60}; do
    status=$(echo 'SHOW REPLICA STATUS' | administer replica)
    if grep -q 'Replica_IO_Running: Yes' <<<"$status" && grep -q 'Replica_SQL_Running: Yes' <<<"$status"; then
        exit 0
    fi
    sleep 1
done
echo "the replica does not follow the primary:" >&2
grep -E 'Last_(IO|SQL)_Error: .' <<<"$status" >&2
exit 1
