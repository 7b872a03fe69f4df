//! Two operators on the same resources: one too many, and no harm.

use serde_json::json;

use super::small;
use crate::support::stage::Stage;
use crate::support::watcher::Pods;

#[tokio::test]
async fn a_second_copy_started_by_hand_does_no_harm() {
    let stage = Stage::new("second").await;
    let seen = Pods::watch(&stage.cluster, stage.namespace());
    let (_one, _two) = (stage.operator(), stage.operator());
    stage.create("chat", &small()).await.unwrap();
    stage.settled("chat").await.unwrap();
    for pods in [7, 12] {
        let change = json!({"scaling": {"mode": "Replicas"}, "replicas": pods});
        stage.change("chat", &change).await.unwrap();
        stage
            .until("chat", &format!("there are {pods} pods"), |chat| {
                chat["status"]["desiredReplicas"] == pods && chat["status"]["replicas"] == pods
            })
            .await
            .unwrap();
        let chat = stage.settled("chat").await.unwrap();
        let children = stage.children(&chat).await.unwrap();
        let there = children.keys().filter(|name| name.starts_with("Pod/")).count();
        assert_eq!(there, usize::try_from(pods).unwrap(), "{:?}", children.keys());
    }
    let most = seen.most();
    assert!(most <= 12, "{most} server pods at once");
    stage.judge();
}
