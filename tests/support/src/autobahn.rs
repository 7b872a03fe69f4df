//! The Autobahn test suite as a client that tries everything that RFC 6455 allows and forbids.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

/// All cases take about 25 s on an idle machine.
const LIMIT: Duration = Duration::from_mins(5);
/// Who is tested, in the suite's report.
const AGENT: &str = "wsc-server";
/// The suite's program, with its packages from a folder of their own.
const PROGRAM: &str = "import site, sys; site.addsitedir(sys.argv.pop(1)); \
    from autobahntestsuite.wstest import run; run()";
/// Groups of compression, which the server does not offer.
const COMPRESSION: [&str; 2] = ["12", "13"];

/// What the suite said of one case.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Outcome {
    /// `OK`, `NON-STRICT`, `INFORMATIONAL`, `UNIMPLEMENTED`, `FAILED`.
    pub behavior: String,
    /// The same of the closing handshake.
    #[serde(rename = "behaviorClose")]
    pub close: String,
}

/// What it said of all cases, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(pub BTreeMap<String, Outcome>);

/// Plays these cases (like `1.*`) against a server that echoes.
///
/// # Errors
/// When the suite does not run to its end.
pub async fn play(url: &str, cases: &[&str]) -> Result<Report> {
    let variable =
        |name| -> Result<OsString> { std::env::var_os(name).with_context(|| format!("{name} is not set")) };
    let folder = tempfile::tempdir()?;
    let spec = folder.path().join("spec.json");
    let reports = folder.path().join("reports");
    let text = json!({
        "outdir": reports, "servers": [{"agent": AGENT, "url": url}],
        "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
    });
    fs::write(&spec, text.to_string())?;
    let log = folder.path().join("log");
    let mut suite = Command::new(variable("WSC_PYTHON2")?);
    suite
        .args(["-c", PROGRAM])
        .arg(variable("WSC_AUTOBAHN")?)
        .args(["-m", "fuzzingclient", "-s"])
        .arg(&spec)
        .current_dir(folder.path())
        .env_remove("PYTHONPATH")
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?)
        .kill_on_drop(true);
    let mut suite = suite.spawn().context("starting the Autobahn test suite")?;
    // Its exit code says nothing about the cases.
    timeout(LIMIT, suite.wait())
        .await
        .context("the Autobahn test suite takes too long")??;
    let index = fs::read_to_string(reports.join("index.json"))
        .with_context(|| format!("no report: {}", fs::read_to_string(&log).unwrap_or_default()))?;
    let mut index: BTreeMap<String, BTreeMap<String, Outcome>> = serde_json::from_str(&index)?;
    let report = Report(index.remove(AGENT).context("the report is of another agent")?);
    ensure!(!report.0.is_empty(), "no case was played");
    Ok(report)
}

impl Report {
    /// What is not as it has to be: every case is passed, but that there is no compression.
    pub fn failures(&self) -> Vec<String> {
        let good = |name: &str, outcome: &Outcome| {
            let behavior = match outcome.behavior.as_str() {
                "OK" | "NON-STRICT" | "INFORMATIONAL" => true,
                "UNIMPLEMENTED" => COMPRESSION.contains(&group(name)),
                _ => false,
            };
            behavior && ["OK", "INFORMATIONAL"].contains(&outcome.close.as_str())
        };
        self.0
            .iter()
            .filter(|(name, outcome)| !good(name, outcome))
            .map(|(name, outcome)| format!("{name}: {}, close {}", outcome.behavior, outcome.close))
            .collect()
    }

    /// How many cases of each group came out how, in Markdown.
    pub fn table(&self) -> String {
        const WORDS: [&str; 4] = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"];
        let mut groups: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for (name, outcome) in &self.0 {
            let group = group(name).parse().unwrap_or(0);
            groups.entry(group).or_default().push(&outcome.behavior);
        }
        let mut table = String::from("| group | cases | OK | non-strict | informational | unimplemented |\n");
        table.push_str("|---|---|---|---|---|---|\n");
        let mut row = |name: &str, outcomes: &[&str]| {
            let counts = WORDS.map(|word| outcomes.iter().filter(|outcome| **outcome == word).count());
            let [ok, non_strict, informational, unimplemented] = counts;
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "| {name} | {} | {ok} | {non_strict} | {informational} | {unimplemented} |",
                outcomes.len()
            );
        };
        for (group, outcomes) in &groups {
            row(&group.to_string(), outcomes);
        }
        let all: Vec<&str> = groups.into_values().flatten().collect();
        row("all", &all);
        table
    }
}

fn group(case: &str) -> &str {
    case.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cases: &[(&str, &str, &str)]) -> Report {
        let outcome = |(name, behavior, close): &(&str, &str, &str)| {
            let outcome = Outcome {
                behavior: (*behavior).to_owned(),
                close: (*close).to_owned(),
            };
            ((*name).to_owned(), outcome)
        };
        Report(cases.iter().map(outcome).collect())
    }

    #[test]
    fn only_compression_may_be_missing() {
        let good = [
            ("1.1.1", "OK", "OK"),
            ("3.2", "NON-STRICT", "OK"),
            ("7.1.6", "INFORMATIONAL", "INFORMATIONAL"),
            ("12.1.1", "UNIMPLEMENTED", "OK"),
        ];
        assert_eq!(report(&good).failures(), [""; 0]);
        for bad in [
            ("1.1.1", "FAILED", "OK"),
            ("1.1.1", "UNIMPLEMENTED", "OK"),
            ("1.1.1", "OK", "UNCLEAN"),
            ("13.1.1", "FAILED", "OK"),
        ] {
            assert_eq!(report(&[bad]).failures().len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn the_table_counts_by_group() {
        let table = report(&[
            ("10.1.1", "OK", "OK"),
            ("9.1.1", "OK", "OK"),
            ("9.1.2", "NON-STRICT", "OK"),
        ])
        .table();
        let lines: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| 9 | 2 | 1 | 1 | 0 | 0 |",
                "| 10 | 1 | 1 | 0 | 0 | 0 |",
                "| all | 3 | 2 | 1 | 0 | 0 |"
            ]
        );
    }
}
