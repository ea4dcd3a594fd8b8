#!/bin/bash
# ask.sh PATH TIMES: whether nginx of this host answers a path of its inner port with 200, so many times within a second.
# keepalived runs a script once a second at most, and learns of its failure at once.
set -eu

for ((time = 1; time <= $2; time++)); do
    exec 3<>/dev/tcp/127.0.0.1/8081
    printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3
    read -r -t 2 _ status _ <&3
    [ "$status" = 200 ]
    exec 3>&-
    # Less than a second in all.
    [ "$time" = "$2" ] || sleep "$(printf 0.%02d $((90 / $2)))"
done
