//! Whose flow a packet belongs to: its own, or, of an ICMP error, that of the packet of ours that it quotes.

use lb_common::hash::{Ports, Tuple};

use crate::access::Window;
use crate::frame::Frame;
use crate::ip::{Family, Packet, Transport};

/// Type, code, checksum, and what depends on the type.
const ICMP_LEN: usize = 8;

/// A flow as its client's packets have it.
#[derive(Clone, Copy)]
pub(crate) struct Flow<F: Family> {
    pub(crate) client: F::Address,
    pub(crate) vip: F::Address,
    pub(crate) ports: Ports,
    /// Where the client's transport header starts, from the frame's start; `None` if the frame has none.
    pub(crate) transport: Option<usize>,
}

impl<F: Family> Flow<F> {
    /// Its identity.
    #[inline(always)]
    pub(crate) fn tuple(&self) -> Tuple {
        F::tuple(self.client, self.vip, self.ports)
    }

    /// That of a packet with these ports.
    #[inline(always)]
    pub(crate) fn of(packet: &Packet<F>, ports: Ports) -> Self {
        Self { client: packet.source, vip: packet.destination, ports, transport: Some(packet.payload) }
    }
}

/// What is looked for in packets. The packet path is compiled once for each.
pub(crate) trait Subject {
    /// Whether it is a packet's own flow.
    const IS_OWN: bool;

    /// The flow of the packet at `offset`; `None` if it shows none.
    fn flow<F: Family>(frame: &impl Frame, offset: usize, packet: &Packet<F>) -> Option<Flow<F>>;
}

/// A packet's own flow.
pub(crate) struct Own;

impl Subject for Own {
    const IS_OWN: bool = true;

    #[inline(always)]
    fn flow<F: Family>(_frame: &impl Frame, _offset: usize, packet: &Packet<F>) -> Option<Flow<F>> {
        match packet.transport {
            Transport::Flow(ports) => Some(Flow::of(packet, ports)),
            Transport::Fragment | Transport::Other => None,
        }
    }
}

/// The flow of the packet that an ICMP error is about: the VIP sent that packet, so its addresses and ports are
/// the flow's in reverse. Eight bytes of what it carried are enough.
pub(crate) struct Quoted;

impl Subject for Quoted {
    const IS_OWN: bool = false;

    #[inline(always)]
    fn flow<F: Family>(frame: &impl Frame, offset: usize, packet: &Packet<F>) -> Option<Flow<F>> {
        if !packet.is_icmp() || !F::is_error(Window::<ICMP_LEN>::new(frame, packet.payload)?.load::<u8, 0>())
        {
            return None;
        }
        let end = offset + usize::from(packet.len);
        let quote = F::quoted(frame, packet.payload + ICMP_LEN, end)?;
        // Whoever sends an error about packets of others means no VIP of ours.
        if quote.source != packet.destination {
            return None;
        }
        let Ports { source, destination, protocol } = quote.ports;
        let ports = Ports { source: destination, destination: source, protocol };
        Some(Flow { client: quote.destination, vip: quote.source, ports, transport: None })
    }
}

/// What an ICMP error quotes of a packet.
pub(crate) struct Quote<F: Family> {
    pub(crate) source: F::Address,
    pub(crate) destination: F::Address,
    pub(crate) ports: Ports,
}
