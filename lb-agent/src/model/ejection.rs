//! When an endpoint that fails several times in a row is set aside, and for how long.

use std::fmt;
use std::time::Duration;

/// A backend's rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ejection {
    /// Failures in a row after which one is set aside.
    pub failures: u32,
    /// For so long the first time, and each further time for so much longer.
    pub step: Duration,
    /// And never for longer. Who has behaved for so long begins anew.
    pub longest: Duration,
    /// How many of a backend's endpoints may be set aside at one time, in percent: the others would have to do all
    /// of their work.
    pub share: usize,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, step: Duration::from_secs(10), longest: Duration::from_secs(300), share: 50 }
    }
}

impl Ejection {
    /// Nobody is.
    #[must_use]
    pub fn off() -> Self {
        Self { share: 0, ..Self::default() }
    }

    /// Whether one more of so many may be set aside.
    #[must_use]
    pub const fn has_room(&self, out: usize, count: usize) -> bool {
        (out + 1) * 100 <= count * self.share
    }
}

impl fmt::Display for Ejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failures, step, longest, share } = self;
        match share {
            0 => f.write_str("never"),
            _ => write!(
                f,
                "after {failures} failures in a row, for {step:?} and longer each time, up to {longest:?}; {share} % at most"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_so_many_are_out() {
        for (out, count, has_room) in [
            (0, 1, false),
            (0, 2, true),
            (1, 2, false),
            (0, 3, true),
            (1, 3, false),
            (1, 4, true),
            (2, 4, false),
        ] {
            assert_eq!(Ejection::default().has_room(out, count), has_room, "{out} of {count}");
            assert!(!Ejection::off().has_room(out, count), "{out} of {count}");
        }
    }
}
