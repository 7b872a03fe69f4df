//! The effects of changes that the reference documents are those that a change has.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wsc_api::OnChange;
use wsc_haproxy::BackendSet;

use crate::decide;
use crate::memory::Memory;
use crate::observed::Observed;
use crate::plan::Child;
use crate::resources::{children, template_hash};
use crate::testing;
use crate::validate::ValidCluster;

/// A spec in which every field has a value; `redis` is one of two.
fn spec(redis: &Value) -> Value {
    let pod = json!({
        "resources": {"limits": {"memory": "512Mi"}}, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "a"}],
        "affinity": {"podAffinity": {}}, "priorityClassName": "a", "imagePullSecrets": [{"name": "a"}],
        "podLabels": {"a": "b"}, "podAnnotations": {"a": "b"},
    });
    let with_pod = |mut value: Value| {
        let fields = value.as_object_mut().unwrap();
        fields.extend(pod.as_object().unwrap().clone());
        value
    };
    let managed = redis["managed"]
        .is_object()
        .then(|| json!({"managed": with_pod(json!({}))}));
    json!({
        "replicas": 5, "labels": {"c": "b"}, "annotations": {"c": "b"},
        "scaling": {"maxReplicas": 200},
        "server": with_pod(json!({"image": "a", "env": [
            {"name": "A", "value": "a"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "a", "key": "a"}}},
        ]})),
        "proxy": with_pod(json!({"service": {}, "sticky": {}, "timeouts": {}})),
        "redis": managed.unwrap_or_else(|| redis.clone()),
        "drain": {"notice": {}},
        "disruption": {},
    })
}

fn redis_of(path: &str) -> Value {
    if path.starts_with("spec.redis.external.urlSecretRef") {
        json!({"external": {"urlSecretRef": {"name": "a", "key": "a"}}})
    } else if path.starts_with("spec.redis.external") {
        json!({"external": {"url": "redis://a"}})
    } else {
        json!({"managed": {}})
    }
}

/// A valid value that is neither the default nor the one of [`spec`].
fn other_value(path: &str) -> Value {
    let field = path.rsplit('.').next().unwrap();
    match field {
        "mode" => json!("Replicas"),
        "onDeadline" => json!("Wait"),
        "type" => json!("NodePort"),
        "sameSite" => json!("Strict"),
        "path" => json!("/chat"),
        "url" => json!("redis://b"),
        "origins" => json!(["https://example.org"]),
        "closeCode" => json!(1001),
        "affinity" => json!({"podAntiAffinity": {}}),
        "resources" => json!({"limits": {"memory": "640Mi"}}),
        "tolerations" => json!([{"key": "b"}]),
        "annotations" | "labels" | "nodeSelector" | "podLabels" | "podAnnotations" => json!({"a": "c"}),
        "cookieName" | "image" | "key" | "name" | "priorityClassName" | "value" => json!("z"),
        "port" if path == "spec.server.port" => json!(9000),
        "deadlineSeconds" => json!(900),
        "connectSeconds" => json!(30),
        "replicas" if path == "spec.proxy.replicas" => json!(7),
        _ => json!(90),
    }
}

fn set(spec: &mut Value, path: &str, value: Value) {
    let mut target = spec;
    let parts = path.strip_prefix("spec.").unwrap().split('.');
    for part in parts {
        target = match part.strip_suffix("[]") {
            Some("env") if path.contains("valueFrom") => &mut target["env"][1],
            Some(list) => &mut target[list][0],
            None => &mut target[part],
        };
    }
    *target = value;
}

/// Everything whose change has an effect on a pool in use, by the name of the effect.
fn facts(cluster: &ValidCluster) -> Vec<(&'static str, Value)> {
    let object = |kind: &str, name: &str| {
        let children = children(cluster, &BTreeSet::new());
        let mut found = children.iter().filter(|child| {
            let key = child.key();
            format!("{:?}", key.kind) == kind && key.name == name
        });
        found.next().map(Child::to_json).unwrap_or_default()
    };
    let observed = Observed {
        watches_fresh: true,
        ..Observed::default()
    };
    let plan = decide(cluster, &observed, &Memory::default(), testing::start());
    let config = plan.apply.iter().find_map(|child| match child {
        Child::ConfigMap(map) => map.data.as_ref(),
        _ => None,
    });
    let config = config.unwrap();
    let servers = BackendSet::from_json(&config["backends.json"]).unwrap();
    let (service, proxy) = (object("Service", "chat"), object("Deployment", "chat-proxy"));
    let annotations = service["metadata"]["annotations"].as_object().cloned();
    let annotations = annotations.into_iter().flatten();
    let annotations: Value = annotations
        .filter(|(name, _)| !name.starts_with(wsc_contract::labels::GROUP))
        .collect();
    vec![
        ("rolls servers", json!(template_hash(cluster))),
        ("reloads proxies", json!(servers.structure)),
        ("updates proxies", json!(config["settings.json"])),
        (
            "updates service",
            json!([service["spec"], service["metadata"]["labels"], annotations]),
        ),
        ("scales proxies", proxy["spec"]["replicas"].clone()),
        ("rolls proxies", proxy["spec"]["template"].clone()),
        (
            "restarts Redis",
            object("Deployment", "chat-redis")["spec"].clone(),
        ),
    ]
}

fn documented(effect: OnChange) -> &'static [&'static str] {
    match effect {
        OnChange::Immediate | OnChange::ScalesServers | OnChange::NewDrainsOnly => &[],
        OnChange::ScalesProxies => &["scales proxies"],
        OnChange::UpdatesService => &["updates service"],
        OnChange::ReloadsProxies => &["reloads proxies"],
        OnChange::UpdatesProxies => &["updates proxies"],
        OnChange::RollsServers => &["rolls servers"],
        OnChange::RollsProxies => &["rolls proxies"],
        OnChange::RestartsRedis => &["restarts Redis"],
        OnChange::UpdatesAllObjects => &["updates service", "rolls proxies", "restarts Redis"],
        OnChange::RollsOwnPods => panic!("no owner"),
    }
}

#[test]
fn documented_effects_of_changes_are_real() {
    let mut wrong = Vec::new();
    for (path, effect) in wsc_api::on_change() {
        let before = spec(&redis_of(&path));
        let mut after = before.clone();
        set(&mut after, &path, other_value(&path));
        assert_ne!(before, after, "{path} was not changed");
        let [before, after] = [before, after].map(|spec| testing::cluster(&spec.to_string()));
        let facts = facts(&before).into_iter().zip(facts(&after));
        let changed = facts.filter(|((_, before), (_, after))| before != after);
        let changed: Vec<_> = changed.map(|((name, _), _)| name).collect();
        if changed != documented(effect) {
            wrong.push(format!("{path} is documented as {effect:?} and {changed:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
