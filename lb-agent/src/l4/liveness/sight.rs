//! Whom this node can judge: while it is cut off, the silence of all others says nothing of them. Pure.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lb_common::row::MemberId;

use crate::model::{Peer, PeerState, Peers};

/// A node that is alone no more gives the others so long to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who answered within this is there, though it may be down until it has answered for a while.
const ANSWERS: Duration = Duration::from_secs(1);

/// Whether this node is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Link {
    /// It is not, and never was.
    #[default]
    There,
    /// It is.
    CutOff,
    /// It was until then.
    Back(Instant),
}

/// The members that are down for this node's rows. None while it is cut off, nor are those that are on their way back
/// with it: they went down at once because of its own link, and to open their flows elsewhere would be to open them
/// beside them.
pub(super) fn down(peers: &Peers, link: Link, now: Instant) -> BTreeSet<MemberId> {
    match link {
        Link::There => peers.down(),
        Link::CutOff => BTreeSet::new(),
        Link::Back(at) => {
            let down = peers.all.iter().filter(|peer| peer.state == PeerState::Down);
            down.filter(|peer| !is_coming_back(peer, at, now)).map(|peer| peer.id).collect()
        }
    }
}

/// Whether it is still as it was when the link was back, and has the time to answer or does.
fn is_coming_back(peer: &Peer, at: Instant, now: Instant) -> bool {
    let within = |since: Instant, time| now.saturating_duration_since(since) < time;
    let answers = peer.answered.is_some_and(|answered| within(answered, ANSWERS));
    peer.since <= at && (answers || within(at, PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: MemberId, state: PeerState, since: Instant, answered: Instant) -> Peer {
        let name = format!("edge-{id}");
        let answered = Some(answered);
        Peer { name, id, state, since, answered, round_trip: None, asked: 0, lost: 0, flaps: 0 }
    }

    #[test]
    fn who_is_cut_off_judges_nobody_until_they_are_up_or_have_had_the_time() {
        use PeerState::{Down, Up};
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        // Cut off at 0, down at 300, back at 5,000.
        let dead = |id| peer(id, Down, at(300), at(0));
        let here = |id, state, since, answered| peer(id, state, at(since), at(answered));
        let (both, back) = ([dead(2), dead(3)], Link::Back(at(5000)));
        for (peers, link, now, expected) in [
            (both.clone(), Link::There, 400, &[2, 3][..]),
            (both.clone(), Link::CutOff, 4900, &[]),
            (both.clone(), back, 5100, &[]),
            (both.clone(), back, 7000, &[2, 3]),
            // One answers, and is down for some time yet, as it was before.
            ([here(2, Down, 300, 9900), dead(3)], back, 10_000, &[3]),
            ([here(2, Down, 300, 9900), dead(3)], back, 12_000, &[2, 3]),
            ([here(2, Up, 6000, 6400), dead(3)], back, 6500, &[]),
            ([here(2, Up, 6000, 6900), dead(3)], back, 7000, &[3]),
            // It fell silent again, and that was nobody's link.
            ([here(2, Down, 9900, 9600), dead(3)], back, 10_000, &[2, 3]),
        ] {
            let peers = Peers { all: peers.into(), stuck: None };
            assert_eq!(down(&peers, link, at(now)), expected.iter().copied().collect(), "{link:?} at {now}");
        }
    }
}
