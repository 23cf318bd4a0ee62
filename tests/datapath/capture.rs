//! The program that captures: it does to packets what the ordinary one does, and tells of those that are asked for. The
//! ordinary one has nothing to do with it.

use lb_agent::l4::wanted::Wanted;
use lb_common::capture::{Filter, HEAD, ICMP, PACKET, Record, family};
use lb_common::map::{name, program};
use lb_common::verdict::{DropReason, Verdict};
use lb_tests::fixture::{self, CLIENT4, CLIENT6, NEAR, Outer, THIS, VIP4, VIP6, port_owned_by};
use lb_tests::host::Host;
use lb_tests::kernel::Kernel;
use lb_tests::packet::{Ip, Transport, link};

use crate::wire::{CLIENT_PORT, Encapsulated};

/// Takes what there is.
const OPEN: Filter = Filter {
    source: [0; 2],
    source_mask: [0; 2],
    destination: [0; 2],
    destination_mask: [0; 2],
    verdicts: u64::MAX,
    count: u64::MAX,
    sample: 1,
    snap: 64,
    source_port: 0,
    destination_port: 0,
    family: family::ANY,
    protocol: 0,
};

fn kernel(wanted: &Wanted) -> Kernel {
    Kernel::with(wanted).expect("the program loads: these tests need CAP_BPF")
}

/// What is told of a packet, if anything is.
fn told(kernel: &mut Kernel, filter: Filter, frame: &[u8]) -> Option<Vec<u8>> {
    kernel.set_filter(filter).expect("the filter can be set");
    kernel.forget_limits().expect("limits can be written");
    kernel.run_capturing(frame).expect("it runs");
    let mut records = kernel.records().expect("records can be read");
    assert!(records.len() <= 1, "one packet, one record");
    records.pop()
}

fn number(record: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(record[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn verdict(record: &[u8]) -> u32 {
    number(record, std::mem::offset_of!(Record, verdict))
}

fn v4([a, b, c, d]: [u8; 4]) -> [u64; 2] {
    [u32::from_ne_bytes([a, b, c, d]).into(), 0]
}

#[test]
fn the_ordinary_program_has_nothing_of_it() {
    let mut kernel = kernel(&fixture::wanted(Outer::V4));
    let maps = [name::CAPTURE, name::CAPTURE_SLOT, name::CAPTURED];
    assert!(!kernel.uses(program::XDP, &maps).expect("the kernel tells"));
    assert!(kernel.uses(program::CAPTURE, &maps).expect("the kernel tells"));
}

#[test]
fn a_record_says_what_came_and_what_became_of_it() {
    let wanted = fixture::wanted(Outer::V4);
    let mut kernel = kernel(&wanted);
    let port = |owner| port_owned_by(&wanted, owner, CLIENT4, VIP4, 6, 443);
    let tcp = |port, payload: &[u8]| Ip::new(CLIENT4, VIP4, Transport::tcp(port, 443, payload)).frame();
    for (name, frame, became) in [
        ("sent", tcp(port(NEAR), &[7; 100]), Verdict::Sent),
        ("delivered", tcp(port(THIS), &[7; 100]), Verdict::DeliveredFirstHop),
        ("taken out", Encapsulated::v4().frame(), Verdict::DeliveredMember),
        ("short", tcp(port(THIS), b""), Verdict::DeliveredFirstHop),
        (
            "dropped",
            Ip::new(CLIENT4, VIP4, Transport::udp(1, 53, &[0; 40])).frame(),
            Verdict::Drop(DropReason::NoLocalService),
        ),
        (
            "a ping",
            Ip::new(CLIENT4, VIP4, Transport::other(1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0])).frame(),
            Verdict::Echoed,
        ),
        ("ARP", [link([0xff; 6], [2; 6], &[], 0x0806), vec![0; 46]].concat(), Verdict::NotForVip),
    ] {
        let record = told(&mut kernel, OPEN, &frame).expect(name);
        assert_eq!(verdict(&record), became.counter(), "{name}");
        assert_eq!(number(&record, std::mem::offset_of!(Record, length)) as usize, frame.len(), "{name}");
        let kept = frame.len().min(OPEN.snap as usize);
        assert_eq!(&record[PACKET..], &frame[..kept], "{name}: as it came in");
        let sent = number(&record, std::mem::offset_of!(Record, sent)) as usize;
        let leaves = matches!(became, Verdict::Sent | Verdict::Echoed);
        assert_eq!(sent > 0, leaves, "{name}");
        if became == Verdict::Sent {
            let mut ordinary = Kernel::with(&wanted).expect("the program loads");
            let outcome = ordinary.run(&frame).expect("it runs");
            let head = &record[std::mem::offset_of!(Record, head)..][..sent];
            assert_eq!((head, sent), (&outcome.frame[..HEAD], HEAD), "{name}: as it leaves");
        }
    }
}

/// Whether the kernel and the host take a packet for one of a filter.
fn check(kernel: &mut Kernel, host: &Host, filter: Filter, frame: &[u8], expected: bool, what: &str) {
    assert_eq!(told(kernel, filter, frame).is_some(), expected, "{what}: {filter:?}");
    assert_eq!(host.matches(&filter, frame), expected, "{what}, on the host: {filter:?}");
}

#[test]
fn a_filter_takes_what_it_says() {
    let wanted = fixture::wanted(Outer::V4);
    let (mut kernel, host) = (kernel(&wanted), Host::with(&wanted));
    let tcp4 = Ip::new(CLIENT4, VIP4, Transport::tcp(CLIENT_PORT, 443, b"")).tagged(&[(0x8100, 5)]);
    let tcp6 = Ip::new(CLIENT6, VIP6, Transport::tcp(CLIENT_PORT, 443, b"")).frame();
    let udp4 = Ip::new(CLIENT4, VIP4, Transport::udp(CLIENT_PORT, 53, b"")).frame();
    let ping4 = Ip::new(CLIENT4, VIP4, Transport::other(1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0])).frame();
    let ping6 = Ip::new(CLIENT6, VIP6, Transport::other(58, &[128, 0, 0, 0, 0, 0, 0, 0])).frame();
    let carried4 = Encapsulated::v4().frame();
    let carried6 = Encapsulated::new(Outer::V4, CLIENT6, VIP6).frame();
    let all = [&tcp4, &tcp6, &udp4, &ping4, &ping6, &carried4, &carried6];
    let whole = v4([255; 4]);
    let client = Filter { family: family::V4, source: v4([192, 0, 2, 7]), source_mask: whole, ..OPEN };
    let network = Filter { source: v4([192, 0, 2, 0]), source_mask: v4([255, 255, 255, 0]), ..client };
    let other = Filter { source: v4([192, 0, 2, 8]), ..client };
    let vip =
        Filter { family: family::V4, destination: v4([203, 0, 113, 10]), destination_mask: whole, ..OPEN };
    let outer = Filter { family: family::V4, source: v4([198, 51, 100, 12]), source_mask: whole, ..OPEN };
    let client6 = Filter {
        family: family::V6,
        source: [u64::from_ne_bytes([0x20, 1, 0x0d, 0xb8, 0, 0x0c, 0, 0]), 0],
        source_mask: [u64::MAX, 0],
        ..OPEN
    };
    for (what, filter, expected) in [
        ("open", OPEN, [true; 7]),
        ("a client", client, [true, false, true, true, false, true, false]),
        ("its network", network, [true, false, true, true, false, true, false]),
        ("another client", other, [false; 7]),
        ("a VIP", vip, [true, false, true, true, false, true, false]),
        ("a member", outer, [false, false, false, false, false, true, true]),
        ("an IPv6 network", client6, [false, true, false, false, true, false, true]),
        ("IPv6", Filter { family: family::V6, ..OPEN }, [false, true, false, false, true, false, true]),
        ("TCP", Filter { protocol: 6, ..OPEN }, [true, true, false, false, false, true, true]),
        ("UDP", Filter { protocol: 17, ..OPEN }, [false, false, true, false, false, true, true]),
        ("ICMP", Filter { protocol: ICMP, ..OPEN }, [false, false, false, true, true, false, false]),
        (
            "a port",
            Filter { destination_port: 443_u16.to_be(), ..OPEN },
            [true, true, false, false, false, true, true],
        ),
        (
            "a client's port",
            Filter { source_port: CLIENT_PORT.to_be(), ..OPEN },
            [true, true, true, false, false, true, true],
        ),
    ] {
        for (at, (frame, expected)) in all.into_iter().zip(expected).enumerate() {
            check(&mut kernel, &host, filter, frame, expected, &format!("{what}, packet {at}"));
        }
    }
    let cut = &tcp4[..30];
    check(&mut kernel, &host, OPEN, cut, true, "open, cut off");
    check(&mut kernel, &host, client, cut, false, "a client, cut off");
}

#[test]
fn only_wanted_verdicts_are_told() {
    let wanted = fixture::wanted(Outer::V4);
    let mut kernel = kernel(&wanted);
    let passes = Ip::new(CLIENT4, VIP4, Transport::tcp(1, 22, b"")).frame();
    let drops = Ip::new(CLIENT4, VIP4, Transport::udp(1, 53, b"")).frame();
    let of = |verdict: Verdict| Filter { verdicts: 1 << verdict.counter(), ..OPEN };
    let dropped = Verdict::Drop(DropReason::NoLocalService);
    assert!(told(&mut kernel, of(Verdict::NoService), &passes).is_some());
    assert!(told(&mut kernel, of(dropped), &passes).is_none());
    assert!(told(&mut kernel, of(dropped), &drops).is_some());
    assert!(told(&mut kernel, of(Verdict::NoService), &drops).is_none());
}

/// Runs on one CPU, which counts for itself.
#[test]
fn samples_counts_and_what_is_lost() {
    lb_tests::kernel::stay_on_this_cpu().expect("a thread may choose its CPU");
    let mut kernel = kernel(&fixture::wanted(Outer::V4));
    let frame = Ip::new(CLIENT4, VIP4, Transport::tcp(1, 22, b"")).frame();
    let mut run = |filter: Filter, times: usize| {
        kernel.set_filter(filter).expect("the filter can be set");
        (0..times).for_each(|_| _ = kernel.run_capturing(&frame).expect("it runs"));
        (kernel.records().expect("records can be read").len(), kernel.lost_records().expect("it is known"))
    };
    assert_eq!(run(Filter { sample: 4, ..OPEN }, 12), (3, 0), "one in four");
    assert_eq!(run(Filter { count: 5, ..OPEN }, 12), (2, 0), "three were told before");
    let (told, lost) = run(OPEN, 100);
    assert!(told > 5 && lost > 0 && told as u64 + lost == 100, "a page holds {told}, {lost} are lost");
}
