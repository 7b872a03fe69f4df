//! What is seen of a subject, and who had the CPU meanwhile.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{SERVER_CPU, real};
use wsc_testing::cpu;

/// The least time of a sample.
pub(crate) const SAMPLE: Duration = Duration::from_secs(2);
/// The least time of a slice of it.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// What was seen in one go, or in several that were added up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(super) amount: f64,
    pub(super) per: f64,
    pub(super) spent: Duration,
    /// Of the CPU.
    pub(super) busy: Duration,
    /// Of other processes.
    pub(super) others: Duration,
    pub(super) running: Duration,
}

impl Sample {
    /// The number.
    pub(crate) fn value(&self) -> f64 {
        self.amount / self.per
    }

    /// CPU time of others over that of who was sampled. It is at most what other processes used,
    /// though perhaps on another CPU; and at most what the CPU was busy besides, though perhaps by
    /// going to sleep and waking.
    pub(crate) fn foreign(&self) -> f64 {
        let others = self.busy.saturating_sub(self.spent).min(self.others);
        others.as_secs_f64() / self.spent.as_secs_f64()
    }

    /// Microseconds for each instead of how many each second.
    #[must_use]
    pub(crate) fn in_micros(self) -> Self {
        Self {
            amount: self.per * 1e6,
            per: self.amount,
            ..self
        }
    }

    /// Whether it has been long enough.
    pub(super) fn is_whole(&self) -> bool {
        self.running >= SAMPLE
    }

    /// Both together.
    #[must_use]
    pub(super) fn with(self, more: Self) -> Self {
        Self {
            amount: self.amount + more.amount,
            per: self.per + more.per,
            spent: self.spent + more.spent,
            busy: self.busy + more.busy,
            others: self.others + more.others,
            running: self.running + more.running,
        }
    }
}

/// Adds up the CPU time of some processes, with what the kernel does for them on the servers' CPU.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    pids: &'a [u32],
    spent: Duration,
    /// In ticks: only the sum over all slices says something.
    idle: Duration,
    others: Duration,
    running: Duration,
}

impl<'a> Meter<'a> {
    /// Of these processes.
    pub(crate) fn new(pids: &'a [u32]) -> Self {
        Self {
            pids,
            spent: Duration::ZERO,
            idle: Duration::ZERO,
            others: Duration::ZERO,
            running: Duration::ZERO,
        }
    }

    /// Counts what is used while `work` goes on.
    ///
    /// # Errors
    /// Those of the work.
    pub(crate) fn run<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let others = Others::of(&[SERVER_CPU], self.pids)?;
        let (began, spent, idle) = (Instant::now(), self.used()?, cpu::idle(SERVER_CPU)?);
        let done = work()?;
        self.running += began.elapsed();
        self.spent += self.used()?.saturating_sub(spent);
        self.idle += cpu::idle(SERVER_CPU)?.saturating_sub(idle);
        self.others += others.since()?;
        Ok(done)
    }

    /// So many things were done, per second of CPU time.
    pub(crate) fn rate(&self, count: usize) -> Sample {
        self.sample(real(count as u64), self.spent.as_secs_f64())
    }

    /// So many numbers were seen, which make this sum.
    pub(crate) fn average(&self, sum: f64, count: usize) -> Sample {
        self.sample(sum, real(count as u64))
    }

    fn sample(&self, amount: f64, per: f64) -> Sample {
        Sample {
            amount,
            per,
            spent: self.spent,
            busy: self.running.saturating_sub(self.idle),
            others: self.others,
            running: self.running,
        }
    }

    fn used(&self) -> Result<Duration> {
        let of_processes = self.pids.iter().map(|pid| cpu::of_process(*pid));
        of_processes.chain([cpu::of_softirq(SERVER_CPU)]).sum()
    }
}

/// The other processes of some CPUs.
struct Others<'a> {
    cpus: &'a [u32],
    pids: &'a [u32],
    before: HashMap<u32, Duration>,
}

impl<'a> Others<'a> {
    fn of(cpus: &'a [u32], pids: &'a [u32]) -> Result<Self> {
        let before = cpu::of_others(cpus, pids)?;
        Ok(Self { cpus, pids, before })
    }

    /// What they have used since then.
    fn since(&self) -> Result<Duration> {
        let now = cpu::of_others(self.cpus, self.pids)?.into_iter();
        let before = |pid| self.before.get(&pid).copied().unwrap_or_default();
        Ok(now.map(|(pid, time)| time.saturating_sub(before(pid))).sum())
    }
}

/// A number that `work` sees of these processes on these CPUs, where others are all other
/// processes.
///
/// # Errors
/// Those of the work.
pub(crate) fn watch<T>(
    cpus: &[u32],
    pids: &[u32],
    work: impl FnOnce() -> Result<T>,
    number: impl FnOnce(&T) -> f64,
) -> Result<(Sample, T)> {
    let used = || {
        pids.iter()
            .map(|pid| cpu::of_process(*pid))
            .sum::<Result<Duration>>()
    };
    let others = Others::of(cpus, pids)?;
    let (began, before) = (Instant::now(), used()?);
    let done = work()?;
    let running = began.elapsed();
    let (spent, others) = (used()?.saturating_sub(before), others.since()?);
    let sample = Sample {
        amount: number(&done),
        per: 1.0,
        spent,
        busy: spent + others,
        others,
        running,
    };
    Ok((sample, done))
}

/// A slice: does a thing again and again, which says how much it was each time.
///
/// # Errors
/// Those of the thing.
pub(crate) fn slice(pids: &[u32], mut round: impl FnMut() -> Result<usize>) -> Result<Sample> {
    let mut meter = Meter::new(pids);
    let count = meter.run(|| {
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < SLICE {
            count += round()?;
        }
        Ok(count)
    })?;
    Ok(meter.rate(count))
}
