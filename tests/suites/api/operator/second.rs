//! Two operators on the same resources: one too many, and no harm.

use serde_json::json;

use super::small;
use crate::support::environment::TestEnv;
use crate::support::watcher::Pods;

#[tokio::test]
async fn second_copy_does_no_harm() {
    let env = TestEnv::new("second").await;
    let seen = Pods::watch(&env.cluster, env.namespace());
    let (_one, _two) = (env.operator(), env.operator());
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    for pods in [7, 12] {
        let change = json!({"scaling": {"mode": "Replicas"}, "replicas": pods});
        env.change("chat", &change).await.unwrap();
        env.until("chat", &format!("there are {pods} pods"), |chat| {
            chat["status"]["desiredReplicas"] == pods && chat["status"]["replicas"] == pods
        })
        .await
        .unwrap();
        let chat = env.settled("chat").await.unwrap();
        let children = env.children(&chat).await.unwrap();
        let there = children.keys().filter(|name| name.starts_with("Pod/")).count();
        assert_eq!(there, usize::try_from(pods).unwrap(), "{:?}", children.keys());
    }
    let most = seen.most();
    assert!(most <= 12, "{most} server pods at once");
    env.judge();
}
