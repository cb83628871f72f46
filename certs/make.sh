#!/usr/bin/env bash
# Makes the test CA and the server pair of the sandbox anew; see README.md.
# Without --force it leaves a pair that still fits together alone. The CA's private key exists
# in a temporary directory only and is gone when this script ends: nobody can sign with it later.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Fixed dates: thirty years, so that tests do not begin to fail one day, and a start in the past, so that
# they do not fail on a machine whose clock is late.
from=20250101000000Z
until=20550101000000Z
names='DNS:localhost,DNS:sandbox.wxgate.test,IP:127.0.0.1'

if [ "${1:-}" != --force ] && [ -f ca.pem ] && [ -f server.pem ] && [ -f server.key ] &&
    openssl verify -CAfile ca.pem server.pem >/dev/null 2>&1 &&
    [ "$(openssl x509 -in server.pem -noout -pubkey)" = "$(openssl pkey -in server.key -pubout)" ]; then
    echo 'certs: ca.pem, server.pem and server.key fit together, nothing to do (--force makes them anew)'
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

cat >"$work/ca.cnf" <<CNF
[req]
distinguished_name = dn
prompt = no
[dn]
CN = wxgate test CA (never trust in production)
[ext]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
# Whoever trusts this CA by accident trusts it for these three names and no other.
nameConstraints = critical, permitted;DNS:localhost, permitted;DNS:sandbox.wxgate.test, permitted;IP:127.0.0.1/255.255.255.255
CNF

cat >"$work/server.ext" <<CNF
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $names
CNF

openssl ecparam -name prime256v1 -genkey -noout -out "$work/ca.key"
openssl req -new -sha256 -key "$work/ca.key" -config "$work/ca.cnf" -out "$work/ca.csr"

openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$work/server.key"
openssl req -new -sha256 -key "$work/server.key" -subj '/CN=sandbox.wxgate.test' -out "$work/server.csr"

# `openssl ca` and not `openssl x509`: before OpenSSL 3.4 it alone can set the start of validity.
cat >"$work/sign.cnf" <<CNF
[ca]
default_ca = sign
[sign]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
CNF
: >"$work/index"
sign() { openssl ca -batch -notext -config "$work/sign.cnf" -startdate "$from" -enddate "$until" "$@" 2>"$work/log" || {
    cat "$work/log" >&2
    exit 1
}; }
sign -selfsign -keyfile "$work/ca.key" -in "$work/ca.csr" -extfile "$work/ca.cnf" -extensions ext -out "$work/ca.pem"
sign -keyfile "$work/ca.key" -cert "$work/ca.pem" -in "$work/server.csr" -extfile "$work/server.ext" -out "$work/server.pem"

openssl verify -CAfile "$work/ca.pem" "$work/server.pem" >/dev/null
install -m 644 "$work/ca.pem" ca.pem
install -m 644 "$work/server.pem" server.pem
install -m 644 "$work/server.key" server.key # public, like everything in this directory
echo "certs: made ca.pem, server.pem and server.key for $names"
