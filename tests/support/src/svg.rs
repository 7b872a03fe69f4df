//! Numbers over time as an SVG of panels below each other, for light and dark backgrounds.

use std::fmt::Write as _;
use std::time::Duration;

const WIDTH: f64 = 880.0;
/// Left and right ends of the time axis.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 860.0;
/// Below the lowest panel: the numbers and the name of the time axis.
const AXIS_HEIGHT: f64 = 46.0;
/// Horizontal lines in a panel, at most.
const GRID_LINES: usize = 4;

const STYLE: &str = "
  svg { font: 13px system-ui, sans-serif; }
  .page { fill: #ffffff; } text { fill: #1f2328; } .note { fill: #59636e; } .title { font-size: 15px; font-weight: 600; }
  .grid { stroke: #d1d9e0; } .axis { stroke: #59636e; }
  .clients { stroke: #0969da; fill: #0969da; } .active { stroke: #1a7f37; fill: #1a7f37; } .desired { stroke: #59636e; fill: #59636e; }
  .draining { stroke: #bc4c00; fill: #bc4c00; } .other { stroke: #cf222e; fill: #cf222e; } .moved { fill: #8250df; } .dropped { fill: #cf222e; }
  path { fill: none !important; stroke-width: 2; } path.desired { stroke-dasharray: 5 4; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } text { fill: #f0f6fc; } .note { fill: #9198a1; } .grid { stroke: #3d444d; } .axis { stroke: #9198a1; }
    .clients { stroke: #58a6ff; fill: #58a6ff; } .active { stroke: #3fb950; fill: #3fb950; } .desired { stroke: #9198a1; fill: #9198a1; }
    .draining { stroke: #f0883e; fill: #f0883e; } .other { stroke: #f85149; fill: #f85149; } .moved { fill: #ab7df8; } .dropped { fill: #f85149; }
  }
";

/// Upper and lower ends of a part of the picture with a vertical axis of its own.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    pub top: f64,
    pub bottom: f64,
}

/// What all panels share.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub title: &'a str,
    /// For readers that do not see the picture.
    pub label: &'a str,
    /// Name and unit of the time axis.
    pub time: &'a str,
    /// From top to bottom.
    pub panels: &'a [Panel],
    pub duration: Duration,
    /// The unit of the numbers at the time axis.
    pub unit: Duration,
    /// Numbers at the time axis, at most.
    pub ticks: usize,
}

/// A picture that is being drawn. Classes: `clients`, `desired`, `active`, `draining`, `other`,
/// `moved`, `dropped`.
#[derive(Debug)]
pub struct Svg {
    text: String,
    seconds: f64,
}

impl Svg {
    pub fn new(frame: &Frame<'_>) -> Self {
        let height = frame.panels.last().map_or(0.0, |panel| panel.bottom) + AXIS_HEIGHT;
        let label = frame.label;
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"{label}\">\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n"
        );
        let seconds = frame.duration.as_secs_f64().max(1.0);
        let mut svg = Self { text, seconds };
        svg.text(LEFT, 24.0, "title", frame.title);
        svg.time_axis(frame);
        svg
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

    fn time_axis(&mut self, frame: &Frame<'_>) {
        let Some(lowest) = frame.panels.last() else {
            return;
        };
        let units = self.seconds / frame.unit.as_secs_f64();
        let step = step(rounded_up(units), frame.ticks);
        for number in (0..).step_by(step).take_while(|number| real(*number) <= units) {
            let x = LEFT + (RIGHT - LEFT) * real(number) / units;
            for Panel { top, bottom } in frame.panels {
                self.add(format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>"
                ));
            }
            self.add(format_args!(
                "<text class=\"note\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{number}</text>",
                lowest.bottom + 18.0
            ));
        }
        let (x, y) = (f64::midpoint(LEFT, RIGHT), lowest.bottom + 38.0);
        self.add(format_args!(
            "<text class=\"note\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            frame.time
        ));
    }

    /// Title, horizontal lines and numbers of a panel; the answer is the number at its upper end.
    pub fn panel(&mut self, panel: &Panel, title: &str, most: usize) -> f64 {
        let step = step(most.max(1), GRID_LINES);
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
    pub fn steps(&mut self, class: &str, points: &[(Duration, usize)], panel: &Panel, top: f64) {
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

    /// A bar for each count that is not 0; all cover equal times.
    pub fn bars(&mut self, class: &str, counts: &[usize], each: Duration, panel: &Panel, top: f64) {
        let mut start = Duration::ZERO;
        for count in counts {
            let (x, end) = (self.x(start), self.x(start + each));
            start += each;
            if *count == 0 {
                continue;
            }
            let y = height(panel, *count, top);
            self.add(format_args!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                (end - x - 0.5).max(1.0),
                panel.bottom - y
            ));
        }
    }

    /// A key at the right of a panel's title.
    pub fn legend(&mut self, x: f64, top: f64, class: &str, text: &str) {
        let y = top - 19.0;
        self.add(format_args!(
            "<rect class=\"{class}\" stroke=\"none\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"12\" height=\"9\"/>"
        ));
        self.text(x + 18.0, top - 10.0, "note", text);
    }

    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

fn height(panel: &Panel, value: usize, top: f64) -> f64 {
    panel.bottom - (panel.bottom - panel.top) * real(value) / top
}

/// A round distance (1, 2 or 5 times a power of ten) that divides `most` into at most this many
/// parts.
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
    reason = "units of a time axis: positive and few"
)]
fn rounded_up(units: f64) -> usize {
    units.ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_lines_are_at_round_numbers() {
        assert_eq!(
            [1, 4, 5, 17, 240, 300].map(|most| step(most, 4)),
            [1, 1, 2, 5, 100, 100]
        );
    }

    #[test]
    fn time_axis_counts_in_its_unit() {
        let panel = Panel {
            top: 10.0,
            bottom: 20.0,
        };
        let svg = Svg::new(&Frame {
            title: "t",
            label: "l",
            time: "hours",
            panels: &[panel],
            duration: Duration::from_hours(24),
            unit: Duration::from_hours(1),
            ticks: 12,
        });
        let text = svg.finish();
        for number in [0, 2, 22, 24] {
            assert!(text.contains(&format!(">{number}</text>")), "{number} in {text}");
        }
        assert!(
            !text.contains(">23</text>") && !text.contains(">26</text>"),
            "{text}"
        );
    }
}
