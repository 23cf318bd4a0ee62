//! The socket lookup's choice, on the host; with real sockets it is tested in the netns tier.

use lb_common::map::{LISTENER_V4, LISTENER_V6};
use lb_ebpf::{Choice, Lookup, choose};
use lb_tests::fixture::{self, CLIENT4, Outer, VIP4, VIP6, tuple};
use lb_tests::host::Host;
use std::net::IpAddr;

fn lookup(address: IpAddr) -> Lookup {
    match tuple(address, address, 6, 1, 1) {
        lb_common::hash::Tuple::V4 { destination, .. } => Lookup::V4(destination),
        lb_common::hash::Tuple::V6 { destination, .. } => Lookup::V6(destination),
    }
}

#[test]
fn only_services_with_a_listener_get_one() {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let host = Host::with(&fixture::wanted(Outer::V4));
    for (address, port, protocol, expected) in [
        (VIP4, 80, TCP, Choice::Listener(LISTENER_V4)),
        (VIP4, 443, TCP, Choice::Listener(LISTENER_V4)),
        (VIP6, 443, TCP, Choice::Listener(LISTENER_V6)),
        (VIP4, 53, UDP, Choice::Refuse),
        (VIP4, 22, TCP, Choice::Refuse),
        (VIP6, 22, TCP, Choice::Refuse),
        (VIP4, 80, UDP, Choice::Refuse),
        (CLIENT4, 80, TCP, Choice::Kernel),
    ] {
        let chosen = choose(&host, lookup(address), u16::to_be(port), protocol);
        assert_eq!(chosen, expected, "{address} {port} {protocol}");
    }
}
