//! The record of a demo as an SVG: clients, pods and closes over time, for light and dark backgrounds.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::record::{PodCounts, Record};

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 460.0;
/// Left and right ends of the time axis.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 860.0;
/// Upper and lower ends of the three panels.
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
/// Horizontal lines in a panel, at most.
const GRID_LINES: u32 = 4;

const STYLE: &str = "
  svg { font: 13px system-ui, sans-serif; }
  .page { fill: #ffffff; } text { fill: #1f2328; } .note { fill: #59636e; } .title { font-size: 15px; font-weight: 600; }
  .grid { stroke: #d1d9e0; } .axis { stroke: #59636e; }
  .clients { stroke: #0969da; fill: #0969da; } .active { stroke: #1a7f37; fill: #1a7f37; } .desired { stroke: #59636e; fill: #59636e; }
  .draining { stroke: #bc4c00; fill: #bc4c00; } .moved { fill: #8250df; } .dropped { fill: #cf222e; }
  path { fill: none !important; stroke-width: 2; } path.desired { stroke-dasharray: 5 4; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } text { fill: #f0f6fc; } .note { fill: #9198a1; } .grid { stroke: #3d444d; } .axis { stroke: #9198a1; }
    .clients { stroke: #58a6ff; fill: #58a6ff; } .active { stroke: #3fb950; fill: #3fb950; } .desired { stroke: #9198a1; fill: #9198a1; }
    .draining { stroke: #f0883e; fill: #f0883e; } .moved { fill: #ab7df8; } .dropped { fill: #f85149; }
  }
";

/// Writes the picture of a record.
///
/// # Errors
/// When the file cannot be written.
pub fn write(record: &Record, path: &Path) -> Result<()> {
    fs::write(path, render(record)).with_context(|| format!("writing {}", path.display()))
}

/// The picture of a record.
pub fn render(record: &Record) -> String {
    let until = record.clients.until;
    let mut svg = Svg::new(until.as_secs_f64().max(1.0));
    svg.text(
        LEFT,
        24.0,
        "title",
        "One scale cycle of a WebSocket pool on Kubernetes",
    );
    svg.time_axis();

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
    for (place, (name, line)) in lines.iter().enumerate() {
        svg.steps(name, line, &PODS, scale);
        svg.legend(430.0 + 120.0 * real(place), PODS.top, name, name);
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
    svg.bars("moved", &bars(&moved), &CLOSES, scale);
    svg.bars("dropped", &bars(&dropped), &CLOSES, scale);
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

struct Panel {
    top: f64,
    bottom: f64,
}

struct Svg {
    text: String,
    seconds: f64,
}

impl Svg {
    fn new(seconds: f64) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"Clients, pods and closes over time\">\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\n"
        );
        Self { text, seconds }
    }

    fn x(&self, at: Duration) -> f64 {
        LEFT + (RIGHT - LEFT) * at.as_secs_f64().min(self.seconds) / self.seconds
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{element}");
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.add(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    fn time_axis(&mut self) {
        let step = step(as_count(self.seconds), 8);
        let mut second = 0;
        while real(second) <= self.seconds {
            let x = self.x(Duration::from_secs(second as u64));
            for panel in [&CLIENTS, &PODS, &CLOSES] {
                let (top, bottom) = (panel.top, panel.bottom);
                self.add(format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>"
                ));
            }
            self.add(format_args!(
                "<text class=\"note\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{second}</text>",
                CLOSES.bottom + 18.0
            ));
            second += step;
        }
        let y = CLOSES.bottom + 38.0;
        self.add(format_args!(
            "<text class=\"note\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{y:.1}\">time since the start of the demo (s)</text>",
            f64::midpoint(LEFT, RIGHT)
        ));
    }

    /// Title, horizontal lines and numbers of a panel; the answer is the number at its upper end.
    fn panel(&mut self, panel: &Panel, title: &str, most: usize) -> f64 {
        let step = step(most.max(1), GRID_LINES as usize);
        let top = most.max(1).div_ceil(step) * step;
        self.text(LEFT, panel.top - 10.0, "", title);
        let mut value = 0;
        while value <= top {
            let y = height(panel, value, real(top));
            let class = if value == 0 { "axis" } else { "grid" };
            self.add(format_args!(
                "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            ));
            self.add(format_args!(
                "<text class=\"note\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{value}</text>",
                LEFT - 8.0,
                y + 4.0
            ));
            value += step;
        }
        real(top)
    }

    /// A line that keeps each value until the next one.
    fn steps(&mut self, class: &str, points: &[(Duration, usize)], panel: &Panel, top: f64) {
        let mut corners: Vec<(f64, f64)> = Vec::new();
        for (at, value) in points {
            let (x, y) = (self.x(*at), height(panel, *value, top));
            match corners.last_mut() {
                // Of changes within a pixel the last one counts.
                Some(last) if x - last.0 < 0.5 => last.1 = y,
                _ => corners.push((x, y)),
            }
        }
        let Some(((x, y), rest)) = corners.split_first() else {
            return;
        };
        let mut path = format!("M{x:.1} {y:.1}");
        for (x, y) in rest {
            // Writing to a string does not fail.
            let _ = write!(path, "H{x:.1}V{y:.1}");
        }
        self.add(format_args!("<path class=\"{class}\" d=\"{path}H{RIGHT}\"/>"));
    }

    fn bars(&mut self, class: &str, counts: &[usize], panel: &Panel, top: f64) {
        for (bar, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let start = Duration::from_secs((bar * BAR_SECONDS) as u64);
            let (x, end) = (
                self.x(start),
                self.x(start + Duration::from_secs(BAR_SECONDS as u64)),
            );
            let y = height(panel, *count, top);
            self.add(format_args!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                (end - x - 0.5).max(1.0),
                panel.bottom - y
            ));
        }
    }

    /// A key at the right of a panel's title.
    fn legend(&mut self, x: f64, top: f64, class: &str, text: &str) {
        let y = top - 19.0;
        self.add(format_args!(
            "<rect class=\"{class}\" stroke=\"none\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"12\" height=\"9\"/>"
        ));
        self.text(x + 18.0, top - 10.0, "note", text);
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

fn height(panel: &Panel, value: usize, top: f64) -> f64 {
    panel.bottom - (panel.bottom - panel.top) * real(value) / top
}

/// A round distance (1, 2 or 5 times a power of ten) that divides `most` into at most this many parts.
fn step(most: usize, parts: usize) -> usize {
    let mut unit = 1;
    loop {
        for factor in [1, 2, 5] {
            if factor * unit * parts >= most {
                return factor * unit;
            }
        }
        unit *= 10;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of clients and seconds are far below 2^53"
)]
fn real(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a demo: positive and few"
)]
fn as_count(seconds: f64) -> usize {
    seconds.ceil() as usize
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
    fn the_picture_is_small_and_names_its_axes() {
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

    #[test]
    fn grid_lines_are_at_round_numbers() {
        assert_eq!(
            [1, 4, 5, 17, 240, 300].map(|most| step(most, 4)),
            [1, 1, 2, 5, 100, 100]
        );
    }
}
