//! What the operator may do: a written list with a reason each, and the API server's own word for
//! it that there is no more.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use http::Method;
use serde_json::{Value, json};
use wsc_testing::cluster::Cluster;

use crate::support::chart::{Permission, name, of_kind, permissions, render};
use crate::support::identity::Identity;
use crate::support::{cluster, send};

const WSC: &str = "websocket-operator.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const ALL_OF_A_CHILD: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
const SEE: &[&str] = &["get", "list", "watch"];

/// Every permission of the operator where it serves resources, and why it needs it. Whoever adds
/// one to the chart adds it here.
const WRITTEN: [(&str, &str, &[&str], &str); 13] = [
    (WSC, "websocketclusters", SEE, "they say what is wanted"),
    (
        WSC,
        "websocketclusters/status",
        &["patch"],
        "reports, and reserves serials",
    ),
    (
        WSC,
        "websocketclusters/finalizers",
        &["update"],
        "blockOwnerDeletion where owner references are enforced",
    ),
    ("", "pods", ALL_OF_A_CHILD, "server pods are owned directly"),
    (
        "apps",
        "deployments",
        ALL_OF_A_CHILD,
        "HAProxy and the managed Redis",
    ),
    (
        "apps",
        "controllerrevisions",
        &["list", "watch", "create", "delete"],
        "the last valid spec",
    ),
    (
        "",
        "services",
        ALL_OF_A_CHILD,
        "where clients and servers connect",
    ),
    (
        "",
        "configmaps",
        ALL_OF_A_CHILD,
        "HAProxy's configuration; the agent's Role grants reading it",
    ),
    ("", "serviceaccounts", ALL_OF_A_CHILD, "the agent's identity"),
    (RBAC, "roles", ALL_OF_A_CHILD, "the agent reads its own ConfigMap"),
    (
        RBAC,
        "rolebindings",
        ALL_OF_A_CHILD,
        "the agent reads its own ConfigMap",
    ),
    (
        "networking.k8s.io",
        "networkpolicies",
        ALL_OF_A_CHILD,
        "who may connect to the pods",
    ),
    (
        "",
        "secrets",
        &["create"],
        "the managed Redis password, once, unread",
    ),
];
/// Besides: events are created and counted up.
const EVENTS: (&str, &str, &[&str], &str) = (
    "events.k8s.io",
    "events",
    &["create", "patch"],
    "what was decided",
);
/// In a ClusterRole of its own.
const NODES: (&str, &str, &[&str], &str) = ("", "nodes", SEE, "pods on a node that is not ready");

/// Reviews that are asked for at the same time.
const QUESTIONS: usize = 16;

/// Verbs that are asked for, of every resource that there is.
const VERBS: [&str; 11] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "bind",
    "escalate",
    "impersonate",
];

fn one_by_one(written: &[(&str, &str, &[&str], &str)]) -> BTreeSet<Permission> {
    let all = written.iter().flat_map(|(group, resource, verbs, why)| {
        assert!(!why.is_empty(), "{resource} has no reason");
        verbs
            .iter()
            .map(|verb| ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned()))
    });
    all.collect()
}

fn written() -> BTreeSet<Permission> {
    let mut all = one_by_one(&WRITTEN);
    all.extend(one_by_one(&[EVENTS]));
    all
}

/// What a role permits beyond the list, and what of the list it does not.
fn differences(role: &Value, list: &BTreeSet<Permission>) -> Vec<String> {
    let permitted: BTreeSet<Permission> = permissions(role).into_iter().collect();
    let beyond = permitted
        .difference(list)
        .map(|(group, resource, verb)| format!("beyond: {verb} {group}/{resource}"));
    let without = list
        .difference(&permitted)
        .map(|(group, resource, verb)| format!("missing: {verb} {group}/{resource}"));
    beyond.chain(without).collect()
}

#[test]
fn the_comparison_finds_what_it_has_to() {
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"rules": [{"apiGroups": groups, "resources": resources, "verbs": verbs}]});
    let list = one_by_one(&[("", "secrets", &["create"], "a reason")]);
    assert_eq!(
        differences(&rule(&[""], &["secrets"], &["create"]), &list),
        [""; 0]
    );
    for (bad, found) in [
        (
            rule(&[""], &["secrets"], &["create", "get"]),
            "beyond: get /secrets",
        ),
        (
            rule(&[""], &["secrets", "pods/exec"], &["create"]),
            "beyond: create /pods/exec",
        ),
        (
            rule(&["", "*"], &["secrets"], &["create"]),
            "beyond: create */secrets",
        ),
        (rule(&[""], &["secrets", "*"], &["create"]), "beyond: create /*"),
        (rule(&[""], &["secrets"], &["create", "*"]), "beyond: * /secrets"),
        (rule(&[], &["secrets"], &["create"]), "missing: create /secrets"),
        (
            json!({"rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]}),
            "beyond:  a path//metrics",
        ),
    ] {
        let differences = differences(&bad, &list);
        assert!(
            differences.iter().any(|difference| difference == found),
            "{differences:?}"
        );
    }
}

#[tokio::test]
async fn cluster_wide_permissions_are_exact() {
    let cluster = Cluster::connect().await.unwrap();
    let objects = render(&cluster, "x", "home", &[]).await.unwrap();
    assert!(of_kind(&objects, "Role").is_empty());
    let bound = roles_bound_to(&objects, "ClusterRoleBinding", "x-websocket-operator");
    assert_eq!(
        bound.keys().copied().collect::<Vec<_>>(),
        ["x-websocket-operator", "x-websocket-operator-nodes"]
    );
    assert_eq!(differences(bound["x-websocket-operator"], &written()), [""; 0]);
    assert_eq!(
        differences(bound["x-websocket-operator-nodes"], &one_by_one(&[NODES])),
        [""; 0]
    );
}

#[tokio::test]
async fn namespaced_permissions_are_exact() {
    let cluster = Cluster::connect().await.unwrap();
    let values = ["watchNamespaces={a,b}", "rbac.nodes=false"];
    let objects = render(&cluster, "x", "home", &values).await.unwrap();
    assert!(
        of_kind(&objects, "ClusterRole").is_empty() && of_kind(&objects, "ClusterRoleBinding").is_empty()
    );
    let roles = of_kind(&objects, "Role");
    let places: Vec<_> = roles.iter().map(|role| &role["metadata"]["namespace"]).collect();
    assert_eq!(places, [&json!("a"), &json!("b")]);
    for role in roles {
        assert_eq!(differences(role, &written()), [""; 0]);
    }
    let bindings = of_kind(&objects, "RoleBinding");
    assert_eq!(bindings.len(), 2);
    for binding in bindings {
        let subject =
            json!([{"kind": "ServiceAccount", "name": "x-websocket-operator", "namespace": "home"}]);
        assert_eq!(binding["subjects"], subject);
    }
    let nothing = render(&cluster, "x", "home", &["rbac.create=false"])
        .await
        .unwrap();
    assert!(nothing.iter().all(|object| {
        !object["apiVersion"]
            .as_str()
            .unwrap_or_default()
            .starts_with(RBAC)
    }));
}

/// The roles that the bindings of a kind give to the service account, by name.
fn roles_bound_to<'a>(
    objects: &'a [Value],
    kind: &str,
    account: &str,
) -> std::collections::BTreeMap<&'a str, &'a Value> {
    let bindings = of_kind(objects, kind).into_iter();
    let bindings = bindings.filter(|binding| binding["subjects"][0]["name"] == account);
    let roles = bindings.filter_map(|binding| {
        let role = binding["roleRef"]["name"].as_str()?;
        objects
            .iter()
            .find(|object| name(object) == role && object.get("rules").is_some())
    });
    roles.map(|role| (name(role), role)).collect()
}

#[tokio::test]
async fn builtin_roles_do_not_grant_the_status() {
    let cluster = Cluster::connect().await.unwrap();
    let objects = render(&cluster, "x", "home", &[]).await.unwrap();
    let find = |wanted: &str| {
        of_kind(&objects, "ClusterRole")
            .into_iter()
            .find(|role| name(role) == wanted)
            .unwrap()
    };
    let subresource = |resource: &str| format!("websocketclusters{resource}");
    let see: BTreeSet<Permission> = ["", "/status", "/scale"]
        .iter()
        .flat_map(|resource| {
            SEE.iter()
                .map(move |verb| (WSC.to_owned(), subresource(resource), (*verb).to_owned()))
        })
        .collect();
    assert_eq!(differences(find("x-websocket-operator-view"), &see), [""; 0]);
    let edit = one_by_one(&[
        (
            WSC,
            "websocketclusters",
            &["create", "update", "patch", "delete", "deletecollection"],
            "people own the spec",
        ),
        (
            WSC,
            "websocketclusters/scale",
            &["update", "patch"],
            "kubectl scale",
        ),
    ]);
    assert_eq!(differences(find("x-websocket-operator-edit"), &edit), [""; 0]);
}

#[tokio::test]
async fn api_server_permits_exactly_the_rules() {
    let cluster = cluster().await;
    let home = cluster.namespace("rbac").await.unwrap();
    let other = cluster.namespace("rbac-other").await.unwrap();
    let identity = Identity::create(&cluster, home.name()).await.unwrap();
    let resources = every_resource(&cluster).await.unwrap();
    let here = permitted(&cluster, &identity.user, home.name(), &resources)
        .await
        .unwrap();
    let elsewhere = permitted(&cluster, &identity.user, other.name(), &resources)
        .await
        .unwrap();
    // What the API server permits to anybody, such as to ask about himself.
    let anybody = format!("system:serviceaccount:{}:default", home.name());
    let anybody = permitted(&cluster, &anybody, home.name(), &resources)
        .await
        .unwrap();
    assert!(!anybody.is_empty() && anybody.len() < 10, "{anybody:?}");

    let mut wanted = anybody;
    wanted.extend(one_by_one(&[NODES]));
    assert_eq!(elsewhere, wanted);
    wanted.extend(written());
    assert_eq!(here, wanted);
}

/// All that a user may do in a namespace.
async fn permitted(
    cluster: &Cluster,
    user: &str,
    namespace: &str,
    resources: &BTreeSet<(String, String)>,
) -> Result<BTreeSet<Permission>> {
    let all = resources
        .iter()
        .flat_map(|(group, resource)| VERBS.map(|verb| (group.clone(), resource.clone(), verb.to_owned())));
    let answers = futures::stream::iter(all).map(|permission| async {
        let may = may(cluster, user, namespace, &permission).await?;
        Ok(may.then_some(permission))
    });
    let answers = answers.buffer_unordered(QUESTIONS);
    answers
        .try_filter_map(async |permission| Ok(permission))
        .try_collect()
        .await
}

/// All resources that the API server knows, subresources too.
async fn every_resource(cluster: &Cluster) -> Result<BTreeSet<(String, String)>> {
    let mut paths = vec![(String::new(), "/api/v1".to_owned())];
    let groups = get(cluster, "/apis").await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let name = group["name"].as_str().context("a group without a name")?;
        let version = group["preferredVersion"]["groupVersion"]
            .as_str()
            .context("no version")?;
        paths.push((name.to_owned(), format!("/apis/{version}")));
    }
    let mut all = BTreeSet::new();
    for (group, path) in paths {
        for resource in get(cluster, &path).await?["resources"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let name = resource["name"].as_str().context("a resource without a name")?;
            all.insert((group.clone(), name.to_owned()));
        }
    }
    // These are no objects, and not listed: what is only a permission, and what may be
    // impersonated.
    all.insert((WSC.to_owned(), "websocketclusters/finalizers".to_owned()));
    all.extend(["users", "groups"].map(|kind| (String::new(), kind.to_owned())));
    assert!(
        all.len() > 100 && all.contains(&(String::new(), "pods/exec".to_owned())),
        "{all:?}"
    );
    Ok(all)
}

async fn get(cluster: &Cluster, path: &str) -> Result<Value> {
    send(cluster, Method::GET, path, None)
        .await?
        .map_err(|refusal| anyhow::anyhow!("{path}: {}", refusal.message))
}

async fn may(cluster: &Cluster, user: &str, namespace: &str, permission: &Permission) -> Result<bool> {
    let (group, resource, verb) = permission;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let account = user.split(':').collect::<Vec<_>>();
    let groups = [
        "system:authenticated",
        "system:serviceaccounts",
        &format!("system:serviceaccounts:{}", account[2]),
    ];
    let question = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": groups,
            "resourceAttributes": {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource},
        },
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = send(cluster, Method::POST, path, Some(&question)).await?;
    let answer = answer.map_err(|refusal| anyhow::anyhow!(refusal.message))?;
    answer["status"]["allowed"].as_bool().context("no answer")
}

#[tokio::test]
async fn kubectl_confirms_no_secret_is_readable() {
    let cluster = cluster().await;
    let home = cluster.namespace("secrets").await.unwrap();
    let identity = Identity::create(&cluster, home.name()).await.unwrap();
    for (verb, wanted) in [
        ("get", "no"),
        ("list", "no"),
        ("watch", "no"),
        ("update", "no"),
        ("patch", "no"),
        ("delete", "no"),
        ("create", "yes"),
    ] {
        let args = [
            "auth",
            "can-i",
            verb,
            "secrets",
            "--as",
            &identity.user,
            "--namespace",
            home.name(),
        ];
        let said = cluster.kubectl().finish(args).await.unwrap();
        assert_eq!(
            (said.stdout.trim(), said.success),
            (wanted, wanted == "yes"),
            "{verb} {}",
            said.stderr
        );
    }
}

/// The same with real requests, since a review is only an opinion.
#[tokio::test]
async fn operator_token_creates_but_reads_no_secret() {
    let cluster = cluster().await;
    let home = cluster.namespace("token").await.unwrap();
    let identity = Identity::create(&cluster, home.name()).await.unwrap();
    let operator = identity.cluster(&cluster).await.unwrap();
    let secrets = format!("/api/v1/namespaces/{}/secrets", home.name());
    let secret = json!({"metadata": {"name": "password"}, "stringData": {"password": "x"}});
    let status =
        |answer: Result<Value, kube::core::Status>| answer.map_or_else(|refusal| refusal.code, |_| 200);
    let call = async |method: Method, path: &str, body: Option<&Value>| {
        status(send(&operator, method, path, body).await.unwrap())
    };

    assert_eq!(call(Method::POST, &secrets, Some(&secret)).await, 200);
    let one = format!("{secrets}/password");
    assert_eq!(call(Method::GET, &one, None).await, 403);
    assert_eq!(call(Method::GET, &secrets, None).await, 403);
    assert_eq!(
        call(Method::GET, &format!("{secrets}?watch=true"), None).await,
        403
    );
    assert_eq!(call(Method::PATCH, &one, Some(&json!({}))).await, 403);
    assert_eq!(call(Method::PUT, &one, Some(&secret)).await, 403);
    assert_eq!(call(Method::DELETE, &one, None).await, 403);

    let roles = format!("/apis/{RBAC}/v1/namespaces/{}/roles", home.name());
    let role = |name: &str, resource: &str, verbs: &[&str]| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]});
    assert_eq!(
        call(Method::POST, &roles, Some(&role("agent", "configmaps", SEE))).await,
        200,
        "what the agent gets"
    );
    assert_eq!(
        call(Method::POST, &roles, Some(&role("thief", "secrets", &["get"]))).await,
        403,
        "no more than it has"
    );
    assert_eq!(
        call(Method::POST, &roles, Some(&role("king", "*", &["*"]))).await,
        403
    );
    let pods = format!("/api/v1/namespaces/{}/pods", home.name());
    assert_eq!(call(Method::GET, &pods, None).await, 200);
    assert_eq!(
        call(Method::GET, "/api/v1/pods", None).await,
        403,
        "only where it serves"
    );
    assert_eq!(
        call(Method::POST, &format!("{pods}/x/exec?command=sh"), None).await,
        403
    );
}
