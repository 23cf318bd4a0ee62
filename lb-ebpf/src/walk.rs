//! The walk along a row of several members: each is asked in turn whether it has the flow, and the first that
//! has it gets the packet. The question is the kernel's to answer: it knows its sockets, and no other state has
//! to be kept or shared.

use lb_common::encap::{Chain, Direction, PackedChain};
use lb_common::hash::{Ports, Tuple, flow_hash, halves, join};
use lb_common::map::{STAND_IN, member};
use lb_common::row::{MemberId, NO_MEMBER, ROW_MEMBERS, Row};
use lb_common::verdict::{Counter, DropReason, Verdict};

use crate::access::Window;
use crate::flow::Flow;
use crate::frame::{Frame, Maps, Socket, Sockets, TcpHeader};
use crate::ip::{Family, TCP, V4, V6};
use crate::select::{self, way};

/// Further than any parser here goes, and as near as the verifier wants it.
pub(crate) const MAX_OFFSET: u16 = 0x7fff;

const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// A packet at some place of its walk. Plain integers: in the kernel it goes to a function of its own, which
/// hands parts of it to the kernel as they lie here.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Walk {
    /// The chain that it came with, packed, or the row to start in.
    chain: u64,
    /// An IP header, of which version and addresses are filled in, with the ports behind it.
    ip: [u32; IP_WORDS],
    /// Where its transport header begins, from the frame's start; `MAX_OFFSET` if it has none of the flow.
    transport: u16,
    /// This node.
    this: MemberId,
    /// The member that a QUIC packet names.
    named: MemberId,
    protocol: u8,
    is_v6: u8,
    has_come: u8,
    zero: [u8; 3],
}

/// Words of an IPv6 header and two ports.
const IP_WORDS: usize = 11;

const _: () = assert!(size_of::<Walk>() == 8 + IP_WORDS * 4 + 3 * 2 + 3 + 3);

/// What a walk, or `follow`, comes to at this node, as a number that goes through the kernel's function call: the packed chain
/// with which the packet leaves, or else a verdict's number, which is smaller than any chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Next(pub u64);

const MAX_VERDICT: u64 = 0xff;

impl Next {
    #[inline(always)]
    pub(crate) fn verdict(verdict: impl Into<Verdict>) -> Self {
        Self(verdict.into().counter().into())
    }

    /// The packet leaves with this chain.
    #[inline(always)]
    pub(crate) const fn sent(PackedChain(chain): PackedChain) -> Self {
        Self(chain)
    }

    /// Whether the flow was found here.
    #[inline(always)]
    const fn is_found(self) -> bool {
        self.0 <= MAX_VERDICT && Counter(self.0 as u32).is_found()
    }

    /// The chain to send, or else what became of the packet.
    #[inline(always)]
    pub(crate) const fn chain(self) -> Result<PackedChain, Counter> {
        if self.0 > MAX_VERDICT { Ok(PackedChain(self.0)) } else { Err(Counter(self.0 as u32)) }
    }
}

impl Walk {
    /// The walk of a packet in a row, at its first place.
    #[inline(always)]
    pub(crate) fn start<F: Family>(flow: &Flow<F>, row: Row, this: MemberId) -> Self {
        Self::of(flow, row.bits(), this, false)
    }

    /// The walk of a packet that came with a chain.
    #[inline(always)]
    pub(crate) fn go_on<F: Family>(flow: &Flow<F>, PackedChain(chain): PackedChain, this: MemberId) -> Self {
        Self::of(flow, chain, this, true)
    }

    /// The same for a QUIC packet that names `member`.
    #[inline(always)]
    pub(crate) fn naming(self, member: MemberId) -> Self {
        Self { named: member, ..self }
    }

    /// The same as if the packet had come here first, in this row, unless that is empty.
    #[inline(always)]
    pub fn lead_on(&mut self, row: Row) {
        if row != Row::EMPTY {
            (self.chain, self.has_come) = (row.bits(), 0);
        }
    }

    #[inline(always)]
    fn of<F: Family>(flow: &Flow<F>, chain: u64, this: MemberId, has_come: bool) -> Self {
        Self::of_tuple(flow.tuple(), flow.transport, chain, this, has_come)
    }

    /// The walk of a flow's packet with its transport header there, in a row or with the chain that it came with.
    #[inline(always)]
    pub(crate) fn of_tuple(
        flow: Tuple,
        transport: Option<usize>,
        chain: u64,
        this: MemberId,
        has_come: bool,
    ) -> Self {
        let (Tuple::V4 { ports, .. } | Tuple::V6 { ports, .. }) = flow;
        let both = u32::from(ports.source) | u32::from(ports.destination) << 16;
        let (ip, is_v6) = match flow {
            Tuple::V4 { source, destination, .. } => {
                ([0x45, 0, 0, source, destination, both, 0, 0, 0, 0, 0], 0)
            }
            Tuple::V6 { source, destination, .. } => {
                let ([a, b, c, d], [e, f, g, h]) = (words(source), words(destination));
                ([0x60, 0, a, b, c, d, e, f, g, h, both], 1)
            }
        };
        Self {
            ip,
            chain,
            transport: transport.map_or(MAX_OFFSET, |offset| offset as u16),
            this,
            named: NO_MEMBER,
            protocol: ports.protocol,
            is_v6,
            has_come: u8::from(has_come),
            zero: [0; 3],
        }
    }

    /// Where the packet is. One that can open a flow must pass those that opened before: else a repeated SYN would
    /// open a second connection at the new opener, which would then claim the first one's packets.
    #[inline(always)]
    fn chain(&self, tcp: &TcpHeader) -> Chain {
        if self.has_come == 1 {
            return PackedChain(self.chain).unpacked();
        }
        let opens = match self.protocol {
            TCP => (tcp[3] >> 8) & (SYN | ACK) == SYN,
            // Where an ID of ours is in use, there is a connection.
            _ => self.named == NO_MEMBER,
        };
        let direction = if opens { Direction::ToOpener } else { Direction::FromOpener };
        Chain::start(Row::from_bits(self.chain), direction)
    }

    /// The start of its TCP header; zeros if there is none: what is shorter, or an ICMP error, opens nothing.
    #[inline(always)]
    fn tcp(&self, frame: &impl Frame) -> TcpHeader {
        Window::<20>::new(frame, usize::from(self.transport & MAX_OFFSET))
            .map_or([0; 5], |window| window.load::<TcpHeader, 0>())
    }

    /// The flow.
    #[inline(always)]
    const fn tuple(&self) -> Tuple {
        if self.is_v6() {
            let [_, _, a, b, c, d, e, f, g, h, both] = self.ip;
            let (source, destination) = ([join(a, b), join(c, d)], [join(e, f), join(g, h)]);
            Tuple::V6 { source, destination, ports: self.ports(both) }
        } else {
            let [_, _, _, source, destination, both, ..] = self.ip;
            Tuple::V4 { source, destination, ports: self.ports(both) }
        }
    }

    #[inline(always)]
    const fn ports(&self, both: u32) -> Ports {
        Ports { source: both as u16, destination: (both >> 16) as u16, protocol: self.protocol }
    }

    /// Whether it is an IPv6 packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        self.is_v6 == 1
    }

    /// An IP header that says version and addresses only, with the ports of the flow behind it.
    #[inline(always)]
    #[must_use]
    pub const fn ip(&self) -> &[u32; IP_WORDS] {
        &self.ip
    }
}

/// The next step of a walk. A chain that came must lead to this node, and once only. Whoever cannot be reached is
/// left out. The last one asked delivers; but if the flow may be with one that was left out, a packet that cannot open it is
/// dropped: refusing it would break the connection.
#[inline(always)]
pub fn step(walk: &Walk, frame: &impl Frame, maps: &impl Maps, sockets: &impl Sockets) -> Next {
    let tcp = walk.tcp(frame);
    let mut chain = walk.chain(&tcp);
    if walk.has_come == 1 {
        if walk.this == NO_MEMBER || chain.target() != Some(walk.this) {
            return Next::verdict(DropReason::NotMyHop);
        }
        if chain.row.names_one_twice() {
            return Next::verdict(DropReason::LoopingChain);
        }
    }
    let opens = matches!(chain.direction, Direction::ToOpener);
    let mut rest = chain.rest();
    let mut asked = false;
    let mut left_out = None;
    for _ in 0..ROW_MEMBERS {
        let id = rest as MemberId;
        if id == walk.this && id != NO_MEMBER {
            if holds(walk, &tcp, opens, sockets) {
                return Next::verdict(found(chain.hop));
            }
            asked = true;
        } else if id != NO_MEMBER {
            match way(maps, id) {
                // It may only be stalled, and have its flows still; but who wants to open one must not wait for it.
                Ok(to) if opens && to.flags & member::DOWN != 0 => {}
                Ok(_) => return Next(chain.packed().0),
                Err(reason) => left_out = Some(reason),
            }
        }
        rest >>= 16;
        chain = chain.next();
    }
    match left_out {
        _ if asked && opens => Next::verdict(Verdict::Opened),
        Some(DropReason::UnknownMember) if walk.has_come == 1 => Next::verdict(DropReason::UnknownChain),
        Some(reason) => Next::verdict(reason),
        None if asked => Next::verdict(Verdict::FoundNowhere),
        None => Next::verdict(DropReason::NoMember),
    }
}

/// What comes next for a packet that came encapsulated, if its walk came to `next`: what an opener without its agent does
/// not have goes on to the member that opens its flows meanwhile.
#[inline(always)]
#[must_use]
pub fn hand_on(walk: &Walk, next: Next, maps: &impl Maps) -> Next {
    if next.is_found() || walk.has_come == 0 || !maps.is_agent_silent() {
        return next;
    }
    let chain = PackedChain(walk.chain).unpacked();
    if walk.this == NO_MEMBER || chain.row.opener() != walk.this || chain.row.names_one_twice() {
        return next;
    }
    // Who opens the flow while this node opens none.
    let stand_in = row(walk, maps, STAND_IN).map_or(NO_MEMBER, Row::opener);
    match chain.handed_to(stand_in) {
        Some(handed) if way(maps, stand_in).is_ok() => Next::sent(handed.packed()),
        _ => next,
    }
}

/// The row in which a packet goes on that came to its opener alone, if that was away: its first hop may not know where the
/// flow opened meanwhile. None if it opened nowhere else, or the agent is silent again.
#[inline(always)]
#[must_use]
pub fn led_on(walk: &Walk, maps: &impl Maps) -> Row {
    let is_opener = |row: &Row| row.opener() == walk.this && !row.is_alone();
    if walk.this == NO_MEMBER || PackedChain(walk.chain).member(0) != walk.this || maps.is_agent_silent() {
        return Row::EMPTY;
    }
    row(walk, maps, 0).filter(is_opener).unwrap_or(Row::EMPTY)
}

/// The row of the walk's flow in its own table, or in another one that belongs to that.
#[inline(always)]
fn row(walk: &Walk, maps: &impl Maps, other: u32) -> Option<Row> {
    let config = maps.config()?;
    let tuple = walk.tuple();
    let vip = match tuple {
        Tuple::V4 { destination, .. } => V4::service(maps, destination, 0, 0),
        Tuple::V6 { destination, .. } => V6::service(maps, destination, 0, 0),
    };
    let hash = flow_hash(&config.key, &tuple);
    select::row(maps, vip?.table + other, hash).ok()
}

#[inline(always)]
const fn found(place: u8) -> Verdict {
    match place {
        0 => Verdict::FoundFirst,
        1 => Verdict::FoundSecond,
        _ => Verdict::FoundThird,
    }
}

/// Whether this node has the packet's flow; one of QUIC is its own if its connection ID says so. TIME_WAIT is no answer
/// to a SYN, which may open the next connection with the same ports, and none to that connection's packets: another member
/// may have it. A handshake is none to the end of another one: a SYN that was repeated while one member was stalled has
/// been answered by two.
#[inline(always)]
fn holds(walk: &Walk, tcp: &TcpHeader, opens: bool, sockets: &impl Sockets) -> bool {
    if walk.protocol != TCP {
        return walk.named == walk.this;
    }
    match sockets.socket(walk, tcp) {
        Socket::Connection | Socket::Cookie => true,
        Socket::TimeWait => !opens,
        Socket::None | Socket::Listener | Socket::OtherConnection => false,
    }
}

#[inline(always)]
const fn words([first, second]: [u64; 2]) -> [u32; 4] {
    let ([a, b], [c, d]) = (halves(first), halves(second));
    [a, b, c, d]
}
