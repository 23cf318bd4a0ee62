//! The state of one moment: what packet path and proxy follow until the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::generation::openers;
use super::{Generation, Listener, Mark, Member, Problems, Service, ServiceAddress};

/// Everything that the objects ask for, translated. Snapshots of the same objects are equal on all nodes,
/// but for the generation, which counts the changes seen by this agent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Rises by one with each change.
    pub generation: u64,
    /// How far the history of memberships is: what a node acknowledges that has this snapshot in its kernel.
    pub membership: Mark,
    /// Members of any generation by name, as the newest that names them has them: those that rows can name.
    pub members: BTreeMap<String, Member>,
    /// The memberships that may own flows, the oldest first. At most the last one is only learned.
    pub generations: Vec<Arc<Generation>>,
    /// Addresses that clients use.
    pub vips: BTreeSet<IpAddr>,
    /// Ports of VIPs, for the packet path.
    pub services: BTreeMap<ServiceAddress, Service>,
    /// TCP ports of VIPs on which the proxy answers.
    pub listeners: BTreeMap<SocketAddr, Listener>,
    /// What is wrong with the objects.
    pub problems: Problems,
}

impl Snapshot {
    /// Whether new flows open at this node, by the history of memberships. Without one, nobody knows of a node that it
    /// drains, and nobody needs to be waited for.
    #[must_use]
    pub fn opens_at(&self, node: &str) -> bool {
        openers(&self.generations).any(|member| member.name == node)
    }

    /// Whether new flows open at another node, by the history of memberships.
    #[must_use]
    pub fn opens_beside(&self, node: &str) -> bool {
        openers(&self.generations).any(|member| member.name != node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Step;

    fn generation(number: u64, step: Step, members: &[(&str, u32)]) -> Arc<Generation> {
        let member = |(name, weight): &(&str, u32)| {
            let name = (*name).to_owned();
            let member =
                Member { name: name.clone(), id: 1, address: IpAddr::from([192, 0, 2, 1]), weight: *weight };
            (name, member)
        };
        Arc::new(Generation { number, step, members: members.iter().map(member).collect() })
    }

    #[test]
    fn flows_open_where_the_last_switched_generation_says() {
        let both = [("a", 100), ("b", 100)];
        let settled = generation(7, Step::Settled, &both);
        for (generations, opens) in [
            (vec![], false),
            (vec![generation(0, Step::Settled, &both)], false),
            (vec![settled.clone()], true),
            (vec![settled.clone(), generation(8, Step::Learn, &[("b", 100)])], true),
            (vec![settled.clone(), generation(8, Step::Switch, &[("b", 100)])], false),
            (vec![settled.clone(), generation(8, Step::Switch, &[("a", 0), ("b", 100)])], false),
            // All drain: all go on.
            (vec![settled, generation(8, Step::Switch, &[("a", 0), ("b", 0)])], true),
        ] {
            let snapshot = Snapshot { generations: generations.clone(), ..Snapshot::default() };
            assert_eq!(snapshot.opens_at("a"), opens, "{generations:?}");
            let number = generations.last().map_or(0, |generation| generation.number);
            assert_eq!(snapshot.opens_beside("a"), number > 0, "{generations:?}");
        }
    }
}
