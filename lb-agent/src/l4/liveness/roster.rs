//! Whom this node asks, and what it says of itself: both from what its kernel holds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::probe::Said;
use lb_common::row::{MemberId, NO_MEMBER};

use crate::model::{History, Loaded, Member};

/// This node, as a member or as a first hop alone, and the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    /// Its id; `NO_MEMBER` of one that asks, and is asked by nobody.
    pub id: MemberId,
    /// Its address, at which others ask it; unspecified for one that is asked by nobody.
    pub address: IpAddr,
    /// The others' names and addresses.
    pub peers: BTreeMap<MemberId, (String, IpAddr)>,
}

impl Roster {
    /// All that may own flows, by the memberships of this node's rows. A node that is none of them is a first hop all the
    /// same, and sends no flow to a member that is dead. `None` if there is nobody.
    #[must_use]
    pub fn of(history: &History, node: &str) -> Option<Self> {
        // The newest last: its word counts.
        let all: BTreeMap<MemberId, &Member> = history.members().map(|member| (member.id, member)).collect();
        let own = all.values().rev().find(|member| member.name == node);
        let (id, address) = match own {
            Some(own) => (own.id, own.address),
            None => (NO_MEMBER, unspecified(all.values().next()?.address)),
        };
        let others = all.into_iter().filter(|(_, member)| member.name != node);
        let peers = others.map(|(id, member)| (id, (member.name.clone(), member.address))).collect();
        Some(Self { id, address, peers })
    }
}

/// Any address of the same family.
fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// What this node says of itself: of memberships, no more than is in its kernel.
#[must_use]
pub fn said(loaded: Loaded, draining: bool) -> Said {
    let Loaded { in_force, former, was_away, inner_mtu, .. } = loaded;
    Said { is_draining: draining, in_force, needed: former, was_away, inner_mtu, ..Said::default() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Generation, Step};

    fn history() -> History {
        let member = |&id: &u16| {
            let name = format!("edge-{id}");
            let address = IpAddr::from([192, 0, 2, id as u8]);
            (name.clone(), Member { name, id, address, weight: 100 })
        };
        let generation = |number, step, ids: &[u16]| {
            Arc::new(Generation::new(number, step, ids.iter().map(member).collect()))
        };
        History {
            agreed: vec![generation(4, Step::Settled, &[2, 3]), generation(5, Step::Switch, &[1, 2])],
            ..History::default()
        }
    }

    #[test]
    fn whoever_may_own_flows_is_asked() {
        let roster = Roster::of(&history(), "edge-1").expect("it is a member");
        assert_eq!((roster.id, roster.address), (1, IpAddr::from([192, 0, 2, 1])));
        assert_eq!(roster.peers.keys().copied().collect::<Vec<_>>(), [2, 3]);
        let former = Roster::of(&history(), "edge-3").expect("it may own flows of generation 4");
        assert_eq!(former.peers.keys().copied().collect::<Vec<_>>(), [1, 2]);
        let other = Roster::of(&history(), "edge-9").expect("it is a first hop");
        assert_eq!((other.id, other.address), (NO_MEMBER, IpAddr::from([0, 0, 0, 0])));
        assert_eq!(other.peers.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(Roster::of(&History::default(), "edge-9"), None, "there is nobody");
    }

    #[test]
    fn what_is_in_the_kernel_is_said() {
        let loaded = Loaded {
            in_force: 7,
            former: Some([5, 0, 0]),
            was_away: true,
            inner_mtu: 1252,
            ..Loaded::default()
        };
        let expected = Said {
            is_draining: true,
            in_force: 7,
            needed: Some([5, 0, 0]),
            was_away: true,
            inner_mtu: 1252,
            ..Said::default()
        };
        assert_eq!(said(loaded, true), expected);
        assert_eq!(said(Loaded::default(), false), Said::default());
    }
}
