//! The pod templates of this version of the operator.

use super::super::metadata::hash_of;
use super::*;

/// A change of a line changes pods that are in use. It needs another template version
/// (`validate/values.rs`), and the templates of the former version as long as a resource may be
/// pinned to it.
#[test]
fn templates_change_with_their_version_only() {
    let hashes = |spec| {
        let cluster = cluster(spec);
        let mut lines = vec![format!("version {}", cluster.pins.template)];
        for child in children(&cluster, &BTreeSet::new()) {
            if let Child::Deployment(deployment) = &child {
                let template = deployment.spec.as_ref().map(|spec| &spec.template);
                lines.push(format!("{} {}", child.key().name, hash_of(&template)));
            }
        }
        lines.push(format!("server {}", template_hash(&cluster)));
        lines.join("\n")
    };
    insta::assert_snapshot!([SIX_LINES, FULL].map(hashes).join("\n"), @r"
    version 1
    chat-redis 5eae3750c8
    chat-proxy cfe65c1a8c
    server 0446407cfb
    version 1
    chat-redis 21117d473f
    chat-proxy a50863cb32
    server ca34971b72
    ");
}

#[test]
fn template_hash_depends_on_spec_and_pins() {
    let chat = cluster(SIX_LINES);
    let hash = template_hash(&chat);
    let with = |change: fn(&mut ValidCluster)| {
        let mut chat = chat.clone();
        change(&mut chat);
        template_hash(&chat)
    };
    assert_ne!(with(|chat| chat.pins.server.push('2')), hash);
    assert_eq!(with(|chat| chat.pins.proxy.push('2')), hash);
    assert_eq!(with(|chat| chat.pins.redis.push('2')), hash);
    assert_eq!(with(|chat| chat.operator_namespace.push('2')), hash);
    let own = template_hash(&cluster(FULL));
    let mut pinned = cluster(FULL);
    pinned.pins.server.push('2');
    assert_eq!(template_hash(&pinned), own, "it has an image of its own");
}
