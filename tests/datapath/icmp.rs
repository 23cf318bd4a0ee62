//! ICMP errors for a VIP go where the flow goes that they are about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::checksum;
use lb_common::encap::{Chain, Direction};
use lb_common::hash::Tuple;
use lb_common::row::{MemberId, Row};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::Action;
use lb_tests::fixture::{
    self, CLIENT4, CLIENT6, FAR, NEAR, Outer, THIS, VIP4, VIP6, port_owned_by, tuple, wanted_row,
};
use lb_tests::packet::{Ip, Transport};

use crate::check::Both;
use crate::wire::{CLIENT_PORT, Encapsulated, Wire};

use Direction::{FromOpener, ToOpener};

const ROUTER4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ROUTER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1));

/// A client, its VIP, a router on the way, and the ICMP types of errors.
pub(crate) type Site = (IpAddr, IpAddr, IpAddr, &'static [u8]);

pub(crate) const SITES: [Site; 2] =
    [(CLIENT4, VIP4, ROUTER4, &[3, 11, 12]), (CLIENT6, VIP6, ROUTER6, &[1, 2, 3, 4])];

/// What the VIP sent to the client.
pub(crate) fn reply(client: IpAddr, vip: IpAddr, port: u16) -> Ip {
    Ip::new(vip, client, Transport::tcp(443, port, &[7; 40]))
}

/// The error of `from` about a packet of which it quotes `len` bytes behind its IP header.
pub(crate) fn error(from: IpAddr, kind: u8, about: &Ip, len: usize) -> Ip {
    let quoted = about.bytes();
    let is_v4 = quoted[0] >> 4 == 4;
    let (header, protocol) = if is_v4 { (usize::from(quoted[0] & 15) * 4, 1) } else { (40, 58) };
    let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0x05, 0x14];
    bytes.extend(&quoted[..(header + len).min(quoted.len())]);
    let check = checksum::finish(checksum::sum(&bytes));
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    Ip::new(from, about.source(), Transport::other(protocol, &bytes))
}

fn chain(row: [MemberId; 3], direction: Direction, hop: u8) -> Chain {
    Chain { row: Row::new(row), direction, stand_ins: 0, hop }
}

fn flow(client: IpAddr, vip: IpAddr, port: u16) -> Tuple {
    tuple(client, vip, 6, port, 443)
}

#[test]
fn an_error_goes_to_the_owner_of_the_flow_it_is_about() {
    for outer in [Outer::V4, Outer::V6] {
        let wanted = fixture::wanted(outer);
        let mut both = Both::with(&wanted);
        for (client, vip, router, kinds) in SITES {
            let port = port_owned_by(&wanted, NEAR, client, vip, 6, 443);
            for (kind, len) in kinds.iter().flat_map(|&kind| [(kind, 8), (kind, 28), (kind, 60)]) {
                let inner = error(router, kind, &reply(client, vip, port), len).tos(0xba);
                for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
                    let name = format!("{outer:?} {vip} type {kind}, {len} bytes, {} tags", tags.len());
                    let sent = both.run(&name, &inner.tagged(tags));
                    assert_eq!((sent.verdicts[0], sent.action), (Verdict::Sent, Action::Transmit), "{name}");
                    let wire = Wire { tags, ..Wire::new(outer, Chain::to_opener(Row::of(NEAR))) };
                    assert_eq!(sent.frame, wire.frame(&inner.forwarded(), flow(client, vip, port)), "{name}");
                }
            }
            let mine = port_owned_by(&wanted, THIS, client, vip, 6, 443);
            let own = error(router, kinds[0], &reply(client, vip, mine), 8);
            both.passes("of this node", &own.frame(), Verdict::DeliveredFirstHop);
        }
    }
}

#[test]
fn a_member_takes_the_error_as_it_came() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        for (client, vip, router, kinds) in SITES {
            let inner = error(router, kinds[0], &reply(client, vip, CLIENT_PORT), 8);
            let packet = Encapsulated { inner: inner.clone(), ..Encapsulated::new(outer, client, vip) };
            let taken = both.run("alone", &packet.frame());
            assert_eq!((taken.verdicts[0], taken.action), (Verdict::DeliveredMember, Action::Pass));
            assert_eq!(taken.frame, inner.frame());
            let forged =
                Encapsulated { hash: 1, inner: inner.clone(), ..Encapsulated::new(outer, client, vip) };
            both.drops("another flow's tag", &forged.frame(), DropReason::BadTag);
            let ping = Ip::new(client, vip, Transport::other(if vip.is_ipv4() { 1 } else { 58 }, &[8; 60]));
            let ping = Encapsulated { inner: ping, ..Encapsulated::new(outer, client, vip) };
            both.drops("no error", &ping.frame(), DropReason::MalformedEncap);
        }
    }
}

#[test]
fn an_error_walks_like_a_packet_that_opens_nothing() {
    for (row, hop) in [([NEAR, FAR, 0], 0), ([THIS, NEAR, FAR], 1), ([THIS, 0, NEAR], 2)] {
        let mut both = Both::with(&wanted_row(Outer::V4, row));
        for (client, vip, router, kinds) in SITES {
            let inner = error(router, kinds[0], &reply(client, vip, CLIENT_PORT), 8).tos(0xba);
            let sent = both.run(&format!("{row:?}"), &inner.frame());
            assert_eq!(sent.verdicts, [Verdict::Sent]);
            let wire = Wire::new(Outer::V4, chain(row, FromOpener, hop));
            assert_eq!(sent.frame, wire.frame(&inner.forwarded(), flow(client, vip, CLIENT_PORT)));
        }
    }
    let mut both = Both::fixture(Outer::V4);
    for (client, vip, router, kinds) in SITES {
        let inner = error(router, kinds[0], &reply(client, vip, CLIENT_PORT), 8);
        let of = |chain| {
            Encapsulated { chain, inner: inner.clone(), ..Encapsulated::new(Outer::V4, client, vip) }.frame()
        };
        let taken = both.run("the last one", &of(chain([NEAR, THIS, 0], FromOpener, 1)));
        assert_eq!((taken.verdicts[0], taken.frame), (Verdict::FoundNowhere, inner.frame()));
        assert_eq!(both.run("on", &of(chain([THIS, NEAR, 0], FromOpener, 0))).verdicts, [Verdict::PassedOn]);
    }
}

#[test]
fn an_error_about_udp_goes_to_the_opener() {
    let mut both = Both::with(&wanted_row(Outer::V4, [THIS, NEAR, 0]));
    let about = Ip::new(VIP4, CLIENT4, Transport::udp(443, CLIENT_PORT, b"answer"));
    let inner = error(ROUTER4, 3, &about, 8).tos(0xba);
    let sent = both.run("first hop", &inner.frame());
    assert_eq!(sent.verdicts, [Verdict::Sent]);
    let wire = Wire::new(Outer::V4, chain([THIS, NEAR, 0], ToOpener, 1));
    assert_eq!(sent.frame, wire.frame(&inner.forwarded(), tuple(CLIENT4, VIP4, 17, CLIENT_PORT, 443)));
}

#[test]
fn what_shows_no_flow_of_the_vip_is_left_to_the_kernel() {
    let mut both = Both::fixture(Outer::V4);
    for (client, vip, router, kinds) in SITES {
        let about = reply(client, vip, CLIENT_PORT);
        let to_vip = |about: &Ip| error(router, kinds[0], about, 8).to(vip).frame();
        let others = Ip::new(router, client, Transport::tcp(443, CLIENT_PORT, b""));
        for (name, frame) in [
            ("a packet of another host", to_vip(&others)),
            ("another protocol", to_vip(&Ip::new(vip, client, Transport::other(47, &[0; 8])))),
            ("a port without a Service", to_vip(&Ip::new(vip, client, Transport::tcp(22, 1, b"")))),
            ("a port that nothing serves", to_vip(&Ip::new(vip, client, Transport::udp(53, 1, b"")))),
            ("three bytes of the ports", error(router, kinds[0], &about, 3).frame()),
            ("no quote", error(router, kinds[0], &about, 0).frame()),
            ("a redirect", error(router, if vip.is_ipv4() { 5 } else { 137 }, &about, 8).frame()),
        ] {
            both.passes(&format!("{vip}: {name}"), &frame, Verdict::OtherProtocol);
        }
    }
    let later = reply(CLIENT4, VIP4, CLIENT_PORT).fragment(1);
    both.passes("a later fragment", &error(ROUTER4, 3, &later, 8).frame(), Verdict::OtherProtocol);
    let options = reply(CLIENT4, VIP4, CLIENT_PORT).options(&[1; 40]).fragment(0x2000);
    let taken = both.run("a first fragment with options", &error(ROUTER4, 3, &options, 8).frame());
    assert!(matches!(taken.verdicts[0], Verdict::Sent | Verdict::DeliveredFirstHop), "{taken:?}");
}
