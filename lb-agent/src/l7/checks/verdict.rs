//! Results of checks, one after the other -> whether an endpoint is well.

use crate::model::HealthCheck;

/// An endpoint's.
#[derive(Default)]
pub(super) struct Verdict {
    is_known: bool,
    is_failing: bool,
    /// Results in a row that speak against it.
    against: u32,
}

impl Verdict {
    /// Whether it fails after another result. The first one decides alone: an endpoint that has never been well is
    /// not to get requests until it has failed a few times.
    pub(super) fn after(&mut self, passed: bool, rules: &HealthCheck) -> bool {
        let enough = if self.is_failing { rules.healthy } else { rules.unhealthy };
        if passed != self.is_failing {
            self.against = 0;
        } else {
            self.against += 1;
            if self.against >= enough || !self.is_known {
                self.is_failing = !self.is_failing;
                self.against = 0;
            }
        }
        self.is_known = true;
        self.is_failing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_results_in_a_row_count_but_for_the_first() {
        let second = Duration::from_secs(1);
        let rules = HealthCheck {
            path: "/".parse().expect("a path"),
            host: None,
            interval: second,
            timeout: second,
            healthy: 2,
            unhealthy: 3,
            status: 200..=399,
        };
        for (results, failing) in
            [("--+-++", "!!!!!."), ("+--+---", "......!"), ("+---++-", "...!!.."), ("++", "..")]
        {
            let mut verdict = Verdict::default();
            let found = results.chars().map(|result| verdict.after(result == '+', &rules));
            let found: String = found.map(|is_failing| if is_failing { '!' } else { '.' }).collect();
            assert_eq!(found, failing, "{results}");
        }
    }
}
