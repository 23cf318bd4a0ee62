//! Asks, answers and verdicts of one node: what is sent when, and what comes of what is received. No socket here, and
//! no clock.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use lb_common::hash::flow_hash;
use lb_common::probe::{Inquiry, Kind, LEN, Message, Probe, Said};
use lb_common::row::{MemberId, NO_MEMBER};

use super::inquiries::{Inquiries, Question};
use super::roster::Roster;
use super::verdict::Verdict;
use crate::l4::holdings::tuple;
use crate::l4::keys::{Keys, fingerprint};
use crate::model::{Heard, Peer, PeerState};

/// Each peer is asked this often, give or take `JITTER`: nodes that started together do not go on in step.
const EVERY: Duration = Duration::from_millis(100);
const JITTER: Duration = Duration::from_millis(10);

/// Whoever looks later than this after the last look did not run meanwhile.
const LATE: Duration = Duration::from_millis(100);

/// What all nodes of a cluster agree on.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// The secrets of hash and tags.
    pub keys: Keys,
    /// This edgelb cluster's id on the network.
    pub id: u32,
    /// The port of the encapsulation.
    pub port: u16,
}

/// A message, and where it goes.
pub(super) type Outgoing = (SocketAddr, [u8; LEN]);

pub(super) struct Prober {
    cluster: Cluster,
    own: MemberId,
    peers: BTreeMap<MemberId, Asked>,
    /// Of the next ask. An answer recorded in an earlier life fits none of this one's.
    sequence: u64,
    inquiries: Inquiries,
    looked: Instant,
    /// Whether flows open at this node: else it leaves asks unanswered, so that they open elsewhere.
    opens: bool,
}

struct Asked {
    name: String,
    address: IpAddr,
    verdict: Verdict,
    due: Instant,
    heard: Option<Heard>,
}

impl Prober {
    pub(super) fn new(cluster: Cluster, now: Instant) -> Self {
        // Room for all asks of a life: numbers never come back to 0.
        let sequence = fastrand::u64(..u64::MAX / 2);
        let inquiries = Inquiries::new(now);
        Self {
            cluster,
            own: NO_MEMBER,
            peers: BTreeMap::new(),
            sequence,
            inquiries,
            looked: now,
            opens: true,
        }
    }

    /// Goes by these keys from now on.
    pub(super) fn go_by(&mut self, keys: Keys) {
        self.cluster.keys = keys;
    }

    /// The keys that it goes by.
    pub(super) fn keys(&self) -> Keys {
        self.cluster.keys
    }

    /// Asks these from now on; who stays keeps its verdict.
    pub(super) fn follow(&mut self, roster: Option<&Roster>, now: Instant) {
        self.own = roster.map_or(NO_MEMBER, |roster| roster.id);
        let mut before = std::mem::take(&mut self.peers);
        for (&id, (name, address)) in roster.iter().flat_map(|roster| &roster.peers) {
            let known = before.remove(&id).filter(|known| (&known.name, &known.address) == (name, address));
            let new = || Asked {
                name: name.clone(),
                address: *address,
                verdict: Verdict::new(now),
                due: now,
                heard: None,
            };
            self.peers.insert(id, known.unwrap_or_else(new));
        }
    }

    /// Nobody was asked until now: all begin anew, but for those that were up or down when the agent before asked last.
    pub(super) fn begin(&mut self, before: impl Fn(MemberId) -> Option<PeerState>, now: Instant) {
        self.looked = now;
        for (&id, peer) in &mut self.peers {
            (peer.verdict, peer.due) = (Verdict::after(before(id), now), now);
        }
    }

    /// The asks that are due.
    pub(super) fn asks(&mut self, now: Instant, said: &Said) -> Vec<Outgoing> {
        let mut asks = Vec::new();
        for (&to, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.due <= now) {
            self.sequence += 1;
            peer.verdict.asked(self.sequence, now);
            peer.due = now + EVERY - JITTER + JITTER.mul_f64(2.0 * fastrand::f64());
            let probe = Probe {
                kind: Kind::Ask,
                from: self.own,
                to,
                cluster: self.cluster.id,
                sequence: self.sequence,
                said: *said,
                is_down: peer.verdict.state().0 == PeerState::Down,
            };
            asks.push((
                SocketAddr::new(peer.address, self.cluster.port),
                Message::new(&probe, &self.cluster.keys.in_force).bytes(),
            ));
        }
        asks
    }

    /// Asks all others which of them has a connection: they tell members alone.
    pub(super) fn inquire(&mut self, question: Question, now: Instant) -> Vec<Outgoing> {
        let Question { client, vip, answers } = question;
        let Some(tuple) = tuple(client, vip).filter(|_| self.own != NO_MEMBER) else { return Vec::new() };
        let flow = flow_hash(&self.cluster.keys.in_force, &tuple);
        let (cluster, from) = (self.cluster.id, self.own);
        let mut asks = Vec::new();
        for (&to, peer) in &self.peers {
            self.sequence += 1;
            let inquiry = Inquiry { from, to, cluster, sequence: self.sequence, flow, has: None };
            self.inquiries.asked(&inquiry, &peer.name, answers.clone(), now);
            asks.push(self.outgoing(peer.address, &inquiry));
        }
        asks
    }

    /// What others want to know of this node's connections.
    pub(super) fn unanswered(&mut self) -> Vec<Inquiry> {
        self.inquiries.unanswered()
    }

    /// The answer to one of them, to where its sender is known to be. None if that is nobody any more.
    pub(super) fn looked_up(&self, question: &Inquiry) -> Option<Outgoing> {
        let peer = self.peers.get(&question.from)?;
        let answer = Inquiry { from: self.own, to: question.from, ..*question };
        Some(self.outgoing(peer.address, &answer))
    }

    fn outgoing(&self, address: IpAddr, inquiry: &Inquiry) -> Outgoing {
        let message = Message::of_inquiry(inquiry, &self.cluster.keys.in_force);
        (SocketAddr::new(address, self.cluster.port), message.bytes())
    }

    /// When the next ask is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.peers.values().map(|peer| peer.due).min()
    }

    /// What came in. A member's ask is answered to where it is known to be, never to where it says it came from; that of a
    /// node that is none, or not yet, to where it came from, by as many bytes; and only if there is something to say.
    pub(super) fn take(
        &mut self,
        (bytes, source): (&[u8], SocketAddr),
        now: Instant,
        said: Option<&Said>,
    ) -> Option<Outgoing> {
        let message = Message::from_bytes(bytes)?;
        // Without a stamp our packet path is not there: then nobody should think that it is.
        let is_ours =
            message.is_stamped() && message.cluster() == self.cluster.id && message.to() == self.own;
        let key = self.cluster.keys.all().find(|key| message.is_tagged(key)).filter(|_| is_ours)?;
        // One that joins may have learned of it before this node does: silence would be taken for death.
        let Some(peer) = self.peers.get_mut(&message.from()) else {
            let is_ours = source.port() == self.cluster.port;
            return self.answer(&message.probe().ok()?, false, source, said).filter(|_| is_ours);
        };
        if let Ok(inquiry) = message.inquiry() {
            // Who may not answer has nothing to look up.
            if inquiry.has.is_some() || said.is_some() {
                self.inquiries.take(inquiry, now);
            }
            return None;
        }
        let probe = message.probe().ok()?;
        match probe.kind {
            Kind::AskFlow | Kind::AnswerFlow => None,
            Kind::Answer => {
                if peer.verdict.answered(probe.sequence, now) {
                    peer.heard = Some(heard(&probe, fingerprint(key)));
                }
                None
            }
            Kind::Ask => {
                let is_down = peer.verdict.state().0 == PeerState::Down;
                let to = SocketAddr::new(peer.address, self.cluster.port);
                self.answer(&probe, is_down, to, said)
            }
        }
    }

    /// Whether flows open here from now on.
    pub(super) const fn opens(&mut self, opens: bool) {
        self.opens = opens;
    }

    /// The answer to an ask.
    fn answer(&self, probe: &Probe, is_down: bool, to: SocketAddr, said: Option<&Said>) -> Option<Outgoing> {
        if probe.kind != Kind::Ask || self.own == NO_MEMBER || !self.opens {
            return None;
        }
        let said = *said?;
        let answer = Probe { kind: Kind::Answer, from: self.own, to: probe.from, said, is_down, ..*probe };
        Some((to, Message::new(&answer, &self.cluster.keys.in_force).bytes()))
    }

    /// Time has passed. To be called after all that came in was taken. True if a peer is in another state since the
    /// last look.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.looked, now);
        self.inquiries.look(now);
        let absence = now.saturating_duration_since(before).saturating_sub(LATE);
        let mut is_other = false;
        for peer in self.peers.values_mut() {
            if !absence.is_zero() {
                peer.verdict.excuse(absence);
            }
            peer.verdict.look(now);
            is_other |= peer.verdict.state().1 > before;
        }
        is_other
    }

    /// What is known of each peer.
    pub(super) fn peers(&self) -> Vec<Peer> {
        let peer = |(&id, peer): (&MemberId, &Asked)| {
            let (state, since) = peer.verdict.state();
            Peer {
                name: peer.name.clone(),
                id,
                state,
                since,
                answered: peer.verdict.answered_at(),
                round_trip: peer.verdict.round_trip,
                asked: peer.verdict.asked,
                lost: peer.verdict.lost,
                flaps: peer.verdict.flaps,
            }
        };
        self.peers.iter().map(peer).collect()
    }

    /// What they said last, of those that answered.
    pub(super) fn heard(&self) -> BTreeMap<MemberId, Heard> {
        self.peers.iter().filter_map(|(&id, peer)| Some((id, peer.heard?))).collect()
    }
}

fn heard(probe: &Probe, key: u32) -> Heard {
    let Said { is_draining, in_force, needed, room, inner_mtu, was_away } = probe.said;
    Heard { is_draining, in_force, needed, room, inner_mtu, key, takes_for_down: probe.is_down, was_away }
}

#[cfg(test)]
mod tests;
