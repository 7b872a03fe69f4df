#!/bin/bash
# cluster-init.sh NODES: process 1 of the cluster, in network, mount and pid namespaces of its own. It makes the network, runs the control
# plane and starts the nodes, each in namespaces nested in these: killing this process ends everything at once.
set -uo pipefail
. "$(dirname "$0")/env.sh"
HERE=$(cd "$(dirname "$0")" && pwd)
N=$1
ulimit -n "$(ulimit -Hn)"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
mount_sys

# --- the network: one bridge, no link to the machine's own, so no packet can leave
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_local_port_range="1024 65535"
ip link add br0 type bridge
ip addr add "$CP_IP/24" dev br0
ip link set br0 up

join() { # NAMESPACE ADDRESS: plugs a new network namespace into the bridge
  ip netns add "$1"
  ip link add "v-$1" type veth peer name eth0 netns "$1"
  ip link set "v-$1" master br0 up
  ip -n "$1" link set lo up
  ip -n "$1" addr add "$2/24" dev eth0
  ip -n "$1" link set eth0 up
  ip netns exec "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_local_port_range="1024 65535"
}

for i in $(seq "$N"); do join "node$i" "$NET.$((10 + i))"; done
join client "$CLIENT_IP"
for i in $(seq "$N"); do
  pods=$POD_PREFIX.$i.0/24 via=$NET.$((10 + i))
  ip route add "$pods" via "$via"
  ip -n client route add "$pods" via "$via"
  for j in $(seq "$N"); do [ "$i" = "$j" ] || ip -n "node$j" route add "$pods" via "$via"; done
  # kube-proxy rewrites the destination after routing, so a node needs some route to Services first.
  ip -n "node$i" route add "$SVC_CIDR" dev eth0
  ip -n "node$i" route add "$LB_CIDR" dev eth0
done
for cidr in "$SVC_CIDR" "$LB_CIDR"; do
  ip -n client route add "$cidr" via "$NET.11"
  ip route add "$cidr" via "$NET.11"
done
printf '%s\n' "nameserver $DNS_IP" "search svc.cluster.local cluster.local" "options ndots:5" >"$STATE/resolv.conf"
touch "$STATE/net.ready"

# --- the control plane
supervise "$STATE/log/etcd" etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 &
supervise "$STATE/log/apiserver" kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
  --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$CP_IP" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --service-cluster-ip-range="$SVC_CIDR" \
  --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
  --kubelet-client-certificate="$PKI/kubelet-client.crt" --kubelet-client-key="$PKI/kubelet-client.key" \
  --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
  --requestheader-client-ca-file="$PKI/ca.crt" --requestheader-allowed-names=front-proxy-client \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --proxy-client-cert-file="$PKI/front-proxy.crt" --proxy-client-key-file="$PKI/front-proxy.key" \
  --audit-policy-file="$HERE/audit-policy.yaml" --audit-log-path="$STATE/audit.log" --audit-log-maxsize=4000 \
  --default-not-ready-toleration-seconds=5 --default-unreachable-toleration-seconds=5 &

# Without the higher rate the controller manager needs 5 s for the default ServiceAccounts.
{
  wait_for_api "$PKI/kcm.kubeconfig"
  supervise "$STATE/log/controller-manager" kube-controller-manager --kubeconfig="$PKI/kcm.kubeconfig" \
    --authentication-kubeconfig="$PKI/kcm.kubeconfig" --authorization-kubeconfig="$PKI/kcm.kubeconfig" \
    --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" --use-service-account-credentials \
    --leader-elect=false --kube-api-qps=500 --kube-api-burst=1000 --bind-address=127.0.0.1 \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --node-monitor-period=1s --node-monitor-grace-period=8s
} &
{
  wait_for_api "$PKI/scheduler.kubeconfig"
  supervise "$STATE/log/scheduler" kube-scheduler --kubeconfig="$PKI/scheduler.kubeconfig" \
    --authentication-kubeconfig="$PKI/scheduler.kubeconfig" --authorization-kubeconfig="$PKI/scheduler.kubeconfig" \
    --leader-elect=false --bind-address=127.0.0.1
} &
cat >"$STATE/Corefile" <<Y
cluster.local in-addr.arpa {
  bind $DNS_IP
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $PKI/admin.kubeconfig
    pods insecure
    ttl 5
  }
  cache 5
  loadbalance
}
Y
{
  wait_for_api "$PKI/admin.kubeconfig"
  supervise "$STATE/log/coredns" coredns -conf "$STATE/Corefile"
} &

# --- the nodes; $STATE/nodeI/start asks for a killed one again
start_node() {
  mkdir -p "$STATE/node$1"
  nsenter --net="/run/netns/node$1" \
    unshare --pid --mount --uts --ipc --fork --kill-child --mount-proc --propagation private \
    "$HERE/node-init.sh" "$1" >>"$STATE/log/node$1" 2>&1 </dev/null &
}
for i in $(seq "$N"); do start_node "$i"; done
while :; do
  for i in $(seq "$N"); do
    [ -e "$STATE/node$i/start" ] && rm "$STATE/node$i/start" && start_node "$i"
  done
  sleep .5
done
