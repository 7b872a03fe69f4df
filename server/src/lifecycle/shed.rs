//! The pacing of shedding: pure, times are durations since any fixed moment.

use std::time::Duration;

use wsc_contract::close::CloseCode;

/// How far a timer may lag before closes are lost; a pacer catches up by at most this much time.
const SLACK: Duration = Duration::from_millis(10);

/// A token bucket in its virtual-scheduling form (GCRA, ITU-T I.371): in any window of length W it
/// grants at most `(W + 10 ms) * rate + 1` closes. The rate of the moment counts, so a faster one
/// is not held up by a slower one before it.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    last: Option<Duration>,
}

impl Pacer {
    /// When the next close may happen at `per_second`.
    pub(crate) fn next(&self, per_second: f64) -> Duration {
        self.due(per_second).saturating_sub(SLACK)
    }

    /// A close happens now, at `per_second`; call it only at or after [`Pacer::next`].
    pub(crate) fn record(&mut self, now: Duration, per_second: f64) {
        self.last = Some(self.due(per_second).max(now));
    }

    fn due(&self, per_second: f64) -> Duration {
        let interval = Duration::try_from_secs_f64(per_second.recip()).unwrap_or(Duration::MAX);
        self.last
            .map_or(Duration::ZERO, |last| last.saturating_add(interval))
    }
}

/// `PUT /shed`, validated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShedRequest {
    /// How many connections the server is to have closed in all since it started.
    pub(crate) total: u64,
    /// Closes a second, over 0 and finite.
    pub(crate) per_second: f64,
    /// Only connections of this proxy.
    pub(crate) via: Option<String>,
    /// Close frame of later closes; `None` keeps the current one.
    pub(crate) notice: Option<Notice>,
}

/// Content of the close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) close_code: CloseCode,
    /// Upper bound of the random delay.
    pub(crate) jitter: Duration,
}

/// What the shedding has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing until the next request.
    Nothing,
    /// One close, at this time or later.
    Close(Duration),
}

/// Closes requested and done since the process started.
#[derive(Debug)]
pub(crate) struct Shedding {
    clamp_per_second: f64,
    target: u64,
    done: u64,
    per_second: f64,
    via: Option<String>,
    notice: Notice,
    pacer: Pacer,
}

impl Shedding {
    /// Nothing requested; no rate will be above the clamp.
    pub(crate) fn new(clamp_per_second: f64, notice: Notice) -> Self {
        let (target, done, via, pacer) = (0, 0, None, Pacer::default());
        Self {
            clamp_per_second,
            target,
            done,
            per_second: clamp_per_second,
            via,
            notice,
            pacer,
        }
    }

    /// Applies a request: totals are cumulative, so a repeat changes nothing, and the pacing
    /// continues.
    pub(crate) fn request(&mut self, request: ShedRequest) {
        self.target = request.total;
        self.per_second = request.per_second.min(self.clamp_per_second);
        self.via = request.via;
        self.notice = request.notice.unwrap_or(self.notice);
    }

    /// What is due.
    pub(crate) fn due(&self) -> Due {
        if self.done >= self.target {
            Due::Nothing
        } else {
            Due::Close(self.pacer.next(self.per_second))
        }
    }

    /// A close was begun.
    pub(crate) fn record(&mut self, now: Duration) {
        self.done += 1;
        self.pacer.record(now, self.per_second);
    }

    /// Only connections of this proxy are to be closed.
    pub(crate) fn via(&self) -> Option<&str> {
        self.via.as_deref()
    }

    /// Content of the close frame.
    pub(crate) fn notice(&self) -> Notice {
        self.notice
    }

    /// Closes begun.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// The last accepted total.
    pub(crate) fn target(&self) -> u64 {
        self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(total: u64, per_second: f64) -> ShedRequest {
        ShedRequest {
            total,
            per_second,
            via: None,
            notice: None,
        }
    }

    fn shedding(clamp_per_second: f64) -> Shedding {
        let notice = Notice {
            close_code: CloseCode::SERVICE_RESTART,
            jitter: Duration::ZERO,
        };
        Shedding::new(clamp_per_second, notice)
    }

    #[test]
    fn newest_notice_counts() {
        let mut shedding = shedding(100.0);
        let first = shedding.notice();
        shedding.request(request(1, 1.0));
        assert_eq!(shedding.notice(), first, "a request without one keeps it");
        let newer = Notice {
            jitter: Duration::from_secs(7),
            ..first
        };
        shedding.request(ShedRequest {
            notice: Some(newer),
            ..request(1, 1.0)
        });
        assert_eq!(shedding.notice(), newer);
    }

    /// Runs until nothing is due or `until` is over; the clock wakes late by `lag`.
    fn run(shedding: &mut Shedding, now: &mut Duration, until: Duration, lag: Duration) -> Vec<Duration> {
        let mut closes = Vec::new();
        while let Due::Close(at) = shedding.due() {
            *now = (*now).max(at);
            if at > Duration::ZERO && at == *now {
                *now += lag;
            }
            if *now > until {
                break;
            }
            shedding.record(*now);
            closes.push(*now);
        }
        closes
    }

    #[test]
    fn forty_closes_take_eight_seconds() {
        let (mut shedding, mut now) = (shedding(100.0), Duration::ZERO);
        shedding.request(request(40, 5.0));
        let closes = run(&mut shedding, &mut now, Duration::MAX, Duration::ZERO);
        assert_eq!(closes.len(), 40);
        for pair in closes.windows(2) {
            assert!(pair[1] >= pair[0] + Duration::from_millis(190), "{pair:?}");
        }
        assert!(closes[39] >= Duration::from_millis(7700), "{:?}", closes[39]);
        assert_eq!(
            (shedding.done(), shedding.target(), shedding.due()),
            (40, 40, Due::Nothing)
        );
    }

    #[test]
    fn repeat_changes_nothing_lower_total_stops() {
        let (mut shedding, mut now) = (shedding(100.0), Duration::ZERO);
        shedding.request(request(10, 10.0));
        run(
            &mut shedding,
            &mut now,
            Duration::from_millis(450),
            Duration::ZERO,
        );
        let done = shedding.done();
        assert!((4..=6).contains(&done), "{done}");
        shedding.request(request(2, 10.0));
        assert_eq!(
            (shedding.due(), shedding.done(), shedding.target()),
            (Due::Nothing, done, 2)
        );
        shedding.request(request(10, 10.0));
        run(&mut shedding, &mut now, Duration::MAX, Duration::ZERO);
        shedding.request(request(10, 10.0));
        assert_eq!((shedding.due(), shedding.done()), (Due::Nothing, 10));
    }

    #[test]
    fn faster_rate_overrides_a_slower_one() {
        let (mut shedding, mut now) = (shedding(100.0), Duration::ZERO);
        for slow in [0.001, f64::MIN_POSITIVE] {
            let before = shedding.done();
            shedding.request(request(before + 2, slow));
            let until = now + Duration::from_secs(1);
            let closes = run(&mut shedding, &mut now, until, Duration::ZERO);
            assert!(closes.len() <= 1 && shedding.done() < before + 2, "{closes:?}");
            now = until;
            shedding.request(request(before + 3, 10.0));
            let closes = run(
                &mut shedding,
                &mut now,
                until + Duration::from_secs(1),
                Duration::ZERO,
            );
            assert_eq!(shedding.done(), before + 3, "{closes:?}");
        }
    }

    proptest! {
        #[test]
        fn never_above_the_rate_in_any_window(
            clamp in 0.5_f64..500.0,
            requests in prop::collection::vec((1_u64..200, 0.1_f64..2000.0, 0_u64..2000), 1..10),
            lag_ms in 0_u64..50,
        ) {
            let (mut shedding, mut now, mut closes) = (shedding(clamp), Duration::ZERO, Vec::new());
            let mut total = 0;
            for (more, rate, pause_ms) in requests {
                total += more;
                // Asked for twice: a repeat must not give the pace a new start.
                for _ in 0..2 {
                    shedding.request(request(total, rate));
                    let until = now + Duration::from_millis(pause_ms);
                    closes.extend(run(&mut shedding, &mut now, until, Duration::from_millis(lag_ms)));
                    now = now.max(until);
                }
                prop_assert!(shedding.done() <= total);
            }
            prop_assert_eq!(shedding.done(), closes.len() as u64);
            for (first, start) in closes.iter().enumerate() {
                for (count, end) in (0_u32..).zip(&closes[first..]) {
                    // One close is free, and one microsecond an interval for rounding.
                    let least = (f64::from(count) - 1.0).max(0.0) * (clamp.recip() - 1e-6);
                    let window = *end + SLACK;
                    prop_assert!(window >= *start + Duration::from_secs_f64(least), "{count} more by {end:?} since {start:?}");
                }
            }
        }
    }
}
