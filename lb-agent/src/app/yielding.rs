//! A drain of which the cluster cannot hear: while the API server is away, nobody takes this node out of the members. After a
//! while it gives its new flows up by itself. Its packet path opens none without signs of life, and the other members,
//! whose probes it leaves unanswered, open them in its place. What it holds is found here as ever, behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::{Duration, Instant};

use lb_common::row::MemberId;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::sleep_until;
use tracing::info;

use crate::model::{Draining, Following, Heard, History, Kind};

/// The API server may be away for a moment only.
const PATIENCE: Duration = Duration::from_secs(3);

/// Once it is back, the leader has so long: it does it better, for others learn of the drain first.
const GRACE: Duration = Duration::from_secs(15);

/// As many memberships as may have flows: with more, rows have no place for one that opens nothing.
const MOST_MEMBERSHIPS: usize = 2;

/// What it is decided by.
pub(super) struct Yielding {
    pub(super) node: String,
    pub(super) told: Receiver<Option<Draining>>,
    pub(super) history: Receiver<History>,
    pub(super) following: Receiver<Following>,
    /// Members that do not answer.
    pub(super) down: Receiver<BTreeSet<MemberId>>,
    /// What members say of themselves.
    pub(super) heard: Receiver<BTreeMap<MemberId, Heard>>,
}

/// The same at a moment.
#[derive(Clone, Copy, Debug)]
struct Seen {
    drains: bool,
    /// New flows open here, as all nodes have agreed.
    opens: bool,
    /// Others can take them: they answer, and do not drain themselves.
    has_others: bool,
    /// Rows have a place for a member that opens nothing.
    has_room: bool,
    is_away: bool,
}

impl Seen {
    /// What comes next, unless something changes first, and when.
    const fn next(self, has_yielded: bool) -> Option<(bool, Duration)> {
        if !has_yielded {
            let is_due = self.drains && self.opens && self.has_others && self.has_room && self.is_away;
            return if is_due { Some((true, PATIENCE)) } else { None };
        }
        match self {
            Self { drains: false, .. } | Self { opens: false, .. } => Some((false, Duration::ZERO)),
            // Whom others have left alone with the clients serves.
            Self { has_others: false, .. } => Some((false, Duration::ZERO)),
            Self { is_away: false, .. } => Some((false, GRACE)),
            _ => None,
        }
    }
}

/// What is to come, and when.
#[derive(Debug, Default)]
struct Pending(Option<(bool, Instant)>);

impl Pending {
    /// With what comes next as it is seen now: what was to come already is not put off.
    fn follow(&mut self, next: Option<(bool, Duration)>, now: Instant) {
        let before = self.0;
        self.0 = next.map(|(to, time)| match before {
            Some((same, at)) if same == to => (to, at.min(now + time)),
            _ => (to, now + time),
        });
    }

    /// Until it comes; never, if nothing does.
    async fn come(&self) -> bool {
        let Some((to, at)) = self.0 else { return std::future::pending().await };
        sleep_until(at.into()).await;
        to
    }
}

impl Yielding {
    /// Says whether the node has given its new flows up.
    pub(super) async fn follow(mut self, yielded: &Sender<bool>) -> Infallible {
        let mut pending = Pending::default();
        loop {
            let has_yielded = *yielded.borrow();
            pending.follow(self.look().next(has_yielded), Instant::now());
            tokio::select! {
                yields = pending.come() => {
                    tell(yields);
                    yielded.send_replace(yields);
                }
                Ok(()) = self.told.changed() => {}
                Ok(()) = self.history.changed() => {}
                Ok(()) = self.following.changed() => {}
                Ok(()) = self.down.changed() => {}
                Ok(()) = self.heard.changed() => {}
            }
        }
    }

    fn look(&mut self) -> Seen {
        let drains = self.told.borrow_and_update().is_some();
        let following = self.following.borrow_and_update();
        let mut histories =
            following.watches.iter().filter(|watch| watch.name == Kind::EdgeMembership.as_str());
        let is_away = histories.any(|watch| watch.condition.is_failure());
        let (down, heard) = (self.down.borrow_and_update(), self.heard.borrow_and_update());
        let history = self.history.borrow_and_update();
        Seen {
            drains,
            opens: history.opens_at(&self.node),
            has_others: history
                .openers_beside(&self.node)
                .any(|member| takes_flows(member.id, &down, &heard)),
            has_room: has_room(&history),
            is_away,
        }
    }
}

fn tell(yields: bool) {
    if yields {
        info!("the API server is away: this node gives up its new flows by itself, and others open them");
    } else {
        info!("new flows open again as the members have agreed");
    }
}

/// Whether it answers, and does not drain itself: of that, the cluster may not have heard either.
fn takes_flows(id: MemberId, down: &BTreeSet<MemberId>, heard: &BTreeMap<MemberId, Heard>) -> bool {
    !down.contains(&id) && heard.get(&id).is_some_and(|said| !said.is_draining)
}

/// Whether rows have a place for one that opens nothing.
fn has_room(history: &History) -> bool {
    let is_of_one_key = history.agreed.windows(2).all(|pair| pair[0].key == pair[1].key);
    is_of_one_key && history.agreed.len() <= MOST_MEMBERSHIPS
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use super::*;
    use crate::model::{Generation, Member, Step};

    const DUE: Seen = Seen { drains: true, opens: true, has_others: true, has_room: true, is_away: true };

    #[test]
    fn only_a_drain_that_cannot_be_told_of_is_one_of_its_own() {
        assert_eq!(DUE.next(false), Some((true, PATIENCE)));
        for seen in [
            Seen { drains: false, ..DUE },
            Seen { opens: false, ..DUE },
            Seen { has_others: false, ..DUE },
            Seen { has_room: false, ..DUE },
            Seen { is_away: false, ..DUE },
        ] {
            assert_eq!(seen.next(false), None, "{seen:?}");
        }
    }

    #[test]
    fn it_ends_with_the_drain_or_by_the_leaders_word() {
        assert_eq!(DUE.next(true), None);
        assert_eq!(Seen { drains: false, ..DUE }.next(true), Some((false, Duration::ZERO)));
        assert_eq!(Seen { opens: false, is_away: false, ..DUE }.next(true), Some((false, Duration::ZERO)));
        assert_eq!(Seen { is_away: false, ..DUE }.next(true), Some((false, GRACE)));
        assert_eq!(Seen { has_room: false, ..DUE }.next(true), None, "others find what opened there");
        let alone = Seen { has_others: false, ..DUE };
        assert_eq!(alone.next(true), Some((false, Duration::ZERO)), "nobody else would serve");
    }

    #[test]
    fn who_is_silent_or_drains_takes_no_flows() {
        let drains = Heard { is_draining: true, ..Heard::default() };
        let heard = BTreeMap::from([(1, Heard::default()), (2, drains), (3, Heard::default())]);
        let takes = |id| takes_flows(id, &BTreeSet::from([3]), &heard);
        assert_eq!([1, 2, 3, 4].map(takes), [true, false, false, false]);
    }

    fn history(keys: &[u32]) -> History {
        let member = |name: &str, id| {
            let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
            (name.to_owned(), Member { name: name.to_owned(), id, address, weight: 100 })
        };
        let members = BTreeMap::from([member("a", 1), member("b", 2)]);
        let generation = |(number, key): (u64, &u32)| {
            let generation = Generation::new(number, Step::Settled, members.clone());
            Arc::new(Generation { key: Some(*key), ..generation })
        };
        History { agreed: (1..).zip(keys).map(generation).collect(), ..History::default() }
    }

    #[test]
    fn a_row_has_a_place_for_it_beside_two_memberships_of_one_key() {
        for (keys, expected) in [(&[1][..], true), (&[1, 1], true), (&[1, 1, 1], false), (&[1, 2], false)] {
            assert_eq!(has_room(&history(keys)), expected, "{keys:?}");
        }
    }

    #[test]
    fn what_is_to_come_is_not_put_off_by_what_is_told_meanwhile() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut pending = Pending::default();
        for second in 0..3 {
            pending.follow(DUE.next(false), at(second));
            assert_eq!(pending.0, Some((true, began + PATIENCE)));
        }
        pending.follow(Seen { is_away: false, ..DUE }.next(false), at(3));
        assert_eq!(pending.0, None, "it was back in time");
        pending.follow(DUE.next(false), at(4));
        assert_eq!(pending.0, Some((true, at(4) + PATIENCE)));
        pending.follow(Seen { is_away: false, ..DUE }.next(true), at(10));
        assert_eq!(pending.0, Some((false, at(10) + GRACE)));
        pending.follow(Seen { drains: false, ..DUE }.next(true), at(11));
        assert_eq!(pending.0, Some((false, at(11))), "it is called off");
    }
}
