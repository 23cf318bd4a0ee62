//! What rows are made of, what members say that their flows need, and what waits.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::flow_keys::FlowKeysReport;
use super::super::live::Live;
use crate::model::{Generation, Heard, Holdings};

/// The memberships of this node.
#[derive(Debug, Serialize)]
pub(super) struct MembershipsDump {
    /// Those that all nodes agree on, the oldest first.
    agreed: Vec<MembershipDump>,
    /// What was in force while members were down that are back, the oldest first.
    absences: Vec<MembershipDump>,
    /// The node's flow keys.
    flow_keys: FlowKeysReport,
    /// What the next change waits for, if it has to wait.
    queued: Option<String>,
    /// What this node's own connections need; `null` while they are not counted.
    holdings: Option<HoldingsDump>,
    /// What other members say, by their ids.
    said: BTreeMap<u16, SaidDump>,
}

#[derive(Debug, Serialize)]
struct MembershipDump {
    /// Without a history for all, each node counts for itself.
    number: u64,
    step: String,
    /// Members by name, with their weights.
    members: BTreeMap<String, u32>,
}

#[derive(Debug, Serialize)]
struct HoldingsDump {
    held: usize,
    half_open: usize,
    /// Seconds that the oldest has been seen.
    oldest: Option<u64>,
    /// Fingerprints of the former memberships that they need.
    former: BTreeSet<u32>,
}

#[derive(Debug, Serialize)]
struct SaidDump {
    draining: bool,
    /// The fingerprint of the membership by which it opens flows.
    in_force: u32,
    /// Those of the former ones that its flows need; `null` while it does not know.
    needed: Option<BTreeSet<u32>>,
    takes_this_node_for_down: bool,
    /// Whether flows that were its own to take may live elsewhere still.
    was_away: bool,
    /// Bytes of a client's largest packet that each of its ways to other members takes; 0 where it does not know.
    inner_mtu: u16,
}

impl MembershipsDump {
    pub(super) fn new(live: &Live) -> Self {
        let history = live.history();
        let heard = live.heard.as_ref().map(|heard| heard.borrow().clone()).unwrap_or_default();
        Self {
            agreed: history.agreed.iter().map(|generation| MembershipDump::new(generation)).collect(),
            absences: history.absences.iter().map(|generation| MembershipDump::new(generation)).collect(),
            flow_keys: FlowKeysReport::new(&live.keys()),
            queued: history.queued,
            holdings: live.holdings().map(HoldingsDump::new),
            said: heard.into_iter().map(|(id, heard)| (id, SaidDump::new(heard))).collect(),
        }
    }
}

impl MembershipDump {
    fn new(generation: &Generation) -> Self {
        let members = generation.present().map(|member| (member.name.clone(), member.weight));
        Self {
            number: generation.number,
            step: generation.step.to_string().to_lowercase(),
            members: members.collect(),
        }
    }
}

impl HoldingsDump {
    fn new(holdings: Holdings) -> Self {
        let Holdings { held, half_open, oldest, former, .. } = holdings;
        Self { held, half_open, oldest: oldest.map(|oldest| oldest.as_secs()), former }
    }
}

impl SaidDump {
    fn new(heard: Heard) -> Self {
        let Heard { is_draining, in_force, needed, takes_for_down, was_away, inner_mtu, .. } = heard;
        let needed = needed.map(|all| all.into_iter().filter(|&fingerprint| fingerprint != 0).collect());
        Self {
            draining: is_draining,
            in_force,
            needed,
            takes_this_node_for_down: takes_for_down,
            was_away,
            inner_mtu,
        }
    }
}
