//! How many tests passed and failed.

use std::fmt;
use std::ops::AddAssign;

/// A count of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) passed: usize,
    pub(super) failed: usize,
}

impl Outcome {
    /// Of one check.
    pub(super) fn of(good: bool) -> Self {
        Self {
            passed: usize::from(good),
            failed: usize::from(!good),
        }
    }

    /// The sum of the `test result:` lines of libtest; `None` when there is none, as when the
    /// program crashed.
    pub(super) fn parse(output: &str) -> Option<Self> {
        let mut sum = None;
        for line in output
            .lines()
            .filter_map(|line| line.split_once("test result: ").map(|(_, rest)| rest))
        {
            let count = |what: &str| {
                line.split([';', '.'])
                    .find_map(|part| part.trim().strip_suffix(what))
                    .and_then(|number| number.trim().parse().ok())
            };
            if let (Some(passed), Some(failed)) = (count(" passed"), count(" failed")) {
                *sum.get_or_insert_with(Self::default) += Self { passed, failed };
            }
        }
        sum
    }
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_of_libtest_are_added() {
        let output = "running 3 tests\n..F\ntest result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.01s\n\
                      test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        assert_eq!(Outcome::parse(output), Some(Outcome { passed: 7, failed: 1 }));
    }

    #[test]
    fn a_program_that_crashed_has_no_result() {
        assert_eq!(Outcome::parse("running 3 tests\ntest a ... ok\n"), None);
    }

    #[test]
    fn the_closing_line() {
        assert_eq!(
            Outcome {
                passed: 12,
                failed: 3
            }
            .to_string(),
            "12 passed, 3 failed"
        );
    }
}
