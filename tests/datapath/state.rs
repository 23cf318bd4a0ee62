//! The same packet under other states of the maps.

use lb_agent::l4::wanted::Wanted;
use lb_common::map::{Config, Member, member};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::Action;
use lb_tests::fixture::{self, CLIENT4, FAR, INGRESS, NEAR, Outer, VIP4, port_owned_by};
use lb_tests::kernel::Kernel;
use lb_tests::packet::{Ip, Transport};

use crate::check::Both;

fn frame_to(wanted: &Wanted, owner: u16, payload: usize) -> Vec<u8> {
    let port = port_owned_by(wanted, owner, CLIENT4, VIP4, 6, 443);
    Ip::new(CLIENT4, VIP4, Transport::tcp(port, 443, &vec![7; payload])).frame()
}

/// The fixture's state after a change, with a packet that `NEAR` owns in the fixture.
fn drops(name: &str, change: impl Fn(&mut Wanted), reason: DropReason) {
    let mut wanted = fixture::wanted(Outer::V4);
    let frame = frame_to(&wanted, NEAR, 0);
    change(&mut wanted);
    Both::with(&wanted).drops(name, &frame, reason);
}

#[test]
fn what_is_missing_has_a_name() {
    drops("configuration", |wanted| wanted.config = Config::default(), DropReason::NotConfigured);
    drops("member", |wanted| wanted.members.retain(|&id, _| id != NEAR), DropReason::UnknownMember);
    drops(
        "next hop",
        |wanted| {
            let known = wanted.members[&NEAR];
            let flags = known.flags & !member::REACHABLE;
            wanted.members.insert(NEAR, Member { flags, ..known });
        },
        DropReason::NoNextHop,
    );
}

#[test]
fn no_member_no_row() {
    let mut snapshot = fixture::snapshot(Outer::V4);
    let frame = frame_to(&fixture::wanted(Outer::V4), NEAR, 0);
    snapshot.members.clear();
    let wanted = fixture::wanted_of(&snapshot, Outer::V4);
    Both::with(&wanted).drops("nobody", &frame, DropReason::NoMember);
}

#[test]
fn a_frame_without_room_in_front_is_dropped_by_name() {
    // The kernel's test run leaves 256 bytes: five encapsulations fit, of a flow that comes back each time.
    let mut wanted = fixture::wanted(Outer::V4);
    let frame = frame_to(&wanted, NEAR, 64);
    for member in wanted.members.values_mut() {
        member.ifindex = INGRESS;
    }
    let mut kernel = Kernel::with(&wanted).expect("the program loads");
    let verdicts = kernel.run_without_headroom(&frame).expect("runs");
    assert_eq!(verdicts, [Verdict::Drop(DropReason::NoHeadroom)]);
}

#[test]
fn members_behind_other_interfaces_are_redirected_to() {
    let wanted = fixture::wanted(Outer::V4);
    let mut both = Both::with(&wanted);
    let near = both.run("near", &frame_to(&wanted, NEAR, 0));
    assert_eq!(near.action, Action::Transmit);
    let far = both.run("far", &frame_to(&wanted, FAR, 0));
    assert_eq!(far.action, Action::Redirect(fixture::OTHER_INTERFACE));
}

#[test]
fn maps_follow_from_state_to_state() {
    let first = fixture::wanted(Outer::V4);
    let frame = frame_to(&first, NEAR, 0);
    let mut kernel = Kernel::with(&first).expect("the program loads");
    assert_eq!(kernel.run(&frame).expect("runs").verdicts, [Verdict::Sent]);
    let mut snapshot = fixture::snapshot(Outer::V4);
    snapshot.members.retain(|name, _| name == "edge-1");
    kernel.set(&fixture::wanted_of(&snapshot, Outer::V4)).expect("the maps can be written");
    assert_eq!(kernel.run(&frame).expect("runs").verdicts, [Verdict::DeliveredFirstHop]);
    snapshot.services.clear();
    kernel.set(&fixture::wanted_of(&snapshot, Outer::V4)).expect("the maps can be written");
    assert_eq!(kernel.run(&frame).expect("runs").verdicts, [Verdict::NoService]);
    snapshot.vips.clear();
    kernel.set(&fixture::wanted_of(&snapshot, Outer::V4)).expect("the maps can be written");
    assert_eq!(kernel.run(&frame).expect("runs").verdicts, [Verdict::NotForVip]);
    kernel.set(&first).expect("the maps can be written");
    assert_eq!(kernel.run(&frame).expect("runs").verdicts, [Verdict::Sent]);
    let read = kernel.maps().read().expect("the maps can be read");
    assert_eq!(&read, kernel.installed(), "what is kept beside the maps is what they hold");
}

#[test]
fn traffic_is_counted_by_service() {
    let wanted = fixture::wanted(Outer::V4);
    let mut kernel = Kernel::with(&wanted).expect("the program loads");
    let frame = frame_to(&wanted, NEAR, 10);
    for _ in 0..3 {
        kernel.run(&frame).expect("runs");
    }
    let traffic = kernel.traffic_of(VIP4, 443).expect("the service is there");
    assert_eq!((traffic.packets, traffic.bytes), (3, 3 * 50));
    assert_eq!(kernel.traffic_of(VIP4, 80).expect("the service is there").packets, 0);
}
