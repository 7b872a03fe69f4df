use wsc_api::v1alpha1::WebSocketCluster;

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

fn refused_field(spec: &str) -> String {
    match validate(&resource("chat", spec), &images()) {
        Err(invalid) => invalid.field,
        Ok(_) => format!("accepted: {spec}"),
    }
}

#[test]
fn the_six_lines_hold_with_the_documented_defaults() {
    let cluster = validate(&resource("chat", "scaling: {maxReplicas: 20}"), &images()).unwrap();
    assert_eq!(
        (cluster.scaling.min_replicas, cluster.scaling.max_replicas),
        (2, 20)
    );
    assert_eq!(cluster.scaling.buffer, Amount::Count(1));
    assert_eq!(cluster.server.max_connections, 10_000);
    assert_eq!(cluster.disruption.moves_per_minute, Amount::Percent(20));
    assert_eq!(cluster.images, images());
    assert!(matches!(cluster.redis, RedisTarget::Managed(_)));
}

#[test]
fn an_image_of_the_resource_replaces_the_installed_one() {
    let spec = "{scaling: {maxReplicas: 2}, server: {image: 'registry.example.org/chat:2'}}";
    let cluster = validate(&resource("chat", spec), &images()).unwrap();
    assert_eq!(cluster.images.server, "registry.example.org/chat:2");
    assert_eq!(cluster.images.proxy, "wsc-proxy:1");
}

#[test]
fn names_that_children_cannot_have_are_refused() {
    for bad in [
        "",
        "1chat",
        "Chat",
        "a.b",
        "a-",
        "chat-redis",
        "chat-haproxy",
        "chat-proxy",
        &"a".repeat(41),
    ] {
        let refused = validate(&resource(bad, "scaling: {maxReplicas: 2}"), &images());
        assert_eq!(refused.unwrap_err().field, "metadata.name", "{bad}");
    }
    for good in ["a", "chat", "chat-1", "redis", &"a".repeat(40)] {
        assert!(
            validate(&resource(good, "scaling: {maxReplicas: 2}"), &images()).is_ok(),
            "{good}"
        );
    }
}

#[test]
fn a_resource_that_is_not_on_a_server_is_refused() {
    let mut floating = resource("chat", "scaling: {maxReplicas: 2}");
    floating.metadata.uid = None;
    assert_eq!(validate(&floating, &images()).unwrap_err().field, "metadata.uid");
}

#[test]
fn every_bad_value_is_refused_by_the_name_of_its_field() {
    for (field, spec) in [
        ("scaling.minReplicas", "scaling: {minReplicas: 0, maxReplicas: 2}"),
        ("scaling.minReplicas", "scaling: {minReplicas: 3, maxReplicas: 2}"),
        ("scaling.maxReplicas", "scaling: {maxReplicas: 2001}"),
        (
            "scaling.targetUtilizationPercent",
            "scaling: {maxReplicas: 2, targetUtilizationPercent: 0}",
        ),
        (
            "scaling.targetUtilizationPercent",
            "scaling: {maxReplicas: 2, targetUtilizationPercent: 101}",
        ),
        ("scaling.buffer", "scaling: {maxReplicas: 2, buffer: -1}"),
        ("scaling.buffer", "scaling: {maxReplicas: 2, buffer: 91%}"),
        ("scaling.buffer", "scaling: {maxReplicas: 2, buffer: '+5%'}"),
        ("scaling.buffer", "scaling: {maxReplicas: 2, buffer: '05%'}"),
        ("scaling.buffer", "scaling: {maxReplicas: 2, buffer: '5'}"),
    ] {
        assert_eq!(refused_field(spec), field, "{spec}");
    }
    for (field, section) in [
        ("replicas", "replicas: -1"),
        ("server.maxConnections", "server: {maxConnections: 0}"),
        ("server.maxConnections", "server: {maxConnections: -1}"),
        ("server.maxConnections", "server: {maxConnections: 60001}"),
        ("server.port", "server: {port: 70000}"),
        ("server.port", "server: {port: 80}"),
        ("server.port", "server: {port: 9090}"),
        ("server.path", "server: {path: ws}"),
        ("server.path", "server: {path: /ws/}"),
        ("server.path", "server: {path: '/w s'}"),
        ("server.path", "server: {path: /wsc/x}"),
        ("server.image", "server: {image: 'a b'}"),
        ("server.image", "server: {image: -x}"),
        (
            "server.terminationGracePeriodSeconds",
            "server: {terminationGracePeriodSeconds: 9}",
        ),
        (
            "server.env[WSC_PORT]",
            "server: {env: [{name: WSC_PORT, value: '1'}]}",
        ),
        (
            "server.env[POD_NAME]",
            "server: {env: [{name: POD_NAME, value: x}]}",
        ),
        ("server.env[A]", "server: {env: [{name: A}]}"),
        ("server.env[1A]", "server: {env: [{name: 1A, value: x}]}"),
        (
            "server.podLabels[app.kubernetes.io/name]",
            "server: {podLabels: {app.kubernetes.io/name: x}}",
        ),
        (
            "proxy.podAnnotations[websocket-operator.io/x]",
            "proxy: {podAnnotations: {websocket-operator.io/x: y}}",
        ),
        ("proxy.replicas", "proxy: {replicas: 0}"),
        ("proxy.service.port", "proxy: {service: {port: 0}}"),
        (
            "proxy.timeouts.tunnelSeconds",
            "proxy: {timeouts: {tunnelSeconds: 59}}",
        ),
        (
            "redis.managed",
            "redis: {managed: {}, external: {url: 'redis://a'}}",
        ),
        ("redis.external", "redis: {external: {}}"),
        ("drain.naturalSeconds", "drain: {naturalSeconds: 1801}"),
        ("drain.deadlineSeconds", "drain: {deadlineSeconds: 0}"),
        ("drain.notice.closeCode", "drain: {notice: {closeCode: 1000}}"),
        ("drain.notice.closeCode", "drain: {notice: {closeCode: 66548}}"),
        ("disruption.movesPerMinute", "disruption: {movesPerMinute: 0}"),
        (
            "disruption.maxMovesPerSecond",
            "disruption: {maxMovesPerSecond: 0}",
        ),
        (
            "disruption.maxConcurrentDrains",
            "disruption: {maxConcurrentDrains: 101%}",
        ),
    ] {
        let spec = format!("scaling: {{maxReplicas: 4}}\n{section}");
        assert_eq!(refused_field(&spec), field, "{section}");
    }
}

#[test]
fn cookie_names_and_origins_that_could_reach_haproxy_otherwise_are_refused() {
    for bad in [
        "", "a;b", "a,b", "a=b", "a b", "a\tb", "a\rb", "a\nb", "a\"b", "a\\b", "a#b", "%[src]", "${X}", "ä",
    ] {
        let mut chat = resource("chat", "scaling: {maxReplicas: 4}");
        chat.spec.proxy.sticky.cookie_name = bad.to_owned();
        let refused = validate(&chat, &images()).unwrap_err();
        assert_eq!(refused.field, "proxy.sticky.cookieName", "{bad:?}");
    }
    for bad in [
        "null",
        "https://a/b",
        "https://a b",
        "https://a\n acl x",
        "https://*.*.a",
        "ftp://a",
        "a",
        "https://",
    ] {
        let mut chat = resource("chat", "scaling: {maxReplicas: 4}");
        chat.spec.proxy.origins = vec!["https://example.org".to_owned(), bad.to_owned()];
        let refused = validate(&chat, &images()).unwrap_err();
        assert_eq!(refused.field, "proxy.origins[1]", "{bad:?}");
    }
}

#[test]
fn a_redis_url_is_an_address_and_nothing_else() {
    for good in [
        "redis://a",
        "rediss://cache.example.org:6380/2",
        "redis://[2001:db8::1]:6379",
        "redis://10.0.0.1/15",
    ] {
        assert_eq!(checks::redis_url(good).unwrap(), good);
    }
    for bad in [
        "",
        "a",
        "http://a",
        "redis://",
        "redis://user:secret@a",
        "redis://a:",
        "redis://a:123456",
        "redis://a/x",
        "redis://a/1/2",
        "redis://[zz]",
        "redis://a?x=1",
        "redis://a b",
        "redis://a\nb",
        "redis://:6379",
    ] {
        assert_eq!(
            checks::redis_url(bad).unwrap_err().field,
            "redis.external.url",
            "{bad:?}"
        );
    }
}

#[test]
fn amounts_that_no_pod_can_have_are_refused_by_name() {
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
        assert_eq!(
            refused_field(&format!("{{scaling: {{maxReplicas: 20}}, {pods}}}")),
            field
        );
    }
    let good = "{scaling: {maxReplicas: 20}, server: {resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1500m, memory: 1024Mi}}}}";
    assert!(validate(&resource("chat", good), &images()).is_ok());
}
