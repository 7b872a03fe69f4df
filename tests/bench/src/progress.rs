//! What the bench is doing, and how long it still takes.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use super::measures::Measure;
use wsc_testing::output::say;

/// Tells it on the terminal, or line by line for a log.
#[derive(Debug)]
pub struct Teller {
    measures: Vec<Measure>,
    current: usize,
    began: Instant,
    terminal: bool,
}

impl Teller {
    /// Before the first of these.
    pub fn new(measures: &[Measure]) -> Self {
        Self {
            measures: measures.to_vec(),
            current: 0,
            began: Instant::now(),
            terminal: stdout().is_terminal(),
        }
    }

    /// The measure with this place begins.
    pub fn begin(&mut self, current: usize) {
        (self.current, self.began) = (current, Instant::now());
    }

    /// Something of it begins.
    pub fn tell(&self, what: &str) {
        let Some(measure) = self.measures.get(self.current) else {
            return;
        };
        let left = words(left(&self.measures, self.current, self.began.elapsed()));
        let line = format!("{left:>13}  {}: {what}", measure.name);
        if self.terminal {
            let mut out = stdout();
            // A terminal that went away is no reason to stop.
            let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
        } else {
            say(&line);
        }
    }

    /// The measure is over: its line goes, and its time comes.
    pub fn end(&self) {
        if self.terminal {
            let _ = write!(stdout(), "\r\x1b[K");
        }
        if let Some(measure) = self.measures.get(self.current) {
            say(&format!(
                "{} took {:.0} s",
                measure.name,
                self.began.elapsed().as_secs_f64()
            ));
        }
    }
}

/// How long the measures from this one on take, of which so much is gone.
fn left(measures: &[Measure], current: usize, gone: Duration) -> Duration {
    let takes = |measure: &Measure| Duration::from_secs(measure.takes);
    let mut left = measures.iter().skip(current).map(takes);
    let this = left.next().unwrap_or_default();
    this.saturating_sub(gone) + left.sum::<Duration>()
}

fn words(left: Duration) -> String {
    match left.as_secs() {
        0..=9 => "soon done".to_owned(),
        seconds @ 10..=99 => format!("{seconds} s left"),
        seconds => format!("{} min left", (seconds + 30) / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_includes_all_later_runs() {
        let measures = [("a", 100), ("b", 50), ("c", 7)].map(|(name, takes)| Measure { name, takes });
        let at = |current, gone| left(&measures, current, Duration::from_secs(gone)).as_secs();
        assert_eq!([at(0, 0), at(0, 30), at(1, 10), at(2, 7)], [157, 127, 47, 0]);
        // One that takes longer than it should does not eat into the others.
        assert_eq!([at(0, 500), at(3, 0)], [57, 0]);
    }

    #[test]
    fn remaining_time_is_rounded_to_its_accuracy() {
        let said = [9, 10, 99, 100, 900].map(|seconds| words(Duration::from_secs(seconds)));
        assert_eq!(
            said,
            ["soon done", "10 s left", "99 s left", "2 min left", "15 min left"]
        );
    }
}
