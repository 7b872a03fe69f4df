#!/bin/bash
# pki.sh [NODE...]: a certificate authority, certificates and kubeconfigs in $PKI. SERVER is the address in the kubeconfigs.
set -euo pipefail
. "$(dirname "$0")/env.sh"
mkdir -p "$PKI"
cd "$PKI"
umask 077

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

cert() { # FILE SUBJECT EXTENSIONS
  [ -e "$1.crt" ] && return
  key "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
    -extfile <(printf '%s\n' "$3") 2>/dev/null
  rm "$1.csr"
}

if [ ! -e ca.crt ]; then
  key ca.key
  openssl req -x509 -new -key ca.key -subj /CN=local-ca -days 30 -out ca.crt
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
fi

names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost
cert apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=$names,IP:127.0.0.1,IP:$CP_IP,IP:10.96.0.1"
client=extendedKeyUsage=clientAuth
cert admin /O=system:masters/CN=admin "$client"
cert kcm /CN=system:kube-controller-manager "$client"
cert scheduler /CN=system:kube-scheduler "$client"
cert proxy /CN=system:kube-proxy "$client"
cert kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client "$client"
cert front-proxy /CN=front-proxy-client "$client"
for node in "$@"; do cert "$node" "/O=system:nodes/CN=system:node:$node" "$client"; done

for file in admin kcm scheduler proxy "$@"; do
  cat >"$file.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://${SERVER:-$CP_IP:6443}", certificate-authority: $PKI/ca.crt}}]
users: [{name: $file, user: {client-certificate: $PKI/$file.crt, client-key: $PKI/$file.key}}]
contexts: [{name: local, context: {cluster: local, user: $file}}]
current-context: local
Y
done
