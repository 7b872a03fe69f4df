//! Rounds: in each one all subjects are sampled, and what is compared is of one round. A sample is
//! made of slices, and the subjects take turns slice by slice: a shared machine is now faster, now
//! slower, and so for all of them.

use anyhow::{Context, Result};

use super::meter::Sample;
use super::pairs::{PAIRS, Verdict, chance, median};
use super::report::Row;

/// Peers that no target names are sampled in every so many rounds.
pub(crate) const SELDOM: usize = 3;
/// CPU time of somebody else, as a share of a sample's, that spoils it.
const FOREIGN: f64 = 0.05;
/// Rounds that say less or more are no verdict when coins would say as much more often than this.
const CHANCE: f64 = 0.01;

/// A subject of a comparison.
pub(crate) struct Lane<'a> {
    name: &'a str,
    every: usize,
    take: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

impl<'a> Lane<'a> {
    /// Sampled in every round.
    pub(crate) fn new(name: &'a str, take: impl FnMut() -> Result<Sample> + 'a) -> Self {
        Self {
            name,
            every: 1,
            take: Box::new(take),
        }
    }

    /// Sampled in one of so many rounds.
    #[must_use]
    pub(crate) fn every(self, every: usize) -> Self {
        Self { every, ..self }
    }

    /// Sampled in some rounds.
    pub(crate) fn seldom(name: &'a str, take: impl FnMut() -> Result<Sample> + 'a) -> Self {
        Self::new(name, take).every(SELDOM)
    }
}

/// The samples of all lanes.
#[derive(Debug)]
pub(crate) struct Compared {
    unit: &'static str,
    /// By name, one for each round, or none.
    lanes: Vec<(String, Vec<Option<Sample>>)>,
}

/// What a ratio has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
    /// Less than the other one, by whatever.
    Below,
}

/// Takes the samples of the least number of rounds.
///
/// # Errors
/// Those of a sample.
pub(crate) fn compare(
    unit: &'static str,
    lanes: Vec<Lane<'_>>,
    progress: impl FnMut(&str),
) -> Result<Compared> {
    compare_in(PAIRS, unit, lanes, progress)
}

/// Takes the samples of all rounds; the lanes are in turn from first to last and from last to
/// first, until the sample of each is whole.
///
/// # Errors
/// Those of a sample.
pub(crate) fn compare_in(
    rounds: usize,
    unit: &'static str,
    mut lanes: Vec<Lane<'_>>,
    mut progress: impl FnMut(&str),
) -> Result<Compared> {
    let mut samples = vec![Vec::new(); lanes.len()];
    for round in 0..rounds {
        progress(&format!("round {} of {rounds}", round + 1));
        let mut sums: Vec<Option<Sample>> = vec![None; lanes.len()];
        for pass in round.. {
            let due = |index: &usize| {
                let whole = sums[*index].is_some_and(|sum| sum.is_whole());
                round % lanes[*index].every == 0 && !whole
            };
            let mut order: Vec<usize> = (0..lanes.len()).filter(due).collect();
            if order.is_empty() {
                break;
            }
            if pass % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let lane = &mut lanes[index];
                let slice = (lane.take)().with_context(|| lane.name.to_owned())?;
                sums[index] = Some(sums[index].map_or(slice, |sum| sum.with(slice)));
            }
        }
        for (samples, sum) in samples.iter_mut().zip(sums) {
            samples.push(sum);
        }
    }
    let names = lanes.iter().map(|lane| lane.name.to_owned());
    Ok(Compared {
        unit,
        lanes: names.zip(samples).collect(),
    })
}

impl Compared {
    /// The lane's samples by round.
    fn lane(&self, name: &str) -> Result<&[Option<Sample>]> {
        let found = self.lanes.iter().find(|(lane, _)| lane == name);
        Ok(&found.with_context(|| format!("no lane {name}"))?.1)
    }

    /// The lane's middle.
    ///
    /// # Errors
    /// When there is no such lane.
    pub(crate) fn middle(&self, name: &str) -> Result<f64> {
        let values: Vec<f64> = self.lane(name)?.iter().flatten().map(Sample::value).collect();
        median(&values).context("no samples")
    }

    /// The name of the best lane but the first and the floors.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn best(&self, better: impl Fn(f64, f64) -> bool) -> Result<&str> {
        let mut best: Option<(&str, f64)> = None;
        let others = self.lanes.iter().skip(1);
        for (name, _) in others.filter(|(name, _)| !is_floor(name)) {
            let value = self.middle(name)?;
            if best.is_none_or(|(_, so_far)| better(value, so_far)) {
                best = Some((name, value));
            }
        }
        Ok(best.context("no subject to compare with")?.0)
    }

    /// The first lane's row, beside another one.
    ///
    /// # Errors
    /// When there is no such lane.
    pub(crate) fn row(&self, measure: &str, other: &str, bound: Bound) -> Result<Row> {
        let (ours, _) = self.lanes.first().context("no lanes")?;
        let (verdict, foreign) = self.verdict(ours, other)?;
        let word = if is_floor(other) { "the floor" } else { other };
        let ratio = verdict.ratio;
        let (target, met, noise) = match bound {
            Bound::AtLeast(least) => (format!(">= {least} of"), ratio >= least, spread(&verdict)),
            Bound::AtMost(most) => (format!("<= {most} of"), ratio <= most, spread(&verdict)),
            // How far the ratios lie apart does not matter as long as nearly all say the same.
            Bound::Below => ("below".to_owned(), ratio < 1.0, sides(&verdict)),
        };
        let noise = foreign.or(noise);
        Ok(Row {
            ratio: Some(verdict.ratio),
            target: Some(format!("{target} {word}")),
            met: noise.is_none().then_some(met),
            noisy: noise.is_some(),
            noise,
            ..Row::plain(measure, ours, self.middle(ours)?, self.unit)
        })
    }

    /// The first lane's row, which is to be at most `most`. Others on the CPU do not make it less:
    /// what is met in spite of them is met.
    ///
    /// # Errors
    /// When there are no samples.
    pub(crate) fn at_most(&self, measure: &str, most: f64) -> Result<Row> {
        let (ours, samples) = self.lanes.first().context("no lanes")?;
        let row = Row::at_most(measure, self.middle(ours)?, self.unit, most);
        let noise = foreign(samples.iter().flatten().map(Sample::foreign));
        Ok(match noise {
            Some(noise) if row.met == Some(false) => Row {
                met: None,
                noisy: true,
                noise: Some(noise),
                ..row
            },
            _ => row,
        })
    }

    /// The rows of all lanes but the first.
    ///
    /// # Errors
    /// When one has no samples.
    pub(crate) fn others(&self, measure: &str) -> Result<Vec<Row>> {
        let names = self.lanes.iter().skip(1).map(|(name, _)| name);
        names
            .map(|name| Ok(Row::plain(measure, name, self.middle(name)?, self.unit)))
            .collect()
    }

    /// The ratio, and whether somebody else was on the CPU.
    fn verdict(&self, ours: &str, other: &str) -> Result<(Verdict, Option<String>)> {
        let both = self.lane(ours)?.iter().zip(self.lane(other)?);
        let both: Vec<(Sample, Sample)> = both.filter_map(|(a, b)| a.zip(*b)).collect();
        let values: Vec<(f64, f64)> = both.iter().map(|(a, b)| (a.value(), b.value())).collect();
        let noise = foreign(both.iter().map(|(a, b)| a.foreign().max(b.foreign())));
        Ok((Verdict::of(&values).context("no pairs")?, noise))
    }
}

fn is_floor(lane: &str) -> bool {
    lane.starts_with("floor")
}

/// Says so when others were there in too many rounds: a median bears a few.
fn foreign(shares: impl Iterator<Item = f64>) -> Option<String> {
    let shares: Vec<f64> = shares.collect();
    let spoilt = shares.iter().filter(|share| **share > FOREIGN).count();
    (spoilt * 3 > shares.len())
        .then(|| format!("{spoilt} of {} rounds disturbed by other processes", shares.len()))
}

/// Says so when it is now more, now less.
fn sides(verdict: &Verdict) -> Option<String> {
    let (below, of) = verdict.below;
    (chance(below.min(of - below), of) > CHANCE).then(|| format!("{below} of {of} rounds are below"))
}

fn spread(verdict: &Verdict) -> Option<String> {
    let percent = verdict.spread() * 100.0;
    let (low, high) = (verdict.low, verdict.high);
    let apart = || format!("ratios from {low:.2} to {high:.2}, {percent:.0} % apart");
    verdict.is_noisy().then(apart)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::meter::SAMPLE;
    use super::super::real;
    use super::*;

    fn quiet(value: f64) -> Sample {
        Sample {
            amount: value,
            per: 1.0,
            spent: SAMPLE,
            busy: SAMPLE,
            others: Duration::ZERO,
            running: SAMPLE,
        }
    }

    #[test]
    fn slices_sum_up_and_lanes_alternate() {
        let order = std::cell::RefCell::new(String::new());
        let take = |name: char, parts: u32, spent: u64| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(Sample {
                    amount: 10.0,
                    per: real(spent),
                    running: SAMPLE / parts,
                    ..quiet(1.0)
                })
            }
        };
        let lanes = vec![Lane::new("a", take('a', 1, 1)), Lane::new("b", take('b', 2, 2))];
        let compared = compare("x", lanes, |_| {}).unwrap();
        assert!(order.borrow().starts_with("abbbab"), "{}", order.borrow());
        let rows = [compared.middle("a").unwrap(), compared.middle("b").unwrap()];
        assert!(
            (rows[0] - 10.0).abs() < 1e-9 && (rows[1] - 5.0).abs() < 1e-9,
            "{rows:?}"
        );
        let micros = quiet(4.0).in_micros().value();
        assert!((micros - 250_000.0).abs() < 1e-6, "{micros}");
    }

    #[test]
    fn rounds_reverse_and_rare_lanes_are_skipped() {
        let order = std::cell::RefCell::new(String::new());
        let take = |name: char| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(quiet(1.0))
            }
        };
        let lanes = vec![
            Lane::new("a", take('a')),
            Lane::new("b", take('b')),
            Lane::seldom("c", take('c')),
        ];
        let compared = compare("x", lanes, |_| {}).unwrap();
        assert!(order.borrow().starts_with("abcbaabcbaabba"), "{}", order.borrow());
        let seldom = compared.lane("c").unwrap().iter().flatten().count();
        assert_eq!((seldom, compared.lane("a").unwrap().len()), (5, PAIRS));
    }

    #[test]
    fn target_is_judged_by_round_ratios() {
        let lane = |values: [f64; 8]| values.map(|value| Some(quiet(value))).to_vec();
        let compared = Compared {
            unit: "x",
            lanes: vec![
                ("ours".to_owned(), lane([2.0, 4.0, 2.0, 4.0, 2.0, 4.0, 2.0, 4.0])),
                (
                    "floor: b".to_owned(),
                    lane([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]),
                ),
                ("c".to_owned(), lane([3.0, 5.0, 1.0, 5.0, 3.0, 5.0, 1.0, 5.0])),
            ],
        };
        let row = compared.row("m", "floor: b", Bound::AtLeast(2.0)).unwrap();
        assert_eq!((row.ratio, row.met), (Some(2.0), Some(true)));
        assert_eq!(row.target.as_deref(), Some(">= 2 of the floor"));
        assert_eq!(
            compared.row("m", "floor: b", Bound::AtMost(1.9)).unwrap().met,
            Some(false)
        );
        assert_eq!(
            compared.row("m", "floor: b", Bound::Below).unwrap().met,
            Some(false)
        );
        // 0.67 to 2: too far apart to say, and on both sides of 1.
        let row = compared.row("m", "c", Bound::AtLeast(0.5)).unwrap();
        assert_eq!((row.met, row.noisy), (None, true));
        assert_eq!(compared.row("m", "c", Bound::Below).unwrap().met, None);
        assert_eq!(compared.best(|a, b| a > b).unwrap(), "c");
        assert!(compared.row("m", "d", Bound::Below).is_err());
    }

    #[test]
    fn frequent_foreign_cpu_time_spoils_a_verdict() {
        let spoilt = Sample {
            busy: SAMPLE * 106 / 100,
            others: SAMPLE * 6 / 100,
            ..quiet(1.0)
        };
        let compared = |times: usize| Compared {
            unit: "x",
            lanes: vec![
                ("ours".to_owned(), vec![Some(quiet(1.0)); 6]),
                (
                    "c".to_owned(),
                    (0..6)
                        .map(|n| Some(if n < times { spoilt } else { quiet(1.0) }))
                        .collect(),
                ),
            ],
        };
        let met = |times| compared(times).row("m", "c", Bound::AtLeast(1.0)).unwrap().met;
        assert_eq!((met(2), met(3)), (Some(true), None));
        // A time that is short enough in spite of somebody else is short enough.
        let spoilt = Compared {
            unit: "ms",
            lanes: vec![("ours".to_owned(), vec![Some(spoilt); 3])],
        };
        let met = |most| spoilt.at_most("m", most).unwrap().met;
        assert_eq!((met(1.0), met(0.9)), (Some(true), None));
        let elsewhere = Sample {
            others: SAMPLE,
            ..quiet(1.0)
        };
        assert!(elsewhere.foreign().abs() < 1e-9, "on another CPU");
    }
}
