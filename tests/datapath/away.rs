//! A member that was away: flows that were its own to take may have opened elsewhere, and first hops may not know.

use lb_common::encap::Direction::{self, FromOpener, ToOpener};
use lb_common::hash::flow_hash;
use lb_common::map::config;
use lb_common::row::MemberId;
use lb_common::verdict::Verdict;
use lb_ebpf::{Action, Socket};
use lb_tests::fixture::{self, FAR, NEAR, THIS, VIP4, VIP6, wanted_row};
use lb_tests::packet::flags::{ACK, RST, SYN};

use crate::check::Both;
use crate::walk::{OUTER, chain, leaves, on_a_node, segment};
use crate::wire::{Encapsulated, Wire};

/// The packet path of a member with this row of its own.
fn away(row: [MemberId; 3]) -> Both {
    let mut wanted = wanted_row(OUTER, row);
    wanted.config.flags |= config::WAS_AWAY;
    Both::with(&wanted)
}

fn come(row: [MemberId; 3], direction: Direction, hop: u8, flags: u8) -> Encapsulated {
    Encapsulated { chain: chain(row, direction, hop), inner: segment(flags), ..Encapsulated::v4() }
}

#[test]
fn what_comes_to_it_alone_goes_on_along_its_own_row() {
    for (row, flags, direction, hop) in [
        ([THIS, NEAR, 0], ACK, FromOpener, 1),
        ([THIS, NEAR, 0], RST, FromOpener, 1),
        ([THIS, NEAR, FAR], ACK, FromOpener, 1),
        // Who opened before is asked before it opens.
        ([THIS, NEAR, 0], SYN, ToOpener, 1),
        ([THIS, NEAR, FAR], SYN, ToOpener, 2),
    ] {
        let packet = Encapsulated { outer_tos: 0xba, ..come([THIS, 0, 0], ToOpener, 0, flags) };
        let wire = Wire { tos: 0xba, ..Wire::new(OUTER, chain(row, direction, hop)) };
        let (mut both, name) = (away(row), format!("{row:?} {flags:#x}"));
        leaves(&mut both, &name, &packet.frame(), Verdict::PassedOn, &wire, &packet.inner);
    }
}

#[test]
fn what_is_there_or_comes_back_stays() {
    let mut both = away([THIS, NEAR, 0]);
    for (name, packet, verdict) in [
        ("a SYN that nobody had", come([THIS, NEAR, 0], ToOpener, 0, SYN), Verdict::Opened),
        ("a chain that knows", come([NEAR, THIS, 0], FromOpener, 1, ACK), Verdict::FoundNowhere),
    ] {
        let taken = both.run(name, &packet.frame());
        assert_eq!((taken.verdicts[0], taken.action), (verdict, Action::Pass), "{name}");
    }
    on_a_node(|node, from| {
        let (client, _stream) = node.open(from, 40_001);
        let mut both = away([THIS, NEAR, 0]);
        both.host_has(client.tuple(), Socket::Connection);
        let hash = flow_hash(&fixture::local().keys.in_force, &client.tuple());
        let vip = if from.is_ipv4() { VIP4 } else { VIP6 };
        let packet = Encapsulated { inner: client.ack(), hash, ..Encapsulated::new(OUTER, from, vip) };
        let taken = both.run("its own connection", &packet.frame());
        assert_eq!((taken.verdicts[0], taken.action), (Verdict::FoundFirst, Action::Pass));
    });
}

#[test]
fn flows_that_opened_nowhere_else_are_its_own() {
    for row in [[THIS, 0, 0], [NEAR, THIS, 0], [FAR, 0, 0]] {
        let taken = away(row).run("own", &come([THIS, 0, 0], ToOpener, 0, ACK).frame());
        assert_eq!((taken.verdicts[0], taken.action), (Verdict::Opened, Action::Pass), "{row:?}");
    }
}
