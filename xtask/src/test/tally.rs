//! How many tests passed and failed, as cargo's test runner says.

use std::ops::AddAssign;

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
}

impl Tally {
    pub(super) const FAILURE: Self = Self { passed: 0, failed: 1 };

    /// One check that is not a test of cargo's.
    pub(super) const fn of(passed: bool) -> Self {
        if passed { Self { passed: 1, failed: 0 } } else { Self::FAILURE }
    }

    /// Reads a closing line of libtest: `test result: ok. 12 passed; 0 failed; ...`.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            let entry = counts.split(';').find_map(|entry| entry.trim().strip_suffix(word));
            entry.and_then(|number| number.trim().parse().ok())
        };
        Some(Self { passed: count(" passed")?, failed: count(" failed")? })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn closing_lines_are_counted_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(Tally::from_line(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(Tally::from_line("test tests::closing ... ok"), None);
        assert_eq!(Tally::from_line("test result: ok"), None);
    }
}
