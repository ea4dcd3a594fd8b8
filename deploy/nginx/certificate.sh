#!/bin/bash
# Makes a certificate that signs itself, so that TLS works at once. Leaves alone what is there: put tls.crt and tls.key of
# an authority into a folder of your own and name it in HOLDFAST_TLS_DIR.
set -euo pipefail
umask 077

cd "${TLS:-/tls}"
if [ -e tls.crt ] && [ -e tls.key ]; then
    exit 0
fi
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=$HOST" \
    -addext "subjectAltName=DNS:$HOST" -keyout tls.key -out tls.crt
