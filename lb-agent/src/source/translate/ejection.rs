//! Our annotation of a Service -> when its endpoints are set aside because they fail.

use super::listed::{Listed, positive};
use crate::model::Ejection;

const EJECTION: &str = "failures, time, longest, share";

/// What it says, or what is wrong with it.
pub(super) fn ejection(text: &str) -> Result<Ejection, String> {
    if text == "off" {
        return Ok(Ejection::off());
    }
    let (mut listed, usual) = (Listed::read(text)?, Ejection::default());
    let step = listed.time("time")?.unwrap_or(usual.step);
    let rules = Ejection {
        failures: listed.count("failures")?.unwrap_or(usual.failures),
        step,
        longest: listed.time("longest")?.unwrap_or(usual.longest.max(step)),
        share: listed.parsed("share", percent, "a number from 1 to 100")?.unwrap_or(usual.share),
    };
    listed.end(EJECTION)?;
    if rules.step > rules.longest { Err("time is more than longest".to_owned()) } else { Ok(rules) }
}

fn percent(text: &str) -> Option<usize> {
    positive(text).filter(|share| *share <= 100)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_a_list_or_off() {
        let (second, usual) = (Duration::from_secs, Ejection::default());
        for (text, expected) in [
            ("off", Ejection { share: 0, ..usual }),
            ("failures=20", Ejection { failures: 20, ..usual }),
            (
                "failures=3, time=1s, longest=1m, share=10",
                Ejection { failures: 3, step: second(1), longest: second(60), share: 10 },
            ),
            ("time=10m", Ejection { step: second(600), longest: second(600), ..usual }),
        ] {
            assert_eq!(ejection(text), Ok(expected), "{text}");
        }
        for (text, wrong) in [
            ("on", "\"on\" is not of the form"),
            ("failures=0", "failures: \"0\" is not a number from 1"),
            ("share=101", "share: \"101\" is not a number from 1 to 100"),
            ("time=1m, longest=1s", "time is more than longest"),
            ("times=3", "\"times\" is none of failures, time"),
        ] {
            let error = ejection(text);
            assert!(error.as_ref().is_err_and(|error| error.contains(wrong)), "{text}: {error:?}");
        }
    }
}
