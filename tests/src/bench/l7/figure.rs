//! What is measured, and in which unit.

use super::load::Measured;

/// A kind of value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Figure {
    pub(super) unit: &'static str,
    /// The best is the greatest.
    pub(super) more_is_better: bool,
}

/// The values of a turn, the one that matters first.
pub(super) type Figures = Vec<(Figure, f64)>;

impl Figure {
    pub(super) const CPU: Self = Self::less("µs CPU");
    pub(super) const RATE: Self = Self { unit: "req/s", more_is_better: true };
    pub(super) const P50: Self = Self::less("µs p50");
    pub(super) const P99: Self = Self::less("µs p99");
    pub(super) const BUSY: Self = Self::less("% core");
    pub(super) const MEMORY: Self = Self::less("MiB");
    /// Of one connection.
    pub(super) const EACH: Self = Self::less("KiB each");
    /// Of what is done with half the load.
    pub(super) const GOODPUT: Self = Self { unit: "% of the goodput", more_is_better: true };
    /// Of what it is with half the load.
    pub(super) const SLOWER: Self = Self::less("times the p99");
    /// Until a change is in effect.
    pub(super) const EFFECT: Self = Self::less("ms");
    /// Requests.
    pub(super) const FAILED: Self = Self::less("failed");

    const fn less(unit: &'static str) -> Self {
        Self { unit, more_is_better: false }
    }

    /// Whether a value is better than another.
    pub(super) fn is_better(self, one: f64, other: f64) -> bool {
        if self.more_is_better { one > other } else { one < other }
    }
}

/// Those of a turn under load.
pub(super) fn of_load(measured: &Measured, memory: f64) -> Figures {
    let Measured { cpu, p50, p99, rate, busy } = *measured;
    vec![
        (Figure::CPU, cpu),
        (Figure::RATE, rate),
        (Figure::P50, p50),
        (Figure::P99, p99),
        (Figure::BUSY, busy),
        (Figure::MEMORY, memory),
    ]
}
