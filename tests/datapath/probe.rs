//! Probes: a good one is stamped and passed to the agent, whatever else comes in their form is dropped.

use lb_common::checksum;
use lb_common::encap::DEFAULT_PORT;
use lb_common::hash::{FlowKey, KEY_WORDS};
use lb_common::probe::{Kind, LEN, Message, Probe, STAMP, Said};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::Action;
use lb_tests::fixture::{self, CLUSTER, FAR, NEAR, Outer, THIS, address};
use lb_tests::packet::{Ip, Transport};

use crate::check::Both;

pub(crate) const GOOD: Probe = Probe {
    kind: Kind::Ask,
    from: NEAR,
    to: THIS,
    cluster: CLUSTER,
    sequence: 7,
    said: SAID,
    is_down: false,
};

const SAID: Said = Said {
    is_draining: true,
    in_force: 5,
    needed: Some([4, 0, 0]),
    room: 100,
    inner_mtu: 1252,
    was_away: true,
};

fn message(probe: &Probe) -> [u8; LEN] {
    Message::new(probe, &fixture::local().keys.in_force).bytes()
}

pub(crate) fn datagram(outer: Outer, payload: &[u8]) -> Ip {
    let udp = Transport::udp(DEFAULT_PORT, DEFAULT_PORT, payload);
    Ip::new(address(outer, NEAR), address(outer, THIS), udp)
}

/// A good probe's frame.
pub(crate) fn frame(outer: Outer) -> Vec<u8> {
    datagram(outer, &message(&GOOD)).frame()
}

#[test]
fn a_good_probe_is_stamped_and_passed() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        for kind in [Kind::Ask, Kind::Answer, Kind::AskFlow, Kind::AnswerFlow] {
            let bytes = message(&Probe { kind, ..GOOD });
            let mut stamped = bytes;
            stamped[STAMP] = 1;
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
                let name = format!("{outer:?}, {kind:?}, {} tags", tags.len());
                let passed = both.run(&name, &datagram(outer, &bytes).tagged(tags));
                assert_eq!((passed.verdicts[0], passed.action), (Verdict::Probe, Action::Pass), "{name}");
                assert_eq!(passed.frame, datagram(outer, &stamped).tagged(tags), "{name}");
            }
        }
    }
}

/// The kernel would put it together behind the packet path, where no tag was looked at.
#[test]
fn what_comes_in_parts_is_not_put_together() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        let whole = datagram(outer, &message(&GOOD));
        let [first, rest] = &whole.parts(7, 32)[..] else { panic!("two parts") };
        for tags in [&[][..], &[(0x8100, 5)]] {
            let name = format!("{outer:?}, {} tags", tags.len());
            both.drops(&name, &first.tagged(tags), DropReason::MalformedEncap);
            both.passes(&name, &rest.tagged(tags), Verdict::NotForVip);
        }
        let other = Ip::new(address(outer, NEAR), address(outer, THIS), Transport::udp(53, 53, &[7; 56]));
        both.passes("to another port", &other.parts(7, 32)[0].frame(), Verdict::NotForVip);
        let elsewhere = whole.to(address(outer, NEAR));
        both.passes("to another node", &elsewhere.parts(7, 32)[0].frame(), Verdict::NotForVip);
    }
}

/// Where the UDP header is in a frame with an IPv4 outer header.
const UDP: usize = 14 + 20;

#[test]
fn the_udp_checksum_stays_right() {
    let mut both = Both::fixture(Outer::V4);
    for sequence in 0..64 {
        let mut frame = datagram(Outer::V4, &message(&Probe { sequence, ..GOOD })).frame();
        // Beside the datagram, the pseudo header: addresses, protocol, length.
        let sum = |frame: &[u8]| {
            checksum::sum(&frame[26..34]) + 17 + (8 + LEN as u32) + checksum::sum(&frame[UDP..])
        };
        let check = checksum::finish(sum(&frame));
        frame[UDP + 6..UDP + 8].copy_from_slice(&check.to_be_bytes());
        let passed = both.run("with a checksum", &frame).frame;
        assert_eq!(checksum::fold(sum(&passed)), 0xffff, "sequence {sequence}");
    }
}

#[test]
fn what_a_sender_writes_as_the_stamp_does_not_count() {
    let mut both = Both::fixture(Outer::V4);
    let mut bytes = message(&GOOD);
    bytes[STAMP] = 0xff;
    let passed = both.run("stamped by its sender", &datagram(Outer::V4, &bytes).frame());
    assert_eq!(passed.frame[UDP + 8 + STAMP], 1);
}

#[test]
fn what_is_not_proven_is_dropped() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        let good = message(&GOOD);
        let changed = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            bytes.to_vec()
        };
        let of = |probe: Probe| message(&probe).to_vec();
        let other_key = Message::new(&GOOD, &FlowKey::new([9; KEY_WORDS])).bytes().to_vec();
        for (name, payload, reason) in [
            ("cut short", good[..LEN - 1].to_vec(), DropReason::MalformedEncap),
            ("the GUE header alone", good[..4].to_vec(), DropReason::MalformedEncap),
            ("its first byte alone", good[..1].to_vec(), DropReason::MalformedEncap),
            ("another type", changed(1, 0x81), DropReason::MalformedEncap),
            ("another length in the header", changed(0, 0x2e), DropReason::MalformedEncap),
            ("flags", changed(2, 0x80), DropReason::MalformedEncap),
            ("another kind", changed(5, 5), DropReason::MalformedEncap),
            ("another version", changed(4, 2), DropReason::UnknownVersion),
            ("another cluster", of(Probe { cluster: CLUSTER + 1, ..GOOD }), DropReason::WrongCluster),
            ("another key", other_key, DropReason::BadTag),
            ("an ask made an answer", changed(5, 2), DropReason::BadTag),
            ("what is to be 0", changed(STAMP + 1, 1), DropReason::BadTag),
            (
                "an unknown member's answer",
                of(Probe { from: 77, kind: Kind::Answer, ..GOOD }),
                DropReason::UnknownChain,
            ),
            (
                "an answer of nobody's",
                of(Probe { from: 0, kind: Kind::Answer, ..GOOD }),
                DropReason::UnknownChain,
            ),
            (
                "a question of nobody's",
                of(Probe { from: 0, kind: Kind::AskFlow, ..GOOD }),
                DropReason::UnknownChain,
            ),
            ("from nobody to nobody", of(Probe { from: 0, to: 0, ..GOOD }), DropReason::NotMyHop),
            ("for another member", of(Probe { to: FAR, ..GOOD }), DropReason::NotMyHop),
            ("for nobody", of(Probe { to: 0, ..GOOD }), DropReason::NotMyHop),
        ] {
            both.drops(&format!("{outer:?}, {name}"), &datagram(outer, &payload).frame(), reason);
        }
    }
}

/// It is a first hop, too, and has to know who is down; so has one that is a member by a change not learned here.
#[test]
fn a_node_that_is_no_member_asks_and_is_answered() {
    for outer in [Outer::V4, Outer::V6] {
        let mut wanted = fixture::wanted(outer);
        for from in [0, 77] {
            let ask = message(&Probe { from, ..GOOD });
            let passed = Both::with(&wanted).run("its ask", &datagram(outer, &ask).frame());
            assert_eq!((passed.verdicts[0], passed.action), (Verdict::Probe, Action::Pass));
        }
        wanted.config.member = 0;
        let mut both = Both::with(&wanted);
        let answer = message(&Probe { to: 0, kind: Kind::Answer, ..GOOD });
        let passed = both.run("its answer", &datagram(outer, &answer).frame());
        assert_eq!((passed.verdicts[0], passed.action), (Verdict::Probe, Action::Pass));
        for kind in [Kind::Ask, Kind::AskFlow, Kind::AnswerFlow] {
            let other = message(&Probe { to: 0, kind, ..GOOD });
            both.drops(&format!("{kind:?}"), &datagram(outer, &other).frame(), DropReason::NotMyHop);
        }
        both.drops("a member's", &frame(outer), DropReason::NotMyHop);
        let forged = message(&Probe { from: 0, to: 0, kind: Kind::Answer, ..GOOD });
        both.drops("of nobody", &datagram(outer, &forged).frame(), DropReason::UnknownChain);
    }
}

#[test]
fn each_bit_counts() {
    let mut both = Both::fixture(Outer::V4);
    let good = frame(Outer::V4);
    for at in (0..LEN).filter(|&at| at != STAMP) {
        for bit in 0..8 {
            let mut frame = good.clone();
            frame[UDP + 8 + at] ^= 1 << bit;
            let lost = both.run(&format!("byte {at} bit {bit}"), &frame);
            assert_eq!(lost.action, Action::Drop, "byte {at} bit {bit}");
        }
    }
}

/// It shows that packets of full size pass.
#[test]
fn a_padded_one_is_stamped_and_passed() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        for more in [1, 1_000] {
            let bytes = [&message(&GOOD)[..], &vec![0; more]].concat();
            let passed = both.run(&format!("{outer:?}, {more} bytes"), &datagram(outer, &bytes).frame());
            assert_eq!((passed.verdicts[0], passed.action), (Verdict::Probe, Action::Pass), "{more}");
            let mut stamped = bytes;
            stamped[STAMP] = 1;
            assert_eq!(passed.frame, datagram(outer, &stamped).frame(), "{more}");
        }
    }
}

#[test]
fn ethernet_padding_is_no_part_of_it() {
    let mut both = Both::fixture(Outer::V4);
    let padded = [frame(Outer::V4), vec![0; 20]].concat();
    assert_eq!(both.run("padded", &padded).verdicts, [Verdict::Probe]);
    let short = datagram(Outer::V4, &message(&GOOD)[..4]).frame();
    both.drops("its length in the padding", &[short, vec![0; LEN]].concat(), DropReason::MalformedEncap);
}
