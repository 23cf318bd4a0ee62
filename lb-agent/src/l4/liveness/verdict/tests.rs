//! Peers that answer, fall silent and flap, on a clock of the tests.

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_millis(10);
const ROUND_TRIP: Duration = Duration::from_millis(5);

/// A peer that is asked every 100 ms and looked at every 10 ms.
struct Asked {
    verdict: Verdict,
    start: Instant,
    now: Instant,
    sequence: u64,
}

impl Asked {
    fn new() -> Self {
        let now = Instant::now();
        Self { verdict: Verdict::new(now), start: now, now, sequence: 7 }
    }

    /// Lets time pass; `answers` says whether the ask of this moment will be answered.
    fn pass(&mut self, time: Duration, mut answers: impl FnMut() -> bool) -> Vec<(PeerState, Duration)> {
        let (begin, end) = (self.now, self.now + time);
        let mut turns = Vec::new();
        while self.now < end {
            let before = self.state();
            if (self.now - self.start).as_millis().is_multiple_of(100) {
                self.sequence += 1;
                self.verdict.asked(self.sequence, self.now);
                if answers() {
                    assert!(self.verdict.answered(self.sequence, self.now + ROUND_TRIP));
                }
            }
            self.now += STEP;
            self.verdict.look(self.now);
            if self.state() != before {
                turns.push((self.state(), self.now - begin));
            }
        }
        turns
    }

    fn state(&self) -> PeerState {
        self.verdict.state().0
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_silent_peer_is_down_within_300_ms() {
    let mut peer = Asked::new();
    assert_eq!(peer.pass(ms(1000), || true), [(PeerState::Up, STEP)]);
    let turns = peer.pass(ms(1000), || false);
    assert!(matches!(turns[..], [(PeerState::Down, after)] if after <= ms(310)), "{turns:?}");
}

#[test]
fn one_or_two_lost_answers_are_no_silence() {
    let mut peer = Asked::new();
    let mut count = 0;
    let turns = peer.pass(ms(10_000), || {
        count += 1;
        count % 3 == 1
    });
    assert_eq!(turns, [(PeerState::Up, STEP)]);
    assert!((60..=67).contains(&peer.verdict.lost), "{}", peer.verdict.lost);
    assert_eq!(peer.verdict.round_trip, Some(ROUND_TRIP));
}

#[test]
fn who_was_never_heard_has_two_seconds() {
    let mut peer = Asked::new();
    assert_eq!(peer.pass(ms(5000), || false), [(PeerState::Down, ms(2000))]);
    let turns = peer.pass(ms(3000), || true);
    assert!(
        matches!(turns[..], [(PeerState::Up, after)] if (ms(1000)..ms(1100)).contains(&after)),
        "{turns:?}"
    );
    assert_eq!(peer.verdict.flaps, 0, "it was not up before");
}

#[test]
fn who_flaps_has_to_answer_longer() {
    let mut peer = Asked::new();
    peer.pass(ms(1000), || true);
    for expected in [1, 2, 4, 8, 16, 30, 30] {
        peer.pass(ms(1000), || false);
        assert_eq!(peer.state(), PeerState::Down);
        let turns = peer.pass(ms(31_000), || true);
        let expected = ms(expected * 1000);
        let is_so =
            matches!(turns[..], [(PeerState::Up, after)] if after >= expected && after < expected + ms(100));
        assert!(is_so, "{expected:?}: {turns:?}");
    }
    // Flaps are forgotten one a minute.
    peer.pass(ms(7 * 61_000), || true);
    peer.pass(ms(1000), || false);
    let turns = peer.pass(ms(2000), || true);
    assert!(matches!(turns[..], [(PeerState::Up, after)] if after < ms(1100)), "{turns:?}");
}

#[test]
fn a_loss_on_the_way_back_begins_anew() {
    let mut peer = Asked::new();
    peer.pass(ms(1000), || true);
    peer.pass(ms(1000), || false);
    let mut count = 0;
    let turns = peer.pass(ms(5000), || {
        count += 1;
        count != 8
    });
    assert!(
        matches!(turns[..], [(PeerState::Up, after)] if (ms(1700)..ms(2000)).contains(&after)),
        "{turns:?}"
    );
}

#[test]
fn own_absence_is_nobodys_silence() {
    let mut peer = Asked::new();
    peer.pass(ms(1000), || true);
    peer.verdict.asked(100, peer.now);
    peer.now += ms(5000);
    peer.verdict.excuse(ms(5000));
    peer.verdict.look(peer.now);
    assert_eq!(peer.state(), PeerState::Up);
    assert!(peer.pass(ms(190), || false).is_empty());
    peer.pass(ms(200), || false);
    assert_eq!(peer.state(), PeerState::Down);
}

#[test]
fn answers_to_nothing_are_none() {
    let now = Instant::now();
    let mut verdict = Verdict::new(now);
    assert!(!verdict.answered(1, now));
    verdict.asked(1, now);
    assert!(verdict.answered(1, now) && !verdict.answered(1, now), "a replay");
}

proptest! {
    #[test]
    fn the_state_is_what_the_last_answers_say(answers in prop::collection::vec(any::<bool>(), 1..400)) {
        let mut peer = Asked::new();
        for at in 0..answers.len() {
            let before = peer.state();
            peer.pass(ms(100), || answers[at]);
            let last = |count: usize| at + 1 >= count && answers[at + 1 - count..=at].iter().all(|&answer| !answer);
            let has_answered = answers[..=at].contains(&true);
            // Four in a row are more than 300 ms of silence, whatever came before.
            prop_assert!(!has_answered || !last(4) || peer.state() == PeerState::Down);
            // Two in a row are not.
            let turned_down = before == PeerState::Up && peer.state() == PeerState::Down;
            prop_assert!(!turned_down || last(3));
            // Nobody comes up by silence, nor from down within a second of it.
            let turned_up = before == PeerState::Down && peer.state() == PeerState::Up;
            prop_assert!(!turned_up || (at >= 10 && answers[at - 10..at].iter().all(|&answer| answer)));
            let open = peer.verdict.open.len() as u64;
            prop_assert_eq!(peer.verdict.asked, answers[..=at].iter().filter(|&&answer| answer).count() as u64
                + peer.verdict.lost + open);
        }
    }
}
