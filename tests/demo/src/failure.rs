//! What a person needs to see when a demo failed.

use std::fmt::Write;
use std::time::Duration;

use super::book::Book;
use super::install::{NAMESPACE, OPERATOR_NAMESPACE};
use super::record::How;
use wsc_testing::cluster::Cluster;

/// One look.
const LOOK: Duration = Duration::from_secs(30);
/// Lines of each log.
const LOG_LINES: &str = "--tail=50";
/// Closes that are told one by one.
const CLOSES: usize = 100;

/// The resource with its status, events, pods, the `ConfigMap`, the ends of all logs, and the clients' record.
pub async fn describe(cluster: &Cluster, book: Option<&Book>) -> String {
    let mut text = String::new();
    for (namespace, kinds) in [(NAMESPACE, "wsc,configmaps"), (OPERATOR_NAMESPACE, "deployments")] {
        for args in [
            &["get", kinds, "-o", "yaml"][..],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["get", "pods", "-o", "wide", "--show-labels"],
        ] {
            look(cluster, namespace, args, &mut text).await;
        }
        let pods = kubectl(cluster, namespace, &["get", "pods", "-o", "name"]).await;
        for pod in pods.lines() {
            let args = ["logs", pod, "--all-containers", "--prefix", LOG_LINES];
            look(cluster, namespace, &args, &mut text).await;
        }
    }
    if let Some(book) = book {
        clients(book, &mut text);
    }
    text
}

async fn look(cluster: &Cluster, namespace: &str, args: &[&str], text: &mut String) {
    let said = kubectl(cluster, namespace, args).await;
    let _ = writeln!(text, "== kubectl -n {namespace} {}\n{said}", args.join(" "));
}

async fn kubectl(cluster: &Cluster, namespace: &str, args: &[&str]) -> String {
    let namespace = ["--namespace", namespace];
    let kubectl = cluster.kubectl().deadline(LOOK);
    match kubectl.finish(namespace.iter().chain(args)).await {
        Ok(finished) => finished.stdout + &finished.stderr,
        Err(err) => format!("{err:#}"),
    }
}

fn clients(book: &Book, text: &mut String) {
    let glance = book.glance();
    let _ = writeln!(text, "== clients\n{glance:?}");
    let (clients, _) = book.close();
    let closes = clients.iter().enumerate().flat_map(|(index, client)| {
        let connections = client.connections.iter();
        connections.filter_map(move |connection| Some((index, connection.opened, connection.close.as_ref()?)))
    });
    let by_server = closes.filter(|(_, _, close)| close.how != How::Own);
    for (index, opened, close) in by_server.take(CLOSES) {
        let (opened, begun) = (opened.as_secs_f64(), close.begun.as_secs_f64());
        let _ = writeln!(
            text,
            "client {index}: connected at {opened:.3} s, closed at {begun:.3} s: {:?}",
            close.how
        );
    }
}
