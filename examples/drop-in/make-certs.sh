#!/bin/sh
# Makes a private CA and a certificate for api.weixin.qq.com, for a wxgate that stands in its place; README.md
# tells where they go.
#     make-certs.sh DIRECTORY
# In DIRECTORY: ca.pem (to be trusted by the apps), server.pem and server.key (for wxgate). The key of the CA is
# made in a temporary directory and is gone when this script ends, so nobody can sign anything else with a CA that
# your machines trust. To renew, run it again with another directory and distribute the new ca.pem.
set -eu

dir=${1:?usage: make-certs.sh DIRECTORY}
name=api.weixin.qq.com
days=1825 # five years: write the end into a calendar

mkdir -p "$dir"
for file in ca.pem server.pem server.key; do
    if [ -e "$dir/$file" ]; then
        echo "make-certs.sh: $dir/$file is there already; name another directory" >&2
        exit 1
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

cat >"$work/ca.cnf" <<CNF
[req]
distinguished_name = dn
prompt = no
x509_extensions = ext
[dn]
CN = wxgate private CA for $name
[ext]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
# Whoever trusts this CA trusts it for this one name and no other.
nameConstraints = critical, permitted;DNS:$name
CNF
cat >"$work/server.ext" <<CNF
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:$name
CNF

key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
key "$work/ca.key"
openssl req -x509 -new -sha256 -key "$work/ca.key" -config "$work/ca.cnf" -days "$days" -out "$work/ca.pem"
key "$work/server.key"
openssl req -new -sha256 -key "$work/server.key" -subj "/CN=$name" -out "$work/server.csr"
openssl x509 -req -sha256 -in "$work/server.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -set_serial 1 \
    -days "$days" -extfile "$work/server.ext" -out "$work/server.pem" 2>"$work/log" || {
    cat "$work/log" >&2
    exit 1
}
openssl verify -CAfile "$work/ca.pem" "$work/server.pem" >/dev/null

cp "$work/ca.pem" "$work/server.pem" "$work/server.key" "$dir/"
chmod 644 "$dir/ca.pem" "$dir/server.pem"
chmod 600 "$dir/server.key"
echo "made ca.pem, server.pem and server.key for $name in $dir"
