#!/bin/bash
# api-tier.sh: process 1 of an API server without nodes, in network, mount and pid namespaces of its own, on its loopback only.
set -uo pipefail
. "$(dirname "$0")/env.sh"
HERE=$(cd "$(dirname "$0")" && pwd)
ulimit -n "$(ulimit -Hn)"
ip link set lo up
# Stand-in pods are processes here: every address of the pod network is one of this machine.
ip route add local "$POD_PREFIX.0.0/16" dev lo
mkdir -p "$STATE/log"
SERVER=127.0.0.1:6443 "$HERE/pki.sh"
supervise "$STATE/log/etcd" etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 &
# No endpoint of its own (--endpoint-reconciler-type): there is no kube-proxy here that would need it.
supervise "$STATE/log/apiserver" kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
  --bind-address=127.0.0.1 --secure-port=6443 --advertise-address=127.0.0.1 --endpoint-reconciler-type=none \
  --authorization-mode=Node,RBAC --service-cluster-ip-range="$SVC_CIDR" --allow-privileged=true \
  --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
  --audit-policy-file="$HERE/audit-policy.yaml" --audit-log-path="$STATE/audit.log" --audit-log-maxsize=4000 &
wait_for_api "$PKI/kcm.kubeconfig"
supervise "$STATE/log/controller-manager" kube-controller-manager --kubeconfig="$PKI/kcm.kubeconfig" \
  --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" --use-service-account-credentials \
  --leader-elect=false --kube-api-qps=500 --kube-api-burst=1000 --bind-address=127.0.0.1 --secure-port=0 &
until kubectl --kubeconfig "$PKI/admin.kubeconfig" get serviceaccount default >/dev/null 2>&1; do sleep .1; done
touch "$STATE/ready"
while :; do sleep 3600 & wait $!; done
