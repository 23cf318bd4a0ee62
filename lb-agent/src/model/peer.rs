//! What this node sees of the other members: each node sees for itself, so this is no part of a snapshot.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What a member says of itself, and of this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Whether it is draining: it takes no new flows.
    pub is_draining: bool,
    /// The fingerprint of the membership by which its kernel opens flows; 0 for none.
    pub in_force: u32,
    /// The fingerprints of the former memberships that its flows need, with 0 where there are fewer; `None` while it
    /// does not know them all.
    pub needed: Option<[u32; 3]>,
    /// How many more flows it can take; `u32::MAX` where it knows no bound.
    pub room: u32,
    /// Bytes of a client's largest packet that each of its ways to other members takes; 0 where it does not know.
    pub inner_mtu: u16,
    /// The fingerprint of the flow key by which it speaks: the one in force there.
    pub key: u32,
    /// Whether this node is down for it.
    pub takes_for_down: bool,
    /// Whether flows that were its own to take may live elsewhere still.
    pub was_away: bool,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            is_draining: false,
            in_force: 0,
            needed: None,
            room: u32::MAX,
            inner_mtu: 0,
            key: 0,
            takes_for_down: false,
            was_away: false,
        }
    }
}

/// How a peer answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerState {
    /// It has not answered yet, and has time to: it may have just joined.
    Unheard,
    /// It answers.
    Up,
    /// It does not answer, or not long enough yet: no new flows go there, unless this node is to blame.
    Down,
}

impl PeerState {
    /// As the label of a metric.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unheard => "unheard",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Another member as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u16,
    /// How it answers.
    pub state: PeerState,
    /// Since when.
    pub since: Instant,
    /// When it answered last; `None` if never.
    pub answered: Option<Instant>,
    /// How long its last answer took.
    pub round_trip: Option<Duration>,
    /// Probes that were sent to it.
    pub asked: u64,
    /// Probes that it did not answer.
    pub lost: u64,
    /// How often it went down after it had been up.
    pub flaps: u64,
}

impl Peer {
    /// How it answers, in words, and what follows if it is passed over for that. Who is cut off itself passes over nobody.
    #[must_use]
    pub fn words(&self, is_passed_over: bool) -> String {
        let Self { name, state, since, answered, .. } = self;
        let past = |since: Instant| match since.elapsed() {
            time if time < Duration::from_secs(1) => format!("{} ms", time.as_millis()),
            time => format!("{} s", time.as_secs()),
        };
        let so = if is_passed_over { format!(": {NO_NEW_FLOWS_THERE}") } else { String::new() };
        match (state, answered) {
            (PeerState::Up, _) => format!("{name} answers"),
            (PeerState::Unheard, _) => format!("{name} has not answered yet"),
            (PeerState::Down, None) => format!("{name} has never answered{so}"),
            (PeerState::Down, Some(at)) if at.elapsed() < ANSWERS_AGAIN && is_passed_over => {
                format!("{name} answers again, down for {}{so} yet", past(*since))
            }
            (PeerState::Down, Some(at)) if at.elapsed() < ANSWERS_AGAIN => format!("{name} answers again"),
            (PeerState::Down, Some(at)) => format!("{name} is silent since {}{so}", past(*at)),
        }
    }
}

/// What it means that a member is down.
pub const NO_NEW_FLOWS_THERE: &str = "no new flows go there";

/// Who is down and answered within this is on its way back.
const ANSWERS_AGAIN: Duration = Duration::from_millis(300);

/// What this node sees of the other members at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peers {
    /// Each of them, by id.
    pub all: Vec<Peer>,
    /// The stage of this agent that is stuck, for which it does not answer others.
    pub stuck: Option<String>,
}

impl Peers {
    /// The ids of those that are down.
    #[must_use]
    pub fn down(&self) -> BTreeSet<u16> {
        self.all.iter().filter(|peer| peer.state == PeerState::Down).map(|peer| peer.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_in_words() {
        let now = Instant::now();
        let before = now.checked_sub(Duration::from_secs(3));
        for (state, answered, words) in [
            (PeerState::Up, Some(now), "edge-2 answers"),
            (PeerState::Unheard, None, "edge-2 has not answered yet"),
            (PeerState::Down, None, "edge-2 has never answered: no new flows go there"),
            (PeerState::Down, before, "edge-2 is silent since 3 s: no new flows go there"),
            (PeerState::Down, Some(now), "edge-2 answers again, down for 3 s: no new flows go there yet"),
        ] {
            let peer = Peer {
                name: "edge-2".to_owned(),
                id: 2,
                state,
                since: before.unwrap_or(now),
                answered,
                round_trip: None,
                asked: 0,
                lost: 0,
                flaps: 0,
            };
            assert_eq!(peer.words(true), words);
            let how = words.split([':', ',']).next().expect("it begins with it");
            assert_eq!(peer.words(false), how, "of one that is cut off itself");
            let answered = now.checked_sub(ANSWERS_AGAIN);
            let words = Peer { state: PeerState::Down, answered, ..peer }.words(true);
            assert!(words.contains("is silent since ") && !words.contains(" 0 s"), "{words}");
        }
    }
}
