//! The rows of a run, on a terminal, as JSON and in the documentation.

use std::fmt::Write;

use serde::Serialize;

/// One number of one subject.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub measure: String,
    /// Of whom: `ours`, a peer, or the floor.
    pub subject: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Over the subject that the target names, in the same run.
    pub ratio: Option<f64>,
    /// What it has to be, in words.
    pub target: Option<String>,
    /// Whether it is; none where there is no target, or no verdict.
    pub met: Option<bool>,
    /// The machine was too busy for a verdict.
    pub noisy: bool,
    /// By what that was seen.
    pub noise: Option<String>,
}

impl Row {
    /// A number without a target.
    pub fn plain(measure: &str, subject: &str, value: f64, unit: &'static str) -> Self {
        Self {
            measure: measure.to_owned(),
            subject: subject.to_owned(),
            value,
            unit,
            ratio: None,
            target: None,
            met: None,
            noisy: false,
            noise: None,
        }
    }

    /// One of ours that is to be at most `most`.
    pub fn at_most(measure: &str, value: f64, unit: &'static str, most: f64) -> Self {
        Self {
            target: Some(format!("<= {} {unit}", number(most))),
            met: Some(value <= most),
            ..Self::plain(measure, "ours", value, unit)
        }
    }

    /// Whether it is about our program.
    fn is_ours(&self) -> bool {
        self.subject.starts_with("ours")
    }

    fn verdict(&self) -> String {
        match (&self.noise, self.met) {
            (Some(noise), _) => format!("noisy, no verdict: {noise}"),
            (None, Some(true)) => "met".to_owned(),
            (None, Some(false)) => "NOT MET".to_owned(),
            (None, None) => String::new(),
        }
    }

    fn cells(&self) -> [String; 6] {
        [
            self.measure.clone(),
            self.subject.clone(),
            format!("{} {}", number(self.value), self.unit),
            self.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            self.target.clone().unwrap_or_default(),
            self.verdict(),
        ]
    }
}

/// With as many digits as say something.
fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

const HEAD: [&str; 6] = ["measure", "subject", "value", "ratio", "target", "verdict"];

/// Columns for a terminal; our rows are marked.
pub fn table(rows: &[Row]) -> String {
    let head = HEAD.map(str::to_owned);
    let cells: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    let marked = std::iter::once(false).chain(rows.iter().map(Row::is_ours));
    for (row, marked) in cells.iter().zip(marked) {
        out.push_str(if marked { "> " } else { "  " });
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(out, "{cell:<width$}  ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// The same in Markdown; ours are bold.
pub fn markdown(rows: &[Row]) -> String {
    let line = |cells: [String; 6]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(HEAD.map(str::to_owned)) + "|---|---|---|---|---|---|\n";
    for row in rows {
        let mut cells = row.cells();
        if row.is_ours() {
            cells[1] = format!("**{}**", cells[1]);
        }
        out.push_str(&line(cells));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_shows_whether_target_is_met() {
        let good = Row::at_most("size", 7.5, "MB", 8.0);
        let bad = Row::at_most("size", 8.5, "MB", 8.0);
        let noisy = Row {
            noisy: true,
            noise: Some("ratios 12 % apart".to_owned()),
            ..bad.clone()
        };
        let text = table(&[good, bad, noisy, Row::plain("size", "floor", 1.0, "MB")]);
        let verdicts: Vec<_> = text.lines().skip(1).map(str::trim_end).collect();
        assert!(verdicts[0].starts_with("> size") && verdicts[0].ends_with("met"));
        assert!(
            verdicts[1].ends_with("NOT MET") && verdicts[2].ends_with("noisy, no verdict: ratios 12 % apart")
        );
        assert!(verdicts[3].starts_with("  size") && verdicts[3].ends_with("1 MB"));
        let text = markdown(&[
            Row::at_most("size", 7.5, "MB", 8.0),
            Row::plain("size", "floor", 1.0, "MB"),
        ]);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| size | **ours** | 7.50 MB |  | <= 8 MB | met |",
                "| size | floor | 1 MB |  |  |  |"
            ]
        );
    }
}
