#!/bin/bash
# Starts a server in its container. Its data is made as in the tests: the administrator has no password, and only the
# socket lets them in. Arguments go to the server.
set -euo pipefail

data=/var/lib/mysql/data
if [ ! -d "$data" ]; then
    # It gets its name when it is complete.
    rm -rf "$data.part"
    mysqld --no-defaults --initialize-insecure --datadir="$data.part"
    mv "$data.part" "$data"
fi
# A crash leaves the lock of the socket, and in a new container its pid is somebody else's.
rm -f /var/run/mysqld/mysqld.sock /var/run/mysqld/mysqld.sock.lock
exec mysqld --datadir="$data" "$@"
