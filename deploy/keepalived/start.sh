#!/bin/bash
# Starts keepalived in its container. ADDRESS and PEER are this host and the other, SHARED_ADDRESS is what they share,
# with the length of its prefix.
set -euo pipefail

settings=/run/holdfast
mkdir -p "$settings"
cp /etc/holdfast/keepalived.conf "$settings"
# The interface that has this host's address.
interface=$(ip -oneline -4 address show to "$ADDRESS" | awk 'NR == 1 { print $2 }')
if [ -z "$interface" ]; then
    echo "this host does not have the address $ADDRESS" >&2
    exit 1
fi
cat >"$settings/host.conf" <<END
\$INTERFACE=$interface
\$ADDRESS=$ADDRESS
\$PEER=$PEER
\$SHARED_ADDRESS=$SHARED_ADDRESS
\$ASK=/etc/holdfast/ask.sh
global_defs {
    script_user nobody
    enable_script_security
}
END
# One that was killed could not take the address away, and there would be two holders until this one knows better.
ip address delete "$SHARED_ADDRESS" dev "$interface" 2>/dev/null || true
# It would believe one that a crash has left, when another process has the number by now.
rm -f "$settings"/*.pid
exec keepalived --dont-fork --log-console --no-syslog --vrrp --use-file "$settings/keepalived.conf" \
    --pid "$settings/keepalived.pid" --vrrp_pid "$settings/vrrp.pid"
