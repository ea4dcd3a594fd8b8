#!/bin/bash
# Starts a node of Kafka in its container: start.sh ROLE ID LISTENERS. VOTERS has the controllers, CLUSTER_ID keeps
# nodes of different clusters apart. Settings are those of the tests.
set -euo pipefail

role=$1
id=$2
listeners=$3
kafka=/opt/kafka
settings=/tmp/server.properties

cat "/etc/holdfast/common.properties" "/etc/holdfast/$role.properties" - >"$settings" <<END

node.id=$id
listeners=$listeners
controller.quorum.voters=$VOTERS
log.dirs=/var/lib/kafka/data
END

# Makes the data of a new node.
"$kafka/bin/kafka-storage.sh" format --cluster-id "$CLUSTER_ID" --config "$settings" --ignore-formatted
exec "$kafka/bin/kafka-server-start.sh" "$settings"
