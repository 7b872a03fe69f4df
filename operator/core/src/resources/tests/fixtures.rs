//! Clusters for the tests: the six lines of the README, and one that sets every section.

use crate::testing::cluster;
use crate::validate::ValidCluster;

pub(super) const SIX_LINES: &str = "scaling: {minReplicas: 2, maxReplicas: 20}";

pub(super) const FULL: &str = "
scaling: {minReplicas: 3, maxReplicas: 40}
labels: {example.org/owner: messaging, team: all}
annotations: {example.org/contact: messaging}
server:
  image: registry.example.org/chat@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  port: 8000
  path: /socket
  maxConnections: 2000
  terminationGracePeriodSeconds: 120
  env:
    - {name: REGION, value: north}
    - {name: TOKEN_KEY, valueFrom: {secretKeyRef: {name: chat-keys, key: token}}}
  resources: {requests: {cpu: '2', memory: 1Gi}}
  nodeSelector: {pool: sockets}
  tolerations: [{key: dedicated, operator: Equal, value: sockets, effect: NoSchedule}]
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms: [{matchExpressions: [{key: gpu, operator: DoesNotExist}]}]
  priorityClassName: high
  imagePullSecrets: [{name: registry}]
  podLabels: {team: chat}
  podAnnotations: {example.org/cost: a17}
redis:
  managed:
    resources: {limits: {memory: 1Gi}}
    tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]
proxy:
  replicas: 3
  service: {type: LoadBalancer, port: 443, annotations: {example.org/load-balancer: internal}}
  origins: ['https://example.org', 'https://*.example.org']
  resources: {limits: {cpu: '4', memory: 2Gi}}
  podLabels: {team: edge}
drain: {notice: {closeCode: 4001, jitterSeconds: 60}}
disruption: {maxMovesPerSecond: 50}
";

/// The six lines with one more section.
pub(super) fn cluster_with(section: &str, yaml: &str) -> ValidCluster {
    let scaling = if section == "scaling" { "" } else { SIX_LINES };
    let body = if yaml.starts_with('{') {
        yaml.to_owned()
    } else {
        format!("{{{yaml}}}")
    };
    cluster(&format!("{scaling}\n{section}: {body}\n"))
}
