//! The record of a demo as an SVG: clients, pods and closes over time, for light and dark
//! backgrounds.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use wsc_testing::svg::{Frame, Panel, Svg};

use super::record::{PodCounts, Record};

const CLIENTS: Panel = Panel {
    top: 56.0,
    bottom: 176.0,
};
const PODS: Panel = Panel {
    top: 214.0,
    bottom: 310.0,
};
const CLOSES: Panel = Panel {
    top: 348.0,
    bottom: 414.0,
};
/// Closes are counted in bars of this many seconds.
const BAR_SECONDS: usize = 2;

/// Writes the picture of a record.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(record: &Record, path: &Path) -> Result<()> {
    fs::write(path, render(record)).with_context(|| format!("writing {}", path.display()))
}

/// The picture of a record.
pub(crate) fn render(record: &Record) -> String {
    let until = record.clients.until;
    let mut svg = Svg::new(&Frame {
        title: "One scale cycle of a WebSocket pool on Kubernetes",
        label: "Clients, pods and closes over time",
        time: "time since the start of the demo (s)",
        panels: &[CLIENTS, PODS, CLOSES],
        duration: until,
        unit: Duration::from_secs(1),
        ticks: 8,
    });

    let mut clients = record.clients.connected();
    clients.retain(|(at, _)| *at <= until);
    clients.insert(0, (Duration::ZERO, 0));
    let most = clients.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let scale = svg.panel(&CLIENTS, "connected clients", most);
    svg.steps("clients", &clients, &CLIENTS, scale);

    let count = |value: fn(&PodCounts) -> usize| -> Vec<(Duration, usize)> {
        record.timeline.iter().map(|at| (at.at, value(at))).collect()
    };
    let lines = [
        ("desired", count(|at| at.desired)),
        ("active", count(|at| at.active)),
        ("draining", count(|at| at.draining)),
    ];
    let most = lines
        .iter()
        .flat_map(|(_, line)| line)
        .map(|(_, count)| *count)
        .max();
    let scale = svg.panel(&PODS, "server pods", most.unwrap_or(0));
    for ((name, line), x) in lines.iter().zip([430.0, 550.0, 670.0]) {
        svg.steps(name, line, &PODS, scale);
        svg.legend(x, PODS.top, name, name);
    }

    let [mut moved, mut dropped] = [record.clients.moves(), record.clients.drops()];
    for closes in [&mut moved, &mut dropped] {
        closes.retain(|at| *at <= until);
    }
    let most = bars(&moved).into_iter().chain(bars(&dropped)).max().unwrap_or(0);
    let scale = svg.panel(
        &CLOSES,
        &format!("closes by the server per {BAR_SECONDS} s"),
        most,
    );
    let each = Duration::from_secs(BAR_SECONDS as u64);
    svg.bars("moved", &bars(&moved), each, &CLOSES, scale);
    svg.bars("dropped", &bars(&dropped), each, &CLOSES, scale);
    svg.legend(
        430.0,
        CLOSES.top,
        "moved",
        &format!("reconnect requested (1012): {}", moved.len()),
    );
    svg.legend(
        700.0,
        CLOSES.top,
        "dropped",
        &format!("dropped: {}", dropped.len()),
    );
    svg.finish()
}

fn bars(closes: &[Duration]) -> Vec<usize> {
    let mut bars = Vec::new();
    for at in closes {
        let bar = usize::try_from(at.as_secs()).unwrap_or(0) / BAR_SECONDS;
        bars.resize(bars.len().max(bar + 1), 0);
        bars[bar] += 1;
    }
    bars
}

#[cfg(test)]
mod tests {
    use wsc_testing::clients::record::{self, ClientRecord, Close, ClosedBy, Connection};

    use super::*;

    /// Larger files are no picture for a README.
    const MOST_BYTES: usize = 60_000;

    fn connection(opened: u64, close: Option<(u64, ClosedBy)>) -> Connection {
        Connection {
            opened: Duration::from_secs(opened),
            close: close.map(|(begun, by)| Close {
                begun: Duration::from_secs(begun),
                by,
            }),
            ..Connection::default()
        }
    }

    fn record() -> Record {
        let client = |index: u64| ClientRecord {
            connections: vec![
                connection(index % 100, Some((200 + index % 50, ClosedBy::Move))),
                connection(260, Some((280, ClosedBy::Client))),
            ],
            ..ClientRecord::default()
        };
        let counts = |at, desired, active, draining| PodCounts {
            at: Duration::from_secs(at),
            desired,
            active,
            draining,
        };
        Record {
            clients: record::Record {
                clients: (0..240).map(client).collect(),
                until: Duration::from_mins(5),
                ..record::Record::default()
            },
            timeline: vec![
                counts(0, 2, 2, 0),
                counts(60, 5, 4, 0),
                counts(200, 2, 3, 2),
                counts(290, 2, 2, 0),
            ],
            ..Record::default()
        }
    }

    #[test]
    fn numbers_are_those_of_the_record() {
        let mut record = record();
        record.clients.clients.push(ClientRecord {
            connections: vec![
                connection(
                    10,
                    Some((
                        20,
                        ClosedBy::Server {
                            code: None,
                            reason: String::new(),
                        },
                    )),
                ),
                connection(30, Some((400, ClosedBy::Client))),
            ],
            ..ClientRecord::default()
        });
        let picture = render(&record);
        assert!(picture.contains("reconnect requested (1012): 240") && picture.contains("dropped: 1<"));
        assert_eq!(bars(&record.clients.drops())[20 / BAR_SECONDS], 1);
        let peak = record.clients.connected().into_iter().map(|(_, open)| open).max();
        assert_eq!(peak, Some(241));
    }

    #[test]
    fn picture_is_small_and_names_axes() {
        let picture = render(&record());
        assert!(picture.len() < MOST_BYTES, "{} bytes", picture.len());
        for label in [
            "connected clients",
            "server pods",
            "closes by the server per 2 s",
            "start of the demo (s)",
        ] {
            assert!(picture.contains(label), "{label}");
        }
        for class in ["clients", "desired", "active", "draining"] {
            assert!(
                picture.contains(&format!("<path class=\"{class}\" d=\"M")),
                "{class}"
            );
        }
        assert!(picture.contains("prefers-color-scheme: dark"));
        assert!(!render(&Record::default()).contains("NaN"));
    }
}
