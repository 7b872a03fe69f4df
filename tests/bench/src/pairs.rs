//! What paired samples say. The floor itself drifts by 40 % within an hour on a shared machine, so
//! only samples that were taken one right after the other are compared, and the median of the
//! ratios decides.

use super::real;

/// The least number of pairs.
pub(crate) const PAIRS: usize = 15;
/// A wider spread, from the 10th to the 90th percentile and as a share of the median, is no
/// verdict.
const NOISY: f64 = 0.10;

/// The middle of the ratios, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The median ratio.
    pub(crate) ratio: f64,
    /// The 10th percentile.
    pub(crate) low: f64,
    /// The 90th percentile.
    pub(crate) high: f64,
    /// How many of how many are below 1.
    pub(crate) below: (usize, usize),
}

impl Verdict {
    /// Of each pair the first number over the second one; none without pairs.
    pub(crate) fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let mut ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours / theirs).collect();
        ratios.sort_by(f64::total_cmp);
        Some(Self {
            ratio: *percentile(&ratios, 50)?,
            low: *percentile(&ratios, 10)?,
            high: *percentile(&ratios, 90)?,
            below: (ratios.iter().filter(|ratio| **ratio < 1.0).count(), ratios.len()),
        })
    }

    /// 90th percentile less 10th, as a share of the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.high - self.low) / self.ratio
    }

    /// Whether the machine was too busy for a verdict.
    pub(crate) fn is_noisy(&self) -> bool {
        self.spread() > NOISY
    }
}

/// How likely so many or fewer of `of` coins fall on one side: the sign test.
pub(crate) fn chance(few: usize, of: usize) -> f64 {
    let (mut ways, mut sum) = (1.0, 0.0);
    for k in 0..=few {
        sum += ways;
        ways *= real((of - k) as u64) / real(k as u64 + 1);
    }
    sum * 0.5_f64.powi(i32::try_from(of).unwrap_or(i32::MAX))
}

/// The middle of some numbers.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 50).copied()
}

/// Of what is sorted, by the nearest rank.
pub(crate) fn percentile<T>(sorted: &[T], percent: usize) -> Option<&T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_ratios_ignores_drift() {
        let pairs: Vec<_> = (1..=15)
            .map(|n| (90.0 * f64::from(n), 100.0 * f64::from(n)))
            .collect();
        let verdict = Verdict::of(&pairs).unwrap();
        assert!((verdict.ratio - 0.9).abs() < 1e-9 && verdict.spread() < 1e-9);
        assert!(!verdict.is_noisy());
    }

    #[test]
    fn wide_spread_is_noise_one_outlier_not() {
        let mut pairs = vec![(1.0, 1.0); 15];
        pairs[3] = (2.0, 1.0);
        assert!(!Verdict::of(&pairs).unwrap().is_noisy());
        for pair in pairs.iter_mut().take(4) {
            *pair = (1.2, 1.0);
        }
        assert!(Verdict::of(&pairs).unwrap().is_noisy());
        assert_eq!(Verdict::of(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }

    #[test]
    fn sign_test_is_exact() {
        for (few, of, exact) in [(0, 1, 0.5), (1, 2, 0.75), (2, 15, 121.0 / 32768.0), (15, 15, 1.0)] {
            assert!((chance(few, of) - exact).abs() < 1e-9, "{few} of {of}");
        }
        let verdict = Verdict::of(&[(1.0, 2.0), (1.0, 1.0), (3.0, 2.0)]).unwrap();
        assert_eq!(verdict.below, (1, 3));
    }

    #[test]
    fn a_percentile_is_one_of_the_numbers() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(
            [0, 1, 50, 99, 100].map(|percent| percentile(&hundred, percent).copied()),
            [1, 1, 50, 99, 100].map(Some)
        );
        assert_eq!(percentile(&hundred[..10], 99), Some(&10));
        assert_eq!(percentile::<u64>(&[], 50), None);
    }
}
