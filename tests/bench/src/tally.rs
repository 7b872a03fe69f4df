//! When messages are due, and what came of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::PAYLOAD;
use super::pairs::percentile;

/// What stands before the number of a message. Nothing else that a subject sends holds it.
const MARK: &[u8] = b"~#";
/// Digits of a number, hexadecimal.
const DIGITS: usize = 8;

/// The payload of the message with this number.
pub(crate) fn payload(number: usize) -> String {
    format!(
        "~#{number:0DIGITS$x}{}",
        "x".repeat(PAYLOAD - MARK.len() - DIGITS)
    )
}

/// The numbers of the messages in the payload of a frame, which may hold several.
pub(crate) fn numbers(mut payload: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    while let Some(at) = payload.windows(MARK.len()).position(|window| window == MARK) {
        payload = &payload[at + MARK.len()..];
        let digits = payload
            .get(..DIGITS)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        found.extend(digits.and_then(|digits| usize::from_str_radix(digits, 16).ok()));
    }
    found
}

/// Messages that are due evenly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Messages a second.
    rate: u32,
    total: usize,
}

impl Schedule {
    /// So many messages a second, for so long.
    pub(crate) fn new(rate: u32, length: Duration) -> Self {
        let total = u128::from(rate) * length.as_millis() / 1000;
        Self {
            rate,
            total: usize::try_from(total).unwrap_or(usize::MAX),
        }
    }

    /// All of them.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// How many are due this long after the beginning; the first one is at once.
    pub(crate) fn due(&self, elapsed: Duration) -> usize {
        let gone = elapsed.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        usize::try_from(gone).map_or(self.total, |gone| (gone + 1).min(self.total))
    }

    /// When this one is due.
    pub(crate) fn at(&self, index: usize) -> Duration {
        let nanos = (index as u64 * 1_000_000_000).div_ceil(u64::from(self.rate));
        Duration::from_nanos(nanos)
    }
}

/// What has come of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    first: usize,
    warm: usize,
    members: usize,
    /// Deliveries of each message.
    counts: Vec<usize>,
    came: usize,
    doubled: usize,
    /// In microseconds, of what counts.
    waits: Vec<u64>,
    latest_sent: Duration,
}

impl Tally {
    /// Messages from this number on; the waits of the first `warm` do not count, that they come
    /// does.
    pub(crate) fn new(first: usize, total: usize, warm: usize, members: usize) -> Self {
        Self {
            first,
            warm,
            members,
            counts: vec![0; total],
            came: 0,
            doubled: 0,
            waits: Vec::with_capacity(total * members),
            latest_sent: Duration::ZERO,
        }
    }

    /// Number of the first message.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// A message was sent so long after it was due.
    pub(crate) fn sent(&mut self, late: Duration) {
        self.latest_sent = self.latest_sent.max(late);
    }

    /// A message has come to somebody, so long after it was due. What is of an earlier run was
    /// called lost there.
    pub(crate) fn came(&mut self, number: usize, wait: Duration) {
        let index = number.checked_sub(self.first);
        let Some(count) = index.and_then(|index| self.counts.get_mut(index)) else {
            return;
        };
        *count += 1;
        if *count > self.members {
            self.doubled += 1;
            return;
        }
        self.came += 1;
        if number >= self.first + self.warm {
            self.waits
                .push(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Whether everybody has everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.came == self.counts.len() * self.members
    }

    /// What is to be told.
    pub(crate) fn outcome(mut self) -> Outcome {
        self.waits.sort_unstable();
        let of = |percent| percentile(&self.waits, percent).copied().unwrap_or(0);
        Outcome {
            p50_us: of(50),
            p99_us: of(99),
            most_us: of(100),
            came: self.came as u64,
            lost: (self.counts.len() * self.members - self.came) as u64,
            doubled: self.doubled as u64,
            late_us: u64::try_from(self.latest_sent.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// How a run was. Times are from when a message was due to when a receiver had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The middle.
    pub p50_us: u64,
    /// 99 of 100 deliveries took at most this.
    pub p99_us: u64,
    /// The longest.
    pub(crate) most_us: u64,
    /// Deliveries.
    pub(crate) came: u64,
    /// Deliveries that did not come.
    pub(crate) lost: u64,
    /// Deliveries too many.
    pub(crate) doubled: u64,
    /// The most that the publishers themselves were late.
    pub(crate) late_us: u64,
}

impl Outcome {
    fn numbers(self) -> [u64; 7] {
        let Self {
            p50_us,
            p99_us,
            most_us,
            came,
            lost,
            doubled,
            late_us,
        } = self;
        [p50_us, p99_us, most_us, came, lost, doubled, late_us]
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.numbers().map(|number| number.to_string()).join(" "))
    }
}

impl FromStr for Outcome {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
        let [p50_us, p99_us, most_us, came, lost, doubled, late_us] = numbers?[..] else {
            return Err(anyhow::anyhow!("{text:?}")).context("not an outcome");
        };
        Ok(Self {
            p50_us,
            p99_us,
            most_us,
            came,
            lost,
            doubled,
            late_us,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_count_is_independent_of_polling() {
        let schedule = Schedule::new(5000, Duration::from_secs(2));
        assert_eq!(schedule.total(), 10_000);
        for index in [0, 1, 2, 4999, 9999] {
            let at = schedule.at(index);
            assert_eq!(schedule.due(at), index + 1);
            let before = at.checked_sub(Duration::from_nanos(1));
            assert!(before.is_none_or(|before| schedule.due(before) == index));
        }
        assert_eq!(schedule.due(Duration::from_mins(1)), 10_000);
        // A rate that does not divide a second.
        let schedule = Schedule::new(3, Duration::from_millis(1500));
        assert_eq!((schedule.total(), schedule.due(schedule.at(3))), (4, 4));
        assert_eq!(schedule.due(Duration::from_nanos(333_333_333)), 1);
    }

    #[test]
    fn a_number_is_found_in_any_protocol() {
        assert_eq!(payload(0x1f).len(), PAYLOAD);
        assert_eq!(numbers(payload(0x1f).as_bytes()), [0x1f]);
        let json = format!(
            "{{\"data\":\"{}\"}}\n{{}}\n{{\"data\":\"{}\"}}",
            payload(7),
            payload(8)
        );
        assert_eq!(numbers(json.as_bytes()), [7, 8]);
        assert!(numbers(b"{\"id\":12,\"publish\":{}}~#12").is_empty());
    }

    #[test]
    fn losses_duplicates_and_delays_count_after_warmup() {
        let mut tally = Tally::new(100, 4, 1, 2);
        let ms = Duration::from_millis;
        // Warm, and from the run before.
        for (number, wait) in [(100, 900), (100, 900), (99, 800)] {
            tally.came(number, ms(wait));
        }
        for (number, wait) in [(101, 1), (101, 3), (101, 700), (102, 2), (104, 600)] {
            tally.came(number, ms(wait));
        }
        tally.sent(ms(1));
        tally.sent(ms(0));
        assert!(!tally.is_complete());
        let outcome = tally.outcome();
        let wanted = Outcome {
            p50_us: 2000,
            p99_us: 3000,
            most_us: 3000,
            came: 5,
            lost: 3,
            doubled: 1,
            late_us: 1000,
        };
        assert_eq!(outcome, wanted);
        assert_eq!(outcome.to_string().parse::<Outcome>().unwrap(), outcome);
        assert!("1 2".parse::<Outcome>().is_err());
    }

    #[test]
    fn run_ends_with_the_last_delivery() {
        let mut tally = Tally::new(0, 2, 0, 2);
        for number in [0, 1, 1] {
            tally.came(number, Duration::ZERO);
        }
        // A third one of the same message does not stand for the other.
        tally.came(1, Duration::ZERO);
        assert!(!tally.is_complete());
        tally.came(0, Duration::ZERO);
        assert!(tally.is_complete());
    }
}
