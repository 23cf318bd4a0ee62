//! Encapsulated frames, built from the specification rather than by the code under test.

use std::net::IpAddr;

use lb_common::encap::{Chain, DEFAULT_PORT, Header, INNER_V4, INNER_V6};
use lb_common::hash::{FlowKey, Tuple, flow_hash};
use lb_common::row::Row;
use lb_tests::fixture::{self, CLIENT4, CLUSTER, NEAR, Outer, THIS, VIP4, address, tuple};
use lb_tests::packet::{Ip, NODE_MAC, ROUTER_MAC, Transport, link};

pub(crate) const CLIENT_PORT: u16 = 40_000;

/// An encapsulated packet, right unless changed.
pub(crate) struct Encapsulated {
    pub(crate) outer: Outer,
    pub(crate) inner: Ip,
    pub(crate) hash: u64,
    pub(crate) protocol: u8,
    pub(crate) chain: Chain,
    pub(crate) cluster: u32,
    pub(crate) key: FlowKey,
    pub(crate) outer_tos: u8,
    pub(crate) is_collected: bool,
}

impl Encapsulated {
    pub(crate) fn new(outer: Outer, client: IpAddr, vip: IpAddr) -> Self {
        let key = fixture::local().keys.in_force;
        Self {
            outer,
            inner: Ip::new(client, vip, Transport::tcp(CLIENT_PORT, 443, b"hello")),
            hash: flow_hash(&key, &tuple(client, vip, 6, CLIENT_PORT, 443)),
            protocol: if vip.is_ipv4() { INNER_V4 } else { INNER_V6 },
            chain: Chain::to_opener(Row::of(THIS)),
            cluster: CLUSTER,
            key,
            outer_tos: 0,
            is_collected: false,
        }
    }

    pub(crate) fn v4() -> Self {
        Self::new(Outer::V4, CLIENT4, VIP4)
    }

    pub(crate) fn header(&self) -> [u8; 20] {
        let chain = if self.is_collected { self.chain.packed().collected() } else { self.chain.packed() };
        Header::packed(self.protocol, chain, self.cluster, &self.key, self.hash).bytes()
    }

    pub(crate) fn datagram(&self) -> Ip {
        let payload = [self.header().as_slice(), &self.inner.bytes()].concat();
        let udp = Transport::udp(0xc123, DEFAULT_PORT, &payload);
        Ip::new(address(self.outer, NEAR), address(self.outer, THIS), udp).tos(self.outer_tos)
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        self.datagram().frame()
    }
}

/// What this node sends: outer Ethernet, IP, UDP, GUE.
pub(crate) struct Wire<'a> {
    pub(crate) outer: Outer,
    pub(crate) chain: Chain,
    pub(crate) tags: &'a [(u16, u16)],
    pub(crate) tos: u8,
    pub(crate) is_collected: bool,
    pub(crate) key: FlowKey,
}

impl Wire<'_> {
    /// To the member at the chain's hop.
    pub(crate) fn new(outer: Outer, chain: Chain) -> Self {
        let key = fixture::local().keys.in_force;
        Self { outer, chain, tags: &[], tos: 0xba, is_collected: false, key }
    }

    /// The frame with `inner` of the flow `tuple`.
    pub(crate) fn frame(&self, inner: &Ip, tuple: Tuple) -> Vec<u8> {
        let hash = flow_hash(&self.key, &tuple);
        let protocol = if inner.bytes()[0] >> 4 == 4 { INNER_V4 } else { INNER_V6 };
        let chain = if self.is_collected { self.chain.packed().collected() } else { self.chain.packed() };
        let header = Header::packed(protocol, chain, CLUSTER, &self.key, hash).bytes();
        let payload = [header.as_slice(), &inner.bytes()].concat();
        let udp = Transport::udp(0xc000 | (hash as u16 & 0x3fff), DEFAULT_PORT, &payload);
        let to = self.chain.target().expect("a hop within the row");
        let packet = Ip::new(address(self.outer, THIS), address(self.outer, to), udp).tos(self.tos);
        let mut bytes = packet.fragment(0x4000).bytes();
        if self.outer == Outer::V6 {
            let label = hash as u32 & 0xf_ffff;
            let first = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) | label;
            bytes[..4].copy_from_slice(&first.to_be_bytes());
        }
        let ethertype = if self.outer == Outer::V4 { 0x0800 } else { 0x86dd };
        [link(ROUTER_MAC, NODE_MAC, self.tags, ethertype), bytes].concat()
    }
}
