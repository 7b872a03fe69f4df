//! A namespace with stand-in pods, in which the real operator works with the permissions of the
//! chart.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http::Method;
use serde_json::Value;
use wsc_testing::cluster::audit::Mark;
use wsc_testing::cluster::{Cluster, Namespace, Operator, eventually};

use super::identity::Identity;
use super::stand_in::StandIn;
use super::{cluster, operator, path, resource, send};

/// From apply to Ready with stand-ins takes seconds; this is for a machine with many tests at once.
pub(crate) const READY: Duration = Duration::from_mins(2);

/// Everything that a cluster consists of, in the paths of the API.
pub(crate) const KINDS: [(&str, &str); 9] = [
    ("ConfigMap", "/api/v1/namespaces/{}/configmaps"),
    ("Secret", "/api/v1/namespaces/{}/secrets"),
    ("Service", "/api/v1/namespaces/{}/services"),
    ("ServiceAccount", "/api/v1/namespaces/{}/serviceaccounts"),
    ("Deployment", "/apis/apps/v1/namespaces/{}/deployments"),
    (
        "ControllerRevision",
        "/apis/apps/v1/namespaces/{}/controllerrevisions",
    ),
    (
        "NetworkPolicy",
        "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    ),
    ("Role", "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"),
    (
        "RoleBinding",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    ),
];

pub(crate) struct TestEnv {
    pub(crate) cluster: Cluster,
    pub(crate) identity: Identity,
    pub(crate) pods: StandIn,
    pub(crate) began: Mark,
    namespace: Namespace,
}

impl TestEnv {
    /// Sets it up.
    pub(crate) async fn new(prefix: &str) -> Self {
        let cluster = cluster().await;
        let namespace = cluster.namespace(prefix).await.unwrap();
        Self {
            identity: Identity::create(&cluster, namespace.name()).await.unwrap(),
            pods: StandIn::start(&cluster, namespace.name()).await.unwrap(),
            began: cluster.audit().mark().unwrap(),
            cluster,
            namespace,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// An operator that talks to the API server itself.
    pub(crate) fn operator(&self) -> Operator {
        self.operator_with_images("")
    }

    /// One that is installed with images of this tag.
    pub(crate) fn operator_with_images(&self, tag: &str) -> Operator {
        let kubeconfig = self.identity.kubeconfig().unwrap();
        let namespace = self.namespace();
        operator::start(&self.cluster, namespace, namespace, &kubeconfig, tag).unwrap()
    }

    /// Creates the resource.
    pub(crate) async fn create(&self, name: &str, spec: &Value) -> Result<Value> {
        self.ask(
            Method::POST,
            &path(self.namespace(), ""),
            Some(&resource(self.namespace(), name, spec)),
        )
        .await
    }

    /// Changes its spec.
    pub(crate) async fn change(&self, name: &str, spec: &Value) -> Result<Value> {
        let change = serde_json::json!({"spec": spec});
        self.ask(Method::PATCH, &path(self.namespace(), name), Some(&change))
            .await
    }

    /// The resource as it is.
    pub(crate) async fn get(&self, name: &str) -> Result<Value> {
        self.ask(Method::GET, &path(self.namespace(), name), None).await
    }

    /// One request of the administrator that has to succeed.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = send(&self.cluster, method, path, body).await?;
        answer.map_err(|refusal| anyhow!("{path}: {}", refusal.message))
    }

    /// Waits until the resource is Ready for known reasons, and nothing of it is under way any
    /// more.
    pub(crate) async fn settled(&self, name: &str) -> Result<Value> {
        self.until(name, &format!("{name} is ready"), is_settled).await
    }

    /// The resource, if it is Ready for known reasons, and nothing of it is under way any more.
    pub(crate) async fn is_settled(&self, name: &str) -> Result<Option<Value>> {
        Ok(Some(self.get(name).await?).filter(is_settled))
    }

    /// Waits for a state of the resource.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        eventually(READY, what, || async {
            let chat = self.get(name).await?;
            if is_so(&chat) {
                return Ok(Some(chat));
            }
            bail!("the status is {}", chat["status"])
        })
        .await
    }

    /// What the resource controls, as `Kind/name`; server pods too, those of Deployments not.
    pub(crate) async fn children(&self, owner: &Value) -> Result<BTreeMap<String, Value>> {
        let mut children = BTreeMap::new();
        let pods = ("Pod", "/api/v1/namespaces/{}/pods");
        for (kind, path) in KINDS.into_iter().chain([pods]) {
            for object in self.list(path).await? {
                if controller(&object) == owner["metadata"]["uid"] {
                    children.insert(format!("{kind}/{}", super::chart::name(&object)), object);
                }
            }
        }
        Ok(children)
    }

    /// All objects at a path.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let list = self
            .ask(Method::GET, &path.replace("{}", self.namespace()), None)
            .await?;
        list["items"].as_array().cloned().context("no items")
    }

    /// Where one object is.
    pub(crate) fn place(&self, kind: &str, name: &str) -> String {
        let path = KINDS
            .iter()
            .find(|(known, _)| *known == kind)
            .map_or("/api/v1/namespaces/{}/pods", |(_, path)| path);
        format!("{}/{name}", path.replace("{}", self.namespace()))
    }

    /// Of everything that the operator has asked the API server for: nothing was a Secret but to
    /// create it, and nothing was forbidden.
    pub(crate) fn judge(&self) {
        let requests = self
            .cluster
            .audit()
            .requests_of(&self.identity.user, self.began)
            .unwrap();
        assert!(requests.len() > 20, "the operator has done nothing: {requests:?}");
        for request in requests {
            assert!(
                request.resource != "secrets" || request.verb == "create",
                "{request:?}"
            );
            assert!(request.code != 401 && request.code != 403, "{request:?}");
        }
    }
}

fn is_settled(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && condition(object, "Ready") == "True"
        && condition(object, "ProxyConfigured") == "True"
        && condition(object, "RedisReachable") == "True"
        && condition(object, "Progressing") == "False"
        && condition(object, "Reconciling") == "False"
}

/// `True`, `False`, `Unknown`, or nothing.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> &'a str {
    find(object, type_)["status"].as_str().unwrap_or_default()
}

/// The whole condition.
pub(crate) fn find<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .find(|condition| condition["type"] == type_)
        .unwrap_or(&Value::Null)
}

/// The uid of what controls an object.
pub(crate) fn controller(object: &Value) -> Value {
    let mut owners = object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten();
    owners
        .find(|owner| owner["controller"] == true)
        .map_or(Value::Null, |owner| owner["uid"].clone())
}

/// Uid of an object.
pub(crate) fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}
