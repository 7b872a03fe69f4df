//! Validation of a resource, with the cases that the CRD is tested with too.

use wsc_api::v1alpha1::{EnvVar, WebSocketCluster};

use super::*;

fn images() -> Images {
    Images {
        server: "wsc-server:1".to_owned(),
        proxy: "wsc-proxy:1".to_owned(),
        redis: "wsc-redis:1".to_owned(),
        operator_namespace: "operators".to_owned(),
    }
}

fn resource(name: &str, spec: &str) -> WebSocketCluster {
    let mut resource = WebSocketCluster::new(name, serde_yaml::from_str(spec).unwrap());
    resource.metadata.namespace = Some("ns".to_owned());
    resource.metadata.uid = Some("5f1c1a5e".to_owned());
    resource
}

#[test]
fn six_lines_validate_with_documented_defaults() {
    let cluster = validate(&resource("chat", "scaling: {maxReplicas: 20}"), &images()).unwrap();
    assert_eq!(
        (cluster.scaling.min_replicas, cluster.scaling.max_replicas),
        (2, 20)
    );
    assert_eq!(cluster.scaling.buffer, Amount::Count(1));
    assert_eq!(cluster.server.max_connections, 10_000);
    assert_eq!(cluster.disruption.moves_per_minute, Amount::Percent(20));
    assert_eq!(cluster.pins, images().pins());
    assert!(matches!(cluster.redis, RedisTarget::Managed(_)));
}

#[test]
fn spec_image_replaces_the_installed_one() {
    let spec = "{scaling: {maxReplicas: 2}, server: {image: 'registry.example.org/chat:2'}}";
    let cluster = validate(&resource("chat", spec), &images()).unwrap();
    assert_eq!(cluster.server_image(), "registry.example.org/chat:2");
    assert_eq!(cluster.pins.proxy, "wsc-proxy:1");
}

#[test]
fn close_codes_follow_the_contract() {
    for (code, valid) in [
        (1000, true),
        (3000, true),
        (4999, true),
        (1006, false),
        (2999, false),
        (-1, false),
    ] {
        let spec = format!("{{scaling: {{maxReplicas: 2}}, drain: {{notice: {{closeCode: {code}}}}}}}");
        let checked = validate(&resource("chat", &spec), &images());
        assert_eq!(checked.is_ok(), valid, "{code}: {checked:?}");
    }
}

#[test]
fn names_that_children_cannot_have_are_refused() {
    let Examples { good, bad } = cases().names;
    for bad in bad.iter().map(String::as_str).chain(["", "Chat", "ch_at"]) {
        let refused = validate(&resource(bad, "scaling: {maxReplicas: 2}"), &images());
        assert_eq!(refused.unwrap_err().field, "metadata.name", "{bad}");
    }
    for good in good {
        assert!(
            validate(&resource(&good, "scaling: {maxReplicas: 2}"), &images()).is_ok(),
            "{good}"
        );
    }
}

#[test]
fn resource_without_a_server_is_refused() {
    let mut floating = resource("chat", "scaling: {maxReplicas: 2}");
    floating.metadata.uid = None;
    assert_eq!(validate(&floating, &images()).unwrap_err().field, "metadata.uid");
}

/// The list that the schema is tested against too.
#[derive(serde::Deserialize)]
struct Cases {
    specs: Vec<Case>,
    good: Vec<serde_yaml::Value>,
    strings: Vec<Strings>,
    names: Examples,
}

#[derive(serde::Deserialize)]
struct Case {
    field: Option<String>,
    spec: serde_yaml::Value,
}

#[derive(serde::Deserialize)]
struct Strings {
    field: String,
    #[serde(flatten)]
    examples: Examples,
}

#[derive(serde::Deserialize)]
struct Examples {
    good: Vec<String>,
    bad: Vec<String>,
}

fn cases() -> Cases {
    serde_yaml::from_str(include_str!("../../../api/src/cases.yaml")).unwrap()
}

#[test]
fn bad_value_is_rejected_naming_its_field() {
    for Case { field, spec } in cases().specs {
        let text = format!("{spec:?}");
        let parsed = serde_yaml::from_value(spec);
        let Some(field) = field else {
            assert!(parsed.is_err(), "{text} can be read");
            continue;
        };
        let mut chat = resource("chat", "scaling: {maxReplicas: 4}");
        chat.spec = parsed.unwrap();
        let refused = validate(&chat, &images()).map(|_| text.clone());
        assert_eq!(refused.unwrap_err().field, field, "{text}");
    }
}

#[test]
fn unusual_pod_settings_are_accepted() {
    for spec in cases().good {
        let text = format!("{spec:?}");
        let mut chat = resource("chat", "scaling: {maxReplicas: 4}");
        chat.spec = serde_yaml::from_value(spec).unwrap();
        let accepted = validate(&chat, &images());
        assert!(accepted.is_ok(), "{text}: {accepted:?}");
    }
}

/// `scaling` and this string at this place.
fn with(field: &str, text: &str) -> WebSocketCluster {
    use serde_yaml::Value;
    let mut value = Value::from(text);
    for part in field.split('.').rev() {
        let (name, inner) = match part.strip_suffix("[0]") {
            Some(name) => (name, Value::Sequence(vec![value])),
            None => (part, value),
        };
        value = Value::Mapping([(Value::from(name), inner)].into_iter().collect());
    }
    value["scaling"] = serde_yaml::from_str("{maxReplicas: 4}").unwrap();
    let mut chat = resource("chat", "scaling: {maxReplicas: 4}");
    chat.spec = serde_yaml::from_value(value).unwrap();
    chat
}

#[test]
fn only_strings_that_break_out_are_rejected() {
    for Strings { field, examples } in cases().strings {
        for good in examples.good {
            let accepted = validate(&with(&field, &good), &images());
            assert!(accepted.is_ok(), "{field}: {good:?}: {accepted:?}");
        }
        for bad in examples.bad {
            let refused = validate(&with(&field, &bad), &images());
            let refused = refused.map(|_| format!("{field}: {bad:?}"));
            assert_eq!(refused.unwrap_err().field, field, "{bad:?}");
        }
    }
}

/// What the schema cannot know.
#[test]
fn refused_origins_name_the_normal_form() {
    for (text, normal) in [
        ("https://[0:0::1]", "https://[::1]"),
        ("http://0x7f.1", "http://127.0.0.1"),
        ("file://localhost", "file://"),
        ("file://host:80", "scheme://host[:port]"),
        ("https://xn--a", "scheme://host[:port]"),
    ] {
        let refused = validate(&with("proxy.origins[0]", text), &images()).unwrap_err();
        assert_eq!(refused.field, "proxy.origins[0]");
        assert!(refused.problem.contains(normal), "{text}: {}", refused.problem);
    }
}

#[test]
fn lists_and_maps_have_bounds() {
    let refused = |change: &dyn Fn(&mut WebSocketCluster)| {
        let mut chat = resource("chat", "scaling: {maxReplicas: 4}");
        change(&mut chat);
        validate(&chat, &images()).unwrap_err().field
    };
    let map = |entries: usize| (0..entries).map(|i| (format!("k{i}"), String::new())).collect();
    assert_eq!(
        refused(&|chat| chat.spec.proxy.origins = vec!["*".to_owned(); 65]),
        "proxy.origins"
    );
    assert_eq!(
        refused(&|chat| chat.spec.proxy.service.annotations = map(33)),
        "proxy.service.annotations"
    );
    assert_eq!(
        refused(&|chat| chat.spec.server.pod.pod_labels = map(17)),
        "server.podLabels"
    );
    assert_eq!(
        refused(&|chat| chat.spec.server.pod.node_selector = map(17)),
        "server.nodeSelector"
    );
    let variable = EnvVar {
        name: "A".to_owned(),
        value: Some(String::new()),
        value_from: None,
    };
    assert_eq!(
        refused(&|chat| chat.spec.server.env = vec![variable.clone(); 65]),
        "server.env"
    );
}

/// What the schema cannot say within its budget.
#[test]
fn pod_settings_the_api_rejects_are_refused() {
    let term = |expression: &str| {
        format!(
            "affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{matchExpressions: [{expression}]}}]}}}}}}"
        )
    };
    let selector = |expression: &str| {
        format!(
            "affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: zone, labelSelector: {{matchExpressions: [{expression}]}}}}]}}}}"
        )
    };
    let validated = |settings: &str| {
        let spec = format!("{{scaling: {{maxReplicas: 20}}, server: {{{settings}}}}}");
        validate(&resource("chat", &spec), &images()).map(|_| ())
    };
    for good in [
        term("{key: a, operator: In, values: [b]}"),
        term("{key: a, operator: Gt, values: ['3']}"),
        selector("{key: a, operator: Exists}"),
        "resources: {limits: {example.org/gpu: 2, hugepages-2Mi: 4Mi}}".to_owned(),
        "resources: {requests: {example.org/gpu: 1k}, limits: {example.org/gpu: 1000}}".to_owned(),
    ] {
        assert_eq!(validated(&good), Ok(()), "{good}");
    }
    let node = "server.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values";
    let anti = "server.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].values";
    for (bad, field) in [
        (term("{key: a, operator: In}"), node),
        (term("{key: a, operator: NotIn, values: []}"), node),
        (term("{key: a, operator: Exists, values: [b]}"), node),
        (term("{key: a, operator: Gt, values: [b]}"), node),
        (term("{key: a, operator: Lt, values: ['1', '2']}"), node),
        (selector("{key: a, operator: In, values: []}"), anti),
        (selector("{key: a, operator: DoesNotExist, values: [b]}"), anti),
        (
            "resources: {requests: {example.org/gpu: 1}}".to_owned(),
            "server.resources.limits.example.org/gpu",
        ),
        (
            "resources: {limits: {example.org/gpu: 500m}}".to_owned(),
            "server.resources.limits.example.org/gpu",
        ),
        (
            "resources: {requests: {hugepages-2Mi: 2Mi}, limits: {hugepages-2Mi: 4Mi}}".to_owned(),
            "server.resources.requests.hugepages-2Mi",
        ),
    ] {
        assert_eq!(validated(&bad).unwrap_err().field, field, "{bad}");
    }
}

#[test]
fn impossible_amounts_are_refused_by_name() {
    for (pods, field) in [
        (
            "server: {resources: {limits: {memory: lots}}}",
            "server.resources.limits.memory",
        ),
        (
            "proxy: {resources: {requests: {cpu: -1}}}",
            "proxy.resources.requests.cpu",
        ),
        (
            "redis: {managed: {resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}}}",
            "redis.managed.resources.requests.memory",
        ),
    ] {
        let spec = format!("{{scaling: {{maxReplicas: 20}}, {pods}}}");
        let refused = validate(&resource("chat", &spec), &images()).unwrap_err();
        assert_eq!(refused.field, field);
    }
    let good = "{scaling: {maxReplicas: 20}, server: {resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1500m, memory: 1024Mi}}}}";
    assert!(validate(&resource("chat", good), &images()).is_ok());
}
