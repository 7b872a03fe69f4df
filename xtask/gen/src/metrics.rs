//! Metrics as a scrape in the OpenMetrics text format shows them.

use serde::{Deserialize, Serialize};

/// One metric of one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metric {
    /// As queries write it: counters end in `_total`.
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) labels: Vec<String>,
    /// Not part of a release snapshot.
    #[serde(skip)]
    pub(crate) help: String,
}

/// The metrics of each program, with a child in each family so that its labels show.
pub(crate) fn all() -> Vec<(&'static str, Vec<Metric>)> {
    vec![
        ("wsc-operator", parse(&wsc_operator::example_metrics())),
        ("wsc-proxy-agent", parse(&wsc_proxy_agent::example_metrics())),
        ("wsc-server", parse(&server())),
    ]
}

fn server() -> String {
    let metrics = wsc_server::metrics::Metrics::new();
    metrics.loop_lag(0);
    metrics.page()
}

/// The metrics of a scrape, in its order. A family without a child has no sample, so its labels are unknown here.
pub(crate) fn parse(scrape: &str) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    let mut help = "";
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, text)| text);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            metrics.push(Metric {
                name: format!("{name}{total}"),
                kind: kind.to_owned(),
                labels: Vec::new(),
                // The encoder ends each text with a full stop.
                help: help.trim_end_matches('.').to_owned(),
            });
        } else if !line.starts_with('#')
            && let Some(metric) = metrics.last_mut()
            && metric.labels.is_empty()
        {
            metric.labels = labels(line);
        }
    }
    metrics
}

/// The label names of a sample, but for `le`, which every histogram has.
fn labels(sample: &str) -> Vec<String> {
    let inside = sample
        .split_once('{')
        .and_then(|(_, rest)| rest.rsplit_once('}'))
        .map_or("", |(inside, _)| inside);
    let mut names = Vec::new();
    // A quoted value separates two label names: every other piece is a name.
    for piece in inside.split('"').step_by(2) {
        let name = piece.trim_matches([',', '=']);
        if !name.is_empty() && name != "le" {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_types_labels_and_help_of_a_scrape() {
        let scrape = "# HELP a_b Things, by kind.\n# TYPE a_b counter\na_b_total{kind=\"x,y\",of=\"z\"} 1\n\
                      # HELP c Time.\n# TYPE c histogram\nc_bucket{le=\"1\"} 0\nc_sum 0\n\
                      # HELP d Now.\n# TYPE d gauge\nd 0\n# EOF\n";
        let found = parse(scrape);
        let row = |m: &Metric| (m.name.clone(), m.kind.clone(), m.labels.join("+"), m.help.clone());
        let expected = [
            ("a_b_total", "counter", "kind+of", "Things, by kind"),
            ("c", "histogram", "", "Time"),
            ("d", "gauge", "", "Now"),
        ];
        let expected = expected.map(|(name, kind, labels, help)| {
            (
                name.to_owned(),
                kind.to_owned(),
                labels.to_owned(),
                help.to_owned(),
            )
        });
        assert_eq!(found.iter().map(row).collect::<Vec<_>>(), expected);
    }
}
