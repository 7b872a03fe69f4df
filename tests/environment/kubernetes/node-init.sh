#!/bin/bash
# node-init.sh I: process 1 of node I, in pid, mount, uts, ipc and network namespaces of its own: containerd, kubelet, kube-proxy and all
# containers of the node. Killing it is a power cut of that node.
set -uo pipefail
. "$(dirname "$0")/env.sh"
i=$1 n=node$1
D=$STATE/$n
hostname "$n"
mkdir -p "$D"/{etc/net.d,kubelet,containerd,cni,log/pods,log/containers}
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/containerd
mount_sys

# --- the usual paths, each a folder of this node
own() { # FOLDER PATH
  mkdir -p "$2"
  mount --bind "$1" "$2"
}
own "$D/kubelet" /var/lib/kubelet
own "$D/containerd" /var/lib/containerd
own "$D/cni" /var/lib/cni
own "$D/log/pods" /var/log/pods
own "$D/log/containers" /var/log/containers
mount --make-rshared /

# --- cgroups: the parent of all nodes, then the node's own
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then # version 2: a group's controllers are what its parent gives
  mkdir -p "/sys/fs/cgroup/$CGROUP/$n"
  for group in /sys/fs/cgroup "/sys/fs/cgroup/$CGROUP" "/sys/fs/cgroup/$CGROUP/$n"; do
    for controller in $(cat "$group/cgroup.controllers"); do echo "+$controller" >"$group/cgroup.subtree_control"; done
  done
else # version 1: one tree per controller
  for c in /sys/fs/cgroup/*/; do
    [ "$c" = /sys/fs/cgroup/unified/ ] && continue
    for group in "$c$CGROUP" "$c$CGROUP/$n"; do
      mkdir -p "$group"
      if [ -e "$group/cpuset.cpus" ]; then
        cat "$c/cpuset.cpus" >"$group/cpuset.cpus"
        cat "$c/cpuset.mems" >"$group/cpuset.mems"
      fi
    done
  done
fi
# Groups of a killed earlier life of this node cost the kubelet 3 s each at its start.
find /sys/fs/cgroup/{,*/}"$CGROUP/$n" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null

# --- configuration
cat >"$D/etc/net.d/10-bridge.conflist" <<Y
{"cniVersion":"1.0.0","name":"pods","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"/run/cni-ipam","ranges":[[{"subnet":"$POD_PREFIX.$i.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
Y
cat >"$D/etc/containerd.toml" <<Y
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$BIN"]
    conf_dir = "$D/etc/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "/usr/sbin/runc"
        SystemdCgroup = false
Y
cat >"$D/etc/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/$n
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
address: 0.0.0.0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
resolvConf: $D/etc/resolv.conf
rotateCertificates: false
protectKernelDefaults: false
oomScoreAdj: 0
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
nodeLeaseDurationSeconds: 8
nodeStatusUpdateFrequency: 2s
syncFrequency: 5s
configMapAndSecretChangeDetectionStrategy: Watch
registerNode: true
maxPods: 110
shutdownGracePeriod: 0s
Y
echo "nameserver $DNS_IP" >"$D/etc/resolv.conf"
cat >"$D/etc/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: $n
clientConnection: {kubeconfig: $PKI/proxy.kubeconfig}
clusterCIDR: $POD_PREFIX.0.0/16
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
linux: {oomScoreAdj: 0, conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
metricsBindAddress: 127.0.0.1:10249
healthzBindAddress: 127.0.0.1:10256
Y

# --- the programs
supervise "$D/log/containerd" containerd -c "$D/etc/containerd.toml" &
until ctr version >/dev/null 2>&1; do sleep .05; done
ctr -n k8s.io images import --local "$STATE/pause.tar"
supervise "$D/log/kubelet" kubelet --config "$D/etc/kubelet.yaml" --kubeconfig "$PKI/$n.kubeconfig" --root-dir /var/lib/kubelet \
  --cert-dir "$D/kubelet-pki" --hostname-override "$n" --node-ip "$NET.$((10 + i))" &
wait_for_api "$PKI/proxy.kubeconfig"
supervise "$D/log/kube-proxy" kube-proxy --config "$D/etc/proxy.yaml" &
while :; do sleep 3600 & wait $!; done # bash as process 1 reaps the orphans
