#!/bin/bash
# Starts a member of the group in its container. ADDRESS is this host, MEMBERS has the addresses of all, ID is the
# member's own number, INSIDE the network that they are in. Arguments go to the server. What is to be done once, by hand,
# is in group.sh.
set -euo pipefail

# A new member first has to be told as whom it joins.
joins=OFF
if [ -e /var/lib/mysql/in-group ]; then
    joins=ON
fi
seeds=${MEMBERS//,/:33061,}:33061
exec bash /etc/holdfast/start.sh --bind-address="$ADDRESS" --report-host="$ADDRESS" --server-id="$ID" \
    --group-replication-local-address="$ADDRESS:33061" --group-replication-group-seeds="$seeds" \
    --group-replication-ip-allowlist="$INSIDE" --group-replication-start-on-boot="$joins" "$@"
