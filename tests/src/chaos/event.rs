//! What an event is, and the list of all.

use anyhow::Result;

use super::events::{agent, drain, key, membership, node, router};
use super::stage::{Mode, Played, Stage};

/// The router's next hops before an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hops {
    /// All nodes.
    All,
    /// The nodes that are members.
    Members,
    /// All nodes but the last.
    AllButLast,
    /// All nodes that say that they may attract packets.
    Attracting,
    /// One of those: the first, until another one is elected.
    Elected,
}

/// Something that happens while connections live.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Nodes of the lab.
    pub nodes: u8,
    /// Nodes that are no members at first.
    pub out: &'static [usize],
    /// The router's next hops at first.
    pub hops: Hops,
    /// What breaks connections in it.
    pub baselines: &'static [Mode],
    /// How far down rows flows must be found in it: 1 where their openers have them all.
    pub places: u8,
    /// Plays it.
    pub play: fn(&mut Stage) -> Result<Played>,
}

impl Event {
    /// The event of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|event| event.name == name)
    }
}

/// The usual lab.
const THREE: Event = Event {
    name: "",
    about: "",
    nodes: 3,
    out: &[],
    hops: Hops::All,
    baselines: &[],
    places: 1,
    play: |_| Ok(Played::now()),
};

/// Each packet of a flow that comes to another node breaks it.
const ECMP: &[Mode] = &[Mode::RandomEcmp];

/// Each flow whose bucket opens elsewhere breaks, too.
const BOTH: &[Mode] = &[Mode::ConsistentHashing, Mode::RandomEcmp];

/// All events, in the order in which `--all` plays them.
pub const ALL: &[Event] = &[
    Event {
        name: "router-rehash",
        about: "a next hop is added to the router's ECMP, its hash seed changes, then its policy",
        hops: Hops::AllButLast,
        baselines: ECMP,
        play: router::rehash,
        ..THREE
    },
    Event {
        name: "announcements-moved",
        about: "the node that attracts all packets is another one from now on",
        hops: Hops::Elected,
        baselines: ECMP,
        play: router::announcements_moved,
        ..THREE
    },
    Event {
        name: "node-added",
        about: "a fourth node becomes a member and a next hop",
        nodes: 4,
        out: &[3],
        hops: Hops::Members,
        baselines: BOTH,
        places: 2,
        play: membership::node_added,
    },
    Event {
        name: "node-drained",
        about: "a node is told to drain, and serves until its deadline is over",
        hops: Hops::Attracting,
        baselines: BOTH,
        places: 2,
        play: drain::one,
        ..THREE
    },
    Event {
        name: "two-drained",
        about: "two of four nodes are told to drain at once",
        nodes: 4,
        hops: Hops::Attracting,
        baselines: BOTH,
        places: 2,
        play: drain::two,
        ..THREE
    },
    Event {
        name: "nodes-replaced",
        about: "each node in its turn drains, and another machine takes its place",
        hops: Hops::Attracting,
        baselines: &[Mode::ConsistentHashing],
        places: 2,
        play: drain::replaced,
        ..THREE
    },
    Event {
        name: "many-changes",
        about: "5 changes of membership in 30 s, with 6 members at any time",
        nodes: 8,
        out: &[6, 7],
        baselines: &[Mode::ConsistentHashing],
        places: 3,
        play: membership::many_changes,
        ..THREE
    },
    Event {
        name: "key-rolled",
        about: "all nodes are given another flow key, one after the other",
        baselines: &[Mode::ConsistentHashing],
        places: 2,
        play: key::rolled,
        ..THREE
    },
    Event {
        name: "node-killed",
        about: "power cut: a node's link goes down, and with it all that it had",
        baselines: ECMP,
        play: node::killed,
        ..THREE
    },
    Event {
        name: "killed-while-draining",
        about: "two of six nodes drain, one after the other; then a power cut of a third one",
        nodes: 6,
        hops: Hops::Attracting,
        baselines: &[Mode::ConsistentHashing],
        places: 3,
        play: drain::then_killed,
        ..THREE
    },
    Event {
        name: "node-stalled",
        about: "a node's cable is out for 2 s",
        places: 2,
        play: node::stalled,
        ..THREE
    },
    Event {
        name: "agent-stalled",
        about: "an agent stands still for 2 s",
        places: 2,
        play: agent::stalled,
        ..THREE
    },
    Event {
        name: "agent-killed",
        about: "kill -9 of an agent; its kernel goes on",
        play: agent::killed,
        ..THREE
    },
    Event {
        name: "agent-restarted",
        about: "the next agent takes over on a node, and the one before is stopped",
        baselines: ECMP,
        play: agent::restarted,
        ..THREE
    },
    Event {
        name: "agent-upgraded",
        about: "the next agents, on node after node, with another program for packets",
        baselines: ECMP,
        play: agent::upgraded,
        ..THREE
    },
    Event {
        name: "layout-upgraded",
        about: "the same, and the programs' maps are laid out otherwise",
        baselines: ECMP,
        play: agent::upgraded_to_another_layout,
        ..THREE
    },
    Event {
        name: "upgrade-under-flood",
        about: "another program on one node under a SYN flood from random sources",
        play: agent::upgraded_under_flood,
        ..THREE
    },
    Event {
        name: "new-process-dies",
        about: "the next agent is killed half-way, three times; the one before goes on",
        play: agent::next_one_dies,
        ..THREE
    },
    Event {
        name: "rollback",
        about: "an agent with other program and maps takes over, and the former version from it",
        baselines: ECMP,
        play: agent::rolled_back,
        ..THREE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_out_are_the_last_ones() {
        for event in ALL {
            let nodes = usize::from(event.nodes);
            assert!(event.out.iter().eq((nodes - event.out.len()..nodes).collect::<Vec<_>>().iter()));
        }
    }
}
