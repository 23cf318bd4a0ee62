//! Whom this node asks, and what it says of itself: both from snapshots.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::probe::Said;
use lb_common::row::MemberId;

use crate::model::{Loaded, Member, Snapshot, Step};

/// This node as a member, and the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    /// Its id.
    pub id: MemberId,
    /// Its address, at which others ask it.
    pub address: IpAddr,
    /// The others' names and addresses.
    pub peers: BTreeMap<MemberId, (String, IpAddr)>,
}

impl Roster {
    /// All that may own flows by a snapshot, older generations included. `None` for a node that is no member: it has
    /// no id to ask by, and nobody asks it.
    #[must_use]
    pub fn of(snapshot: &Snapshot, node: &str) -> Option<Self> {
        let older = snapshot.generations.iter().flat_map(|generation| generation.members.values());
        // The newest last: its word counts.
        let all: BTreeMap<MemberId, &Member> =
            older.chain(snapshot.members.values()).map(|member| (member.id, member)).collect();
        let own = all.values().rev().find(|member| member.name == node)?;
        let (id, address) = (own.id, own.address);
        let others = all.into_iter().filter(|(_, member)| member.name != node);
        let peers = others.map(|(id, member)| (id, (member.name.clone(), member.address))).collect();
        Some(Self { id, address, peers })
    }
}

/// What this node says of itself with a snapshot in its kernel: no more than is there.
#[must_use]
pub fn said(snapshot: &Snapshot, loaded: Loaded, node: &str) -> Said {
    let is_draining = snapshot.members.get(node).is_some_and(|member| member.weight == 0);
    let needed = snapshot.generations.first().map_or(0, |oldest| oldest.number);
    // A step is acknowledged once the snapshot that has it is in the kernel.
    let newest = snapshot.generations.last().filter(|_| loaded.generation == snapshot.generation);
    let (acknowledged, step) = newest.map_or((0, 0), |newest| (newest.number, number(newest.step)));
    Said { is_draining, acknowledged, step, needed, ..Said::default() }
}

/// A step as probes spell it.
const fn number(step: Step) -> u8 {
    match step {
        Step::Learn => 1,
        Step::Switch => 2,
        Step::Settled => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Generation, Mark};

    fn member(id: u16, weight: u32) -> (String, Member) {
        let name = format!("edge-{id}");
        let address = IpAddr::from([192, 0, 2, id as u8]);
        (name.clone(), Member { name, id, address, weight })
    }

    fn snapshot() -> Snapshot {
        let generation = |number, step, members: &[(u16, u32)]| {
            let members = members.iter().map(|&(id, weight)| member(id, weight)).collect();
            Arc::new(Generation { number, step, members })
        };
        Snapshot {
            generation: 9,
            membership: Mark { number: 5, step: Step::Settled, oldest: 4 },
            members: [member(1, 100), member(2, 0)].into(),
            generations: vec![
                generation(4, Step::Settled, &[(2, 100), (3, 100)]),
                generation(5, Step::Switch, &[(1, 100), (2, 0)]),
            ],
            ..Snapshot::default()
        }
    }

    #[test]
    fn whoever_may_own_flows_is_asked() {
        let roster = Roster::of(&snapshot(), "edge-1").expect("it is a member");
        assert_eq!((roster.id, roster.address), (1, IpAddr::from([192, 0, 2, 1])));
        assert_eq!(roster.peers.keys().copied().collect::<Vec<_>>(), [2, 3]);
        let former = Roster::of(&snapshot(), "edge-3").expect("it may own flows of generation 4");
        assert_eq!(former.peers.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(Roster::of(&snapshot(), "edge-9"), None);
    }

    #[test]
    fn only_what_is_in_the_kernel_is_acknowledged() {
        let at = |generation| Loaded { generation, ..Loaded::default() };
        let current = said(&snapshot(), at(9), "edge-1");
        assert_eq!(
            (current.acknowledged, current.step, current.needed, current.is_draining),
            (5, 2, 4, false)
        );
        let behind = said(&snapshot(), at(8), "edge-2");
        assert_eq!((behind.acknowledged, behind.step, behind.needed, behind.is_draining), (0, 0, 4, true));
        assert_eq!(said(&Snapshot::default(), at(0), "edge-1"), Said::default());
    }
}
