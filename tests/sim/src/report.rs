//! The rows of a run: on the terminal, as JSON and in the documentation.

use std::fmt::Write as _;

use serde::Serialize;

use crate::rules::operator::MAX_MOVES_PER_SECOND;
use crate::score::Score;

/// The most moves of a day per 100,000 clients at its peak: 60 % of what the model's source counts
/// for the rules of the HPA.
const MOST_MOVES: i64 = 69_000;
const PER_CLIENTS: i64 = 100_000;

/// One day under one of the rules.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    clients: i64,
    rules: &'static str,
    moves: i64,
    /// Moves without a close frame that requests the client to reconnect.
    cut: i64,
    peak_moves_per_second: i64,
    peak_moves_per_second_over_a_tick: i64,
    pod_hours: f64,
    longest_wait_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

/// What the operator's row has to be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    moves: i64,
    peak_moves_per_second: i64,
    met: bool,
}

impl Row {
    pub(crate) fn of_operator(clients: i64, score: &Score) -> Self {
        let moves = MOST_MOVES * clients / PER_CLIENTS;
        let target = Target {
            moves,
            peak_moves_per_second: MAX_MOVES_PER_SECOND,
            met: score.moves <= moves && score.peak <= MAX_MOVES_PER_SECOND,
        };
        Self {
            target: Some(target),
            ..Self::of_hpa(clients, "operator", score)
        }
    }

    pub(crate) fn of_hpa(clients: i64, rules: &'static str, score: &Score) -> Self {
        Self {
            clients,
            rules,
            moves: score.moves,
            cut: score.cut,
            peak_moves_per_second: score.peak,
            peak_moves_per_second_over_a_tick: score.peak_of_tick(),
            pod_hours: (score.pod_hours() * 10.0).round() / 10.0,
            longest_wait_seconds: score.longest_wait,
            target: None,
        }
    }

    fn verdict(&self) -> String {
        self.target.as_ref().map_or_else(String::new, |target| {
            let verdict = if target.met { "met" } else { "NOT MET" };
            let Target {
                moves,
                peak_moves_per_second,
                ..
            } = target;
            format!("<= {moves} moves, <= {peak_moves_per_second}/s: {verdict}")
        })
    }
}

/// A table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| clients at noon | rules | moves | of these cut | peak moves/s | over 5 s | pod hours | longest wait for room | target |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.1} | {} s | {} |",
            row.clients,
            row.rules,
            row.moves,
            row.cut,
            row.peak_moves_per_second,
            row.peak_moves_per_second_over_a_tick,
            row.pod_hours,
            row.longest_wait_seconds,
            row.verdict()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_grows_with_the_clients() {
        let score = |moves, peak| Score {
            moves,
            peak,
            ..Score::default()
        };
        let verdict = |clients, score| Row::of_operator(clients, &score).verdict();
        assert_eq!(
            verdict(200_000, score(138_000, 200)),
            "<= 138000 moves, <= 200/s: met"
        );
        assert!(verdict(100_000, score(69_001, 200)).ends_with("NOT MET"));
        assert!(verdict(100_000, score(1, 201)).ends_with("NOT MET"));
        let table = markdown(&[Row::of_hpa(100_000, "HPA rules", &score(7, 5))]);
        assert!(
            table.ends_with("| 100000 | HPA rules | 7 | 0 | 5 | 0 | 0.0 | 0 s |  |\n"),
            "{table}"
        );
    }
}
