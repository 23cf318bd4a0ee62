//! What happens to one packet, told to people and, with stable names, as JSON. What the packet path did comes from
//! `app`; the names come from the agent, if there is one.

mod request;
mod words;

use std::net::{IpAddr, SocketAddr};

use lb_common::verdict::Verdict;
use serde::Serialize;

pub use self::request::{ExplainRequest, header, is_forwarded};
pub(super) use self::request::{asked, query};
use super::{Asked, Membership};

/// A packet, what it was decided by and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// The client.
    pub from: SocketAddr,
    /// Where it sends to.
    pub to: SocketAddr,
    /// What it sends.
    pub packet: Kind,
    /// This node's name; `None` if no agent says it.
    pub node: Option<String>,
    /// This node's id, if it is a member.
    pub member: Option<u16>,
    /// Why there are no names; `None` if there are.
    pub agent_silent: Option<String>,
    /// The interfaces with the packet path on them; the packet comes in on the first.
    pub interfaces: Vec<String>,
    /// Whether they run the program that was asked here; `None` if none does.
    pub same_program: Option<bool>,
    /// Whether it is for a VIP.
    pub vip: bool,
    /// What is at its port.
    pub service: Option<ServiceFound>,
    /// Its place in the service's table.
    pub flow: Option<FlowFound>,
    /// Memberships whose members may own flows, the oldest first.
    pub memberships: Vec<Membership>,
    /// What the other members said when they were asked for the connection: all of them, in the row or not.
    pub asked: Vec<Asked>,
    /// Whether this node hears no member, for its own fault: then rows pass over nobody.
    pub alone: bool,
    /// Members that are down for this node: no new flows go there.
    pub down: Vec<String>,
    /// What became of it, as the label of metrics.
    pub verdict: &'static str,
    /// The same by what it means for the client.
    pub outcome: Outcome,
    /// Who has the flow or is to have it, by what this node knows and the others said.
    pub owner: Option<String>,
    /// What goes to another member.
    pub sent: Option<SentTo>,
    /// What `verdict` is the label of.
    #[serde(skip)]
    pub why: Verdict,
}

/// A kind of packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first of a TCP connection.
    TcpSyn,
    /// Of a TCP connection that is open.
    TcpSegment,
    /// Of UDP.
    UdpDatagram,
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceFound {
    /// The object that names it; `None` if no agent says it.
    pub object: Option<String>,
    /// Whether the proxy listens for it.
    pub has_listener: bool,
}

/// A flow's place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FlowFound {
    /// The table.
    pub table: u32,
    /// Its bucket.
    pub bucket: u32,
    /// Its bucket by the other flow key; `None` unless two are in force. The row is then of both.
    pub other_bucket: Option<u32>,
    /// The fingerprint of the flow key in force; `None` if it is not known.
    pub flow_key: Option<String>,
    /// That of the other one.
    pub other_flow_key: Option<String>,
    /// How many there are.
    pub buckets: u32,
    /// The generation of the snapshot that the rows were made from.
    pub generation: u32,
    /// A hash of all rows: equal on all nodes that agree.
    pub digest: String,
    /// The bucket's members, the opener first.
    pub row: Vec<Place>,
}

/// A member in a row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// Its name, or `member N` if no agent says it.
    pub name: String,
    /// Its id.
    pub id: u16,
    /// Its address; `None` if this node does not know it.
    pub address: Option<IpAddr>,
    /// The interface towards it; `None` without a way there, and for this node.
    pub interface: Option<String>,
    /// Whether it is this node.
    pub here: bool,
    /// `up`, `down`, `unheard`; `None` for this node, and if no agent says it.
    pub state: Option<String>,
    /// The same in words.
    pub words: Option<String>,
    /// Whether its kernel has the connection; `None` if it was not asked, or did not answer.
    pub has_connection: Option<bool>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A socket of this node gets it.
    Delivered,
    /// Another member gets it.
    Sent,
    /// This node's kernel refuses it: RST, or port unreachable.
    Refused,
    /// It is lost.
    Dropped,
    /// It is none of edgelb's concern: the kernel treats it as ever.
    Left,
}

/// An encapsulated packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SentTo {
    /// The member.
    pub to: String,
    /// Who is asked after it, if it does not have the flow.
    pub then: Vec<String>,
    /// Its place in the row, from 1 on.
    pub place: u8,
    /// `from_opener` or `to_opener`.
    pub direction: &'static str,
    /// The interface by which it leaves; `None` if it is not known: to a member that is in no row.
    pub interface: Option<String>,
    /// MAC address of the next hop.
    pub next_hop: String,
    /// Outer source.
    pub outer_source: SocketAddr,
    /// Outer destination.
    pub outer_destination: SocketAddr,
    /// Bytes of IP, outer header included.
    pub bytes: u64,
    /// Whether the member takes its tag.
    pub tag_ok: bool,
}

impl Explanation {
    /// One with nothing but what was asked and what became of it.
    #[must_use]
    pub fn new(from: SocketAddr, to: SocketAddr, packet: Kind, verdict: Verdict) -> Self {
        Self {
            from,
            to,
            packet,
            node: None,
            member: None,
            agent_silent: None,
            interfaces: Vec::new(),
            same_program: None,
            vip: false,
            service: None,
            flow: None,
            memberships: Vec::new(),
            asked: Vec::new(),
            alone: false,
            down: Vec::new(),
            verdict: verdict.label(),
            outcome: Outcome::Left,
            owner: None,
            sent: None,
            why: verdict,
        }
    }

    /// Draws the conclusions, once all else is filled in.
    #[must_use]
    pub fn concluded(mut self) -> Self {
        for place in self.flow.iter_mut().flat_map(|flow| &mut flow.row).filter(|place| !place.here) {
            let said = self.asked.iter().find(|asked| asked.id == place.id);
            place.has_connection = said.and_then(|asked| asked.has_connection);
        }
        self.outcome = self.outcome();
        self.owner = self.owner();
        self
    }

    /// Whether it gets to a socket, as far as this node can know.
    #[must_use]
    pub fn arrives(&self) -> bool {
        matches!(self.outcome, Outcome::Delivered | Outcome::Sent)
    }

    fn outcome(&self) -> Outcome {
        match self.why {
            Verdict::Drop(_) => Outcome::Dropped,
            Verdict::NoService | Verdict::FoundNowhere => Outcome::Refused,
            Verdict::Sent => Outcome::Sent,
            // Alone in its row, nobody asked it before.
            Verdict::DeliveredFirstHop if self.is_unknown_here() => Outcome::Refused,
            Verdict::DeliveredFirstHop
            | Verdict::FoundFirst
            | Verdict::FoundSecond
            | Verdict::FoundThird
            | Verdict::Opened => Outcome::Delivered,
            _ => Outcome::Left,
        }
    }

    /// Whether it belongs to a connection that this node does not have.
    fn is_unknown_here(&self) -> bool {
        self.packet == Kind::TcpSegment
            && self.here().is_some_and(|place| place.has_connection == Some(false))
    }

    fn here(&self) -> Option<&Place> {
        self.flow.as_ref()?.row.iter().find(|place| place.here)
    }

    /// Whose kernel has the connection is its owner, wherever the packet goes first.
    fn owner(&self) -> Option<String> {
        let here = self.here();
        let has_it = here.filter(|place| place.has_connection == Some(true));
        let says_so = self.asked.iter().find(|asked| asked.has_connection == Some(true));
        match (self.outcome, &self.sent) {
            (Outcome::Delivered, _) => here.map(|place| place.name.clone()),
            _ if has_it.is_some() => has_it.map(|place| place.name.clone()),
            _ if says_so.is_some() => says_so.map(|asked| asked.name.clone()),
            (Outcome::Sent, Some(sent)) if self.is_for_sure(sent) => Some(sent.to.clone()),
            _ => None,
        }
    }

    /// Whether nobody else can have the flow. A packet that opens one has its owner at the end of its walk.
    fn is_for_sure(&self, sent: &SentTo) -> bool {
        let not_here =
            self.here().filter(|place| place.has_connection == Some(false)).map(|place| &place.name);
        let is_asked_in_vain = |name| self.packet == Kind::TcpSegment && Some(name) == not_here;
        sent.then.iter().all(is_asked_in_vain)
    }
}

#[cfg(test)]
mod tests;
