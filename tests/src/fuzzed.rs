//! What a node gets from the network, each with what has to hold whatever the bytes are: whole packets, and the messages of
//! other nodes. Fuzz targets call them (`tests/fuzz`), and a test with every file of the corpora.

use lb_agent::l4::keys;
use lb_agent::l4::wanted::Wanted;
use lb_common::capture::{Filter, family};
use lb_common::encap::{Chain, HEADER_LEN, Header};
use lb_common::hash::FlowKey;
use lb_common::probe::Message;
use lb_common::quic::{ConnectionId, ID_LEN};
use lb_common::row::{NO_MEMBER, ROW_MEMBERS};
use lb_common::verdict::Verdict;
use lb_ebpf::Action;

use crate::fixture::{FAR, NEAR, Outer, SECRET, THIS, by_keys, roll_over, wanted, wanted_row, with_quic};
use crate::host::Host;

/// The name of a corpus, and what is called with its bytes.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: [Parser; 2] = [("packet", packet), ("message", message)];

thread_local! {
    static HOSTS: [Host; 4] = states().map(|wanted| Host::with(&wanted));
}

/// The first, a middle and a last place of the row; outer addresses of both families; one flow key, and two.
fn states() -> [Wanted; 4] {
    let [one, learned, switched, _] = roll_over();
    let states = [
        by_keys(wanted(Outer::V4), one),
        by_keys(wanted(Outer::V6), learned),
        by_keys(wanted_row(Outer::V4, [FAR, THIS, NEAR]), switched),
        by_keys(wanted_row(Outer::V6, [THIS, NEAR, FAR]), one),
    ];
    states.map(with_quic)
}

/// A packet as a node gets it: something becomes of it that is counted once, and it is lost only for a reason.
///
/// # Panics
/// If that does not hold.
pub fn packet(frame: &[u8]) {
    let filter =
        Filter { family: family::V6, protocol: 6, destination_port: 443_u16.to_be(), ..Filter::default() };
    HOSTS.with(|hosts| {
        for host in hosts {
            host.forget();
            _ = host.matches(&filter, frame);
            let outcome = host.run(frame);
            let [verdict] = outcome.verdicts[..] else { panic!("{:?}", outcome.verdicts) };
            // What the agent has a copy of is not lost.
            let has_reason = matches!(verdict, Verdict::Drop(_) | Verdict::Held | Verdict::Cut);
            assert_eq!(outcome.action == Action::Drop, has_reason, "{verdict:?}");
            if outcome.action == Action::Pass {
                assert!(outcome.frame.len() <= frame.len(), "{verdict:?}");
            }
        }
    });
}

/// What is between nodes: a probe, an inquiry, the header of an encapsulated packet, the ID of a connection. What is read as
/// one of ours is what we would have written.
///
/// # Panics
/// If that does not hold.
pub fn message(bytes: &[u8]) {
    let key = keys::derive(SECRET);
    if let Some(message) = Message::from_bytes(bytes) {
        assert_eq!(message.bytes(), bytes);
        probe_or_inquiry(&message, &key);
    }
    if let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() {
        header(*bytes, &key);
    }
    if let Some(bytes) = bytes.first_chunk::<ID_LEN>() {
        let id = ConnectionId::from_bytes(*bytes);
        assert_eq!(id.bytes(), *bytes);
        let member = id.member(&key);
        assert!(member == NO_MEMBER || ConnectionId::new(&key, member, id.0[0]) == id, "{member}");
    }
}

fn probe_or_inquiry(message: &Message, key: &FlowKey) {
    assert!(message.probe().is_err() || message.inquiry().is_err());
    if let Ok(probe) = message.probe() {
        let again = Message::new(&probe, key);
        let read = again.probe().expect("ours is read");
        assert_eq!(read, probe);
        assert!(again.is_tagged(key));
    }
    if let Ok(inquiry) = message.inquiry() {
        let again = Message::of_inquiry(&inquiry, key);
        assert_eq!(again.inquiry(), Ok(inquiry));
        assert!(again.is_tagged(key));
    }
}

fn header(bytes: [u8; HEADER_LEN], key: &FlowKey) {
    let header = Header::from_bytes(bytes);
    assert_eq!(header.bytes(), bytes);
    let Ok(inner) = header.inner() else { return };
    let again = Header::packed(inner, header.packed_chain(), header.cluster(), key, 7);
    assert!(again.is_tagged(key, 7));
    assert_eq!(again.bytes()[..HEADER_LEN - 4], bytes[..HEADER_LEN - 4]);
    let chain = header.chain();
    assert_eq!(chain.packed().unpacked(), chain);
    let walk = std::iter::successors(Some(chain), |chain| Some(chain.next()));
    let asked = walk.take(ROW_MEMBERS + 1).take_while(|chain| chain.target().is_some()).count();
    assert!(asked <= ROW_MEMBERS, "{chain:?}");
    let handed = std::iter::successors(Some(chain), |chain| chain.handed_to(chain.row.opener() ^ 1));
    assert!(handed.take(5).count() < 5, "{chain:?}");
    assert!(Chain::target(chain).is_some() || chain.rest() == 0, "{chain:?}");
}

#[cfg(test)]
#[path = "../fuzz/corpora.rs"]
mod corpora;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpora_hold() {
        for (name, parser) in PARSERS {
            corpora::hold(env!("CARGO_MANIFEST_DIR"), name, parser);
        }
    }
}
