//! A node whose packet path went without its agent opens no flows until rows lead to what others opened meanwhile: how
//! long. Pure, but for what it tells.

use std::time::Duration;

use super::super::liveness::Missed;

/// In any case no longer than this, in which rows that could not be brought into the kernel are tried twice more. They
/// may never come: then each node on which an agent starts anew would open nothing, until none was left that did.
const LONGEST: Duration = Duration::from_secs(10);

/// What was missed, as the turn under way knows it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    noticed: Option<Duration>,
}

/// Why it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Rows lead there.
    Led,
    /// It took too long.
    Late,
}

impl Waiting {
    /// A turn begins, for which this was noticed.
    pub(super) fn begin(&mut self, noticed: Option<Duration>) {
        self.noticed = noticed;
    }

    /// Whether rows are to lead to what others opened.
    pub(super) fn is_on(&self) -> bool {
        self.noticed.is_some()
    }

    /// The turn's rows are in the kernel, or are not. What was noticed since it began is for the next one.
    pub(super) fn end(&mut self, leads: bool, missed: &Missed, now: Duration) -> Option<(End, Duration)> {
        let noticed = self.noticed?;
        let waited = now.saturating_sub(noticed);
        let end = match leads {
            true => End::Led,
            false if waited >= LONGEST => End::Late,
            false => return None,
        };
        self.noticed = None;
        missed.end(noticed).then_some((end, waited))
    }

    /// When time alone ends it.
    pub(super) fn due(&self) -> Option<Duration> {
        self.noticed.map(|noticed| noticed + LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn noticed() -> (Missed, Waiting) {
        let (missed, mut waiting) = (Missed::default(), Waiting::default());
        missed.notice(NOW);
        waiting.begin(*missed.noticed().borrow());
        (missed, waiting)
    }

    #[test]
    fn it_ends_when_rows_lead_there_and_after_a_while_in_any_case() {
        for (leads, millis, expected) in [
            (true, 3, Some(End::Led)),
            (false, 3, None),
            // The rows of the agent before have gone by then.
            (false, 2_600, None),
            (true, 2_600, Some(End::Led)),
            (false, 9_999, None),
            (false, 10_000, Some(End::Late)),
            (true, 60_000, Some(End::Led)),
        ] {
            let (missed, mut waiting) = noticed();
            let end = waiting.end(leads, &missed, NOW + Duration::from_millis(millis)).map(|(end, _)| end);
            assert_eq!(end, expected, "{leads} after {millis} ms");
            let is_over = missed.noticed().borrow().is_none();
            assert_eq!((is_over, waiting.is_on()), (end.is_some(), end.is_none()));
            assert_eq!(waiting.due(), end.is_none().then_some(NOW + LONGEST));
        }
    }

    #[test]
    fn a_turn_ends_only_what_was_noticed_before_it_began() {
        let (missed, mut waiting) = noticed();
        let again = NOW + Duration::from_secs(2);
        missed.notice(again);
        assert_eq!(waiting.end(true, &missed, again), None, "more has opened meanwhile");
        assert_eq!(waiting.due(), None, "time alone does not wake it for what is past");
        waiting.begin(*missed.noticed().borrow());
        assert!(waiting.is_on());
        assert_eq!(waiting.end(true, &missed, again), Some((End::Led, Duration::ZERO)));
        waiting.begin(*missed.noticed().borrow());
        assert!(!waiting.is_on());
    }

    #[test]
    fn a_turn_of_which_nothing_was_missed_ends_nothing() {
        let (missed, mut waiting) = (Missed::default(), Waiting::default());
        waiting.begin(*missed.noticed().borrow());
        missed.notice(NOW);
        assert_eq!(waiting.end(true, &missed, NOW), None);
        assert!(missed.noticed().borrow().is_some(), "its rows were made without it");
    }
}
