//! The real operator, with the identity and the permissions that the chart gives it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wsc_testing::cluster::{Cluster, Operator};

use super::stand_in::next_address;

/// As in the chart.
const ADMIN_PORT: u16 = 8080;

/// Starts one that serves these namespaces, comma-separated, with the identity of the kubeconfig
/// and images of this tag: `:2`, or nothing.
pub(crate) fn start(
    cluster: &Cluster,
    watched: &str,
    namespace: &str,
    kubeconfig: &Path,
    tag: &str,
) -> Result<Operator> {
    let admin = SocketAddr::new(next_address(), ADMIN_PORT);
    let flags = ["--log-format", "text", "--watch-namespaces", watched];
    Operator::start(cluster, (kubeconfig, namespace), admin, tag, &flags)
}

/// The sum of a metric over its labels.
pub(crate) async fn metric(operator: &Operator, name: &str) -> Result<f64> {
    let answer = operator.get("/metrics").await?;
    let samples = answer.body.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    let values: Vec<f64> = samples
        .map(|line| Ok(line.rsplit(' ').next().context("an empty line")?.parse()?))
        .collect::<Result<_>>()?;
    ensure!(!values.is_empty(), "there is no metric {name}");
    Ok(values.into_iter().sum())
}
