#!/bin/bash
# What all scripts share; sourced. `cargo xtask` sets BIN (the programs) and STATE (everything that a running cluster writes).
: "${BIN:?is set by cargo xtask cluster}" "${STATE:?is set by cargo xtask cluster}"
export PKI=$STATE/pki
export NET=10.89.0              # the network of the nodes; it exists only inside the cluster's own namespace
export CP_IP=$NET.1             # the API server and CoreDNS
export CLIENT_IP=$NET.200       # where `cluster client` runs
export SVC_CIDR=10.96.0.0/16 DNS_IP=$CP_IP
export LB_CIDR=10.97.0.0/16     # a test may give a LoadBalancer Service an address of it; node 1 answers
export POD_PREFIX=10.244        # node i has 10.244.i.0/24
export CGROUP=wsc-test          # the cgroup parent of every container
export PATH=$BIN:/usr/sbin:/sbin:$PATH

# The cgroup tree of the machine on a /sys of the own network namespace: a fresh sysfs has none.
mount_sys() {
  local keep
  keep=$(mktemp -d)
  mount --rbind /sys/fs/cgroup "$keep"
  mount -t sysfs sysfs /sys
  mount --rbind "$keep" /sys/fs/cgroup
  umount -l "$keep"
  rmdir "$keep"
}

# supervise LOG PROGRAM ARGS...: starts it again a second after it ended, as a machine's service manager does.
supervise() {
  local log=$1
  shift
  while :; do
    "$@" >>"$log" 2>&1
    echo "-- $1 ended with $?, starting it again" >>"$log"
    sleep 1
  done
}

# The API server answers; for programs that would only complain until it does.
wait_for_api() {
  until kubectl --kubeconfig "$1" get --raw /readyz >/dev/null 2>&1; do sleep .1; done
}
