//! What both measures need: the API server, nodes, kubelets, pods that respond, and the operator.

use std::sync::Arc;

use anyhow::Result;
use wsc_testing::cluster::Cluster;

use crate::agents::Agents;
use crate::fleet::Fleet;
use crate::kubelet::Kubelet;
use crate::nodes::Nodes;
use crate::operator::Operator;
use crate::pods::Pods;
use crate::responder::Responder;

pub(crate) struct TestEnv {
    pub(crate) cluster: Cluster,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) pods: Arc<Pods>,
    pub(crate) operator: Operator,
    pub(crate) fleet: Fleet,
}

impl TestEnv {
    pub(crate) async fn new(clusters: usize) -> Result<Self> {
        let cluster = Cluster::connect().await?;
        let client = &cluster.client;
        let pods = Arc::<Pods>::default();
        let nodes = Nodes::start(client).await?;
        let responder = Responder {
            pods: pods.clone(),
            agents: Agents::start(client),
        };
        responder.start().await?;
        let kubelet = Kubelet {
            client: client.clone(),
            nodes: nodes.clone(),
            pods: pods.clone(),
        };
        kubelet.start();
        let operator = Operator::start(&cluster).await?;
        let fleet = Fleet::new(client, clusters).await?;
        Ok(Self {
            cluster,
            nodes,
            pods,
            operator,
            fleet,
        })
    }
}
