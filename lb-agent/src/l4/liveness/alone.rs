//! Whether this node is alone: no peer answers, and it is this node that is to blame. If a gateway answers, the peers
//! are gone and this node serves everything; if not, others do, and it must not attract packets.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rtnetlink::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::dead_gateways::DeadGateways;
use super::gateways::{Known, ask, gateways_of};
use super::{Outlook, Roster};
use crate::l4::error::L4Error;
use crate::l4::interface::{self, Interface};
use crate::l4::uplink::passes;
use crate::l4::{netlink, reach};
use crate::model::{PeerState, Peers};

/// The kernel's tables are asked this often, while no peer answers.
const EVERY: Duration = Duration::from_millis(500);

/// While one does, it is looked every so many times whether there are gateways, and whether they answer.
const SELDOM: u32 = 20;

/// Tells the outlook for as long as it is polled.
///
/// # Errors
/// `L4Error` if there is no netlink.
pub async fn watch_alone(
    outlook: &Outlook,
    roster: watch::Receiver<Option<Roster>>,
    uplinks: Vec<String>,
) -> Result<(), L4Error> {
    let netlink = netlink::connect()?;
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut gateway, mut dead, mut heard) = (Gateway::default(), DeadGateways::default(), 0);
    loop {
        tick.tick().await;
        let is_unheard = is_unheard(&outlook.peers.borrow());
        heard = if is_unheard { 0 } else { heard + 1 };
        let found = match heard {
            0 => Ways::look(&netlink, &uplinks, &addresses(&roster))
                .await
                .map(|ways| (gateway.cut_off(&ways), Some(ways.gateways))),
            looks if looks % SELDOM == 1 => {
                note(&netlink, &uplinks, &mut gateway).await.map(|all| (None, Some(all)))
            }
            _ => Ok((None, None)),
        };
        let cut_off = match found {
            Ok((cut_off, gateways)) => {
                if let Some(gateways) = gateways {
                    outlook.set_gateways(dead.look(&gateways, Instant::now()));
                }
                cut_off
            }
            Err(error) => {
                debug!(%error, "not known whether the gateway answers");
                continue;
            }
        };
        match (outlook.set_alone(cut_off.is_some()), cut_off) {
            (true, Some(reason)) => warn!("this node is alone: no member answers, and {reason}"),
            (true, None) => info!("this node is not alone any more"),
            (false, _) => {}
        }
    }
}

/// Whether there are peers, and all of them are down.
fn is_unheard(peers: &Peers) -> bool {
    !peers.all.is_empty() && peers.all.iter().all(|peer| peer.state == PeerState::Down)
}

fn addresses(roster: &watch::Receiver<Option<Roster>>) -> Vec<IpAddr> {
    let roster = roster.borrow();
    roster.iter().flat_map(|roster| roster.peers.values()).map(|(_, address)| *address).collect()
}

/// The ways from this node to others, as its kernel knows them.
struct Ways {
    has_carrier: bool,
    /// Whether there is a route to one of the members.
    has_route: bool,
    gateways: Vec<(IpAddr, Known)>,
}

/// The uplinks that have a carrier, among all interfaces.
struct Links {
    all: Vec<Interface>,
    carrying: Vec<u32>,
}

impl Ways {
    /// What is known of gateways; the kernel is told to find out.
    async fn look(netlink: &Handle, uplinks: &[String], members: &[IpAddr]) -> Result<Self, L4Error> {
        let links = Links::look(netlink, uplinks).await?;
        // Who has no members any more needs none.
        let mut has_route = members.is_empty();
        for &member in members {
            let outlet = reach::outlet(netlink, member).await;
            has_route |= outlet.is_some_and(|index| links.carry(index));
        }
        let gateways = links.gateways(netlink).await?;
        Ok(Self { has_carrier: !links.carrying.is_empty(), has_route, gateways })
    }
}

impl Links {
    async fn look(netlink: &Handle, uplinks: &[String]) -> Result<Self, L4Error> {
        let all = interface::list(netlink).await?;
        let carrying = all.iter().filter(|link| link.has_carrier && uplinks.contains(&link.name));
        Ok(Self { carrying: carrying.map(|link| link.index).collect(), all })
    }

    /// Whether what leaves by an interface leaves by an uplink.
    fn carry(&self, index: u32) -> bool {
        passes(&self.all, index, &self.carrying)
    }

    /// What is known of them; the kernel is told to find out.
    async fn gateways(&self, netlink: &Handle) -> Result<Vec<(IpAddr, Known)>, L4Error> {
        let mut found = Vec::new();
        for (index, gateway) in gateways_of(netlink).await? {
            if self.carry(index) {
                found.push((gateway, ask(netlink, index, gateway).await?));
            }
        }
        Ok(found)
    }
}

/// Remembers whether there is a gateway, while members answer. What is known of all.
async fn note(
    netlink: &Handle,
    uplinks: &[String],
    gateway: &mut Gateway,
) -> Result<Vec<(IpAddr, Known)>, L4Error> {
    let found = Links::look(netlink, uplinks).await?.gateways(netlink).await?;
    gateway.note(!found.is_empty());
    Ok(found)
}

/// Whether there was a gateway: one that is gone is as silent as one that does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Gateway {
    /// There was none, and members answered all the same: nobody's silence would tell.
    #[default]
    None,
    /// There was one.
    Known,
    /// There was one, but none at the last look: members answer, or are about to fall silent.
    Missing,
}

impl Gateway {
    /// Whether there is one now, while members answer.
    fn note(&mut self, is_there: bool) {
        *self = match (is_there, *self) {
            (true, _) => Self::Known,
            (false, Self::Known) => Self::Missing,
            (false, Self::None | Self::Missing) => Self::None,
        };
    }

    /// Why it is this node that is to blame that no member answers; `None` if it is not.
    fn cut_off(&mut self, ways: &Ways) -> Option<&'static str> {
        if !ways.gateways.is_empty() || *self == Self::Missing {
            *self = Self::Known;
        }
        if !ways.has_carrier {
            return Some("its link has no carrier");
        }
        if !ways.has_route {
            return Some("there is no route to any");
        }
        if ways.gateways.is_empty() {
            return (*self == Self::Known).then_some("its gateway is gone");
        }
        ways.gateways
            .iter()
            .all(|(_, known)| *known == Known::Silent)
            .then_some("its gateway does not answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(has_carrier: bool, has_route: bool, gateways: &[Known]) -> Ways {
        let gateways = gateways.iter().map(|&known| ([192, 0, 2, 1].into(), known)).collect();
        Ways { has_carrier, has_route, gateways }
    }

    #[test]
    fn who_has_a_way_out_is_not_to_blame() {
        use Known::{Perhaps, Silent};
        for (ways, expected) in [
            (ways(true, true, &[Perhaps]), None),
            (ways(true, true, &[Silent, Perhaps]), None),
            (ways(true, true, &[Silent]), Some("its gateway does not answer")),
            (ways(true, true, &[Silent, Silent]), Some("its gateway does not answer")),
            // All members are on the link, and have died.
            (ways(true, true, &[]), None),
            (ways(true, false, &[]), Some("there is no route to any")),
            // That of the other family.
            (ways(true, false, &[Perhaps]), Some("there is no route to any")),
            (ways(false, true, &[Perhaps]), Some("its link has no carrier")),
        ] {
            let found = Gateway::default().cut_off(&ways);
            assert_eq!(found, expected, "{} {} {:?}", ways.has_carrier, ways.has_route, ways.gateways);
        }
    }

    #[test]
    fn a_gateway_that_is_gone_does_not_answer() {
        let gone = ways(true, true, &[]);
        let mut gateway = Gateway::default();
        gateway.note(true);
        // Seen before its members' silence was.
        gateway.note(false);
        assert!(gateway.cut_off(&gone).is_some());
        assert!(gateway.cut_off(&gone).is_some(), "for as long as it lasts");
        assert_eq!(gateway.cut_off(&ways(true, true, &[Known::Perhaps])), None, "it is back");
        assert!(gateway.cut_off(&gone).is_some(), "and gone again");
        // Somebody wants it so: members answer without it.
        gateway.note(false);
        gateway.note(false);
        assert_eq!(gateway.cut_off(&gone), None);
    }
}
