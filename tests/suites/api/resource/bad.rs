//! Bad input is refused by the API server itself, with a message that names the field.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::with;
use crate::support::{causes, cluster, create, path, resource, send, six_lines};

/// What each field refuses: a file for people to read.
fn bad_values() -> BTreeMap<String, Vec<Value>> {
    let mut values: BTreeMap<String, Vec<Value>> = serde_yaml::from_str(include_str!("bad.yaml")).unwrap();
    values.values_mut().flatten().for_each(lengthen);
    // More than a field takes.
    let map: Value = (0..17).map(|i| (format!("key{i}"), json!("v"))).collect();
    for field in [
        "labels",
        "annotations",
        "server.nodeSelector",
        "proxy.podLabels",
        "redis.managed.podAnnotations",
    ] {
        values.entry(field.to_owned()).or_default().push(map.clone());
    }
    let variables = (0..65).map(|i| json!({"name": format!("A{i}"), "value": "x"}));
    values
        .entry("server.env".to_owned())
        .or_default()
        .push(variables.collect());
    let origins = json!(vec!["https://example.org"; 65]);
    values
        .entry("proxy.origins".to_owned())
        .or_default()
        .push(origins);
    values
}

/// Writes out what `text*count` stands for.
fn lengthen(value: &mut Value) {
    match value {
        Value::String(text) => {
            let long = text
                .rsplit_once('*')
                .and_then(|(text, count)| Some(text.repeat(count.parse().ok()?)));
            *text = long.unwrap_or_else(|| std::mem::take(text));
        }
        Value::Array(items) => items.iter_mut().for_each(lengthen),
        Value::Object(fields) => fields.values_mut().for_each(lengthen),
        _ => {}
    }
}

/// Fields that do not exist, some of them well known from other resources.
const UNKNOWN: [&str; 24] = [
    "nonsense",
    "metadata",
    "template",
    "scaling.minReplica",
    "scaling.min_replicas",
    "scaling.metrics",
    "scaling.behavior.scaleUp",
    "server.args",
    "server.command",
    "server.hostNetwork",
    "server.serviceAccountName",
    "server.securityContext",
    "server.volumes",
    "server.initContainers",
    "server.template",
    "redis.url",
    "redis.external.password",
    "redis.managed.image",
    "proxy.config",
    "proxy.snippet",
    "proxy.service.externalIPs",
    "proxy.sticky.secret",
    "proxy.hostPort",
    "drain.force",
];

#[tokio::test]
async fn bad_value_is_rejected_naming_its_field() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("bad").await.unwrap();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (field, values) in bad_values() {
        for value in values {
            tried += 1;
            let spec = with(six_lines(), &field, value.clone());
            let object = resource(namespace.name(), "chat", &spec);
            let Err(refusal) = create(&cluster, &object, "&dryRun=All").await.unwrap() else {
                wrong.push(format!("{field} = {value} was accepted"));
                continue;
            };
            // Every complaint is about the field or a part of it, so nothing else is wrong with the
            // resource.
            let causes = causes(&refusal);
            if refusal.code != 422 || !causes.iter().all(|cause| cause.contains(&field)) {
                wrong.push(format!("{field} = {value}: {} {causes:?}", refusal.code));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {tried}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(tried > 200, "{tried} values");
}

#[tokio::test]
async fn unknown_field_is_rejected_by_name() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("unknown").await.unwrap();
    for field in UNKNOWN {
        let object = resource(namespace.name(), "chat", &with(six_lines(), field, json!("x")));
        let refusal = create(&cluster, &object, "&dryRun=All")
            .await
            .unwrap()
            .unwrap_err();
        let wanted = format!("unknown field \"spec.{field}\"");
        assert!(refusal.message.contains(&wanted), "{field}: {}", refusal.message);
    }
}

#[tokio::test]
async fn a_bad_name_is_refused() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("name").await.unwrap();
    let long = "a".repeat(41);
    let names = [
        "1chat",
        "0",
        "chat.room",
        &long,
        "chat-redis",
        "chat-haproxy",
        "chat-proxy",
        "a-proxy-redis",
        "Chat",
        "-chat",
        "chat-",
        "chat_room",
    ];
    for name in names {
        let object = resource(namespace.name(), name, &six_lines());
        let refusal = create(&cluster, &object, "&dryRun=All")
            .await
            .unwrap()
            .unwrap_err();
        let causes = causes(&refusal);
        assert!(
            causes.iter().all(|cause| cause.contains("metadata.name")),
            "{name}: {causes:?}"
        );
    }
    for name in [
        "a",
        "chat",
        "chat-2",
        "chat-redis-2",
        "proxy",
        "redis",
        &long[1..],
    ] {
        let object = resource(namespace.name(), name, &six_lines());
        let answer = create(&cluster, &object, "&dryRun=All").await.unwrap();
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_bad_change_is_refused_as_well() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("change").await.unwrap();
    let object = resource(namespace.name(), "chat", &six_lines());
    let before = create(&cluster, &object, "").await.unwrap().unwrap();
    let changes = [
        ("scaling.minReplicas", json!(21)),
        ("scaling.maxReplicas", json!(1)),
        ("drain.deadlineSeconds", json!(1)),
        ("proxy.origins", json!(["https://example.org", "null"])),
        ("redis.external", json!({})),
    ];
    let path = path(namespace.name(), "chat");
    for (field, value) in changes {
        let change = json!({"spec": with(json!({}), field, value)});
        let refusal = send(&cluster, http::Method::PATCH, &path, Some(&change))
            .await
            .unwrap()
            .unwrap_err();
        let field = match field {
            // Rules about two fields name the one that they are written at, and both in their
            // words.
            "drain.deadlineSeconds" => "drain.naturalSeconds must not be above drain.deadlineSeconds",
            "scaling.maxReplicas" => "scaling.minReplicas must not be above scaling.maxReplicas",
            field => field,
        };
        let causes = causes(&refusal);
        assert!(
            causes.iter().all(|cause| cause.contains(field)),
            "{field}: {causes:?}"
        );
    }
    let after = send(&cluster, http::Method::GET, &path, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        before["metadata"]["resourceVersion"],
        after["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn kubectl_says_what_is_wrong() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("kubectl").await.unwrap();
    let apply = |spec: Value| {
        let object = resource(namespace.name(), "chat", &spec).to_string();
        cluster.kubectl().input(object).finish(["apply", "-f", "-"])
    };
    for (field, value) in [
        ("scaling.minReplicas", json!(0)),
        ("server.port", json!(70000)),
        ("scaling.minReplica", json!(3)),
        ("proxy.sticky.cookieName", json!("a;b")),
    ] {
        let said = apply(with(six_lines(), field, value)).await.unwrap();
        assert!(
            !said.success && said.stderr.contains(&format!("spec.{field}")),
            "{}",
            said.stderr
        );
    }
    let said = apply(six_lines()).await.unwrap();
    assert!(said.success, "{}", said.stderr);
}
