//! A captured packet as it is told: what became of it in words, as a line or as a block.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::verdict::{Counter, Verdict};

use super::super::Live;
use super::super::overview;
use super::headers;
use super::pcapng::{Link, Packet, Writer};
use super::question::Form;
use crate::model::{Captured, Hop};

/// Tells of packets in one form.
#[derive(Debug)]
pub(super) struct Teller {
    /// `None` for lines.
    blocks: Option<Writer>,
    live: Live,
    /// Of members that were named before.
    names: BTreeMap<u16, String>,
}

impl Teller {
    /// A teller, and what comes before the first packet.
    pub(super) fn begin(form: Form, snap: u32, live: Live) -> (Self, Vec<u8>) {
        let (blocks, first) = match form {
            Form::Text => (None, Vec::new()),
            Form::Pcapng => {
                let application = format!("lb-agent {} on {}", live.version, live.node);
                let (writer, section) = Writer::begin(Link::Ethernet, snap, &application);
                (Some(writer), section)
            }
        };
        (Self { blocks, live, names: BTreeMap::new() }, first)
    }

    /// One packet.
    pub(super) fn packet(&mut self, captured: &Captured) -> Vec<u8> {
        let words = became(captured, |hop| self.name(hop));
        let Captured { at, interface, packet, length, .. } = captured;
        match &mut self.blocks {
            Some(blocks) => {
                blocks.packet(&Packet { interface, at: *at, bytes: packet, length: *length, comment: &words })
            }
            None => {
                let headers = headers::words(packet);
                format!("{} {interface} {headers}, {length} bytes: {words}\n", time(*at)).into_bytes()
            }
        }
    }

    /// What comes behind the last packet.
    pub(super) fn end(&self, at: Duration, told: u64, lost: u64, words: &str) -> Vec<u8> {
        self.blocks.as_ref().map(|blocks| blocks.end(at, told, lost, words)).unwrap_or_default()
    }

    fn name(&mut self, id: u16) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        match overview::name(&self.live, id) {
            Some(name) => self.names.entry(id).or_insert(name).clone(),
            None => format!("member {id}"),
        }
    }
}

/// What became of a packet.
fn became(captured: &Captured, name: impl FnOnce(u16) -> String) -> String {
    let Some(verdict) = Counter(captured.verdict).verdict() else {
        return format!("verdict {}", captured.verdict);
    };
    match (verdict, captured.hop) {
        (Verdict::Drop(reason), _) => format!("dropped: {}", reason.label()),
        (Verdict::Sent, Some(hop)) => format!("sent to {}", hop_words(hop, name)),
        (Verdict::PassedOn, Some(hop)) => format!("passed on to {}", hop_words(hop, name)),
        (verdict, _) => verdict.label().to_owned(),
    }
}

fn hop_words(Hop { member, place, of }: Hop, name: impl FnOnce(u16) -> String) -> String {
    format!("{} (place {place} of {of})", name(member))
}

/// The time of day, UTC.
fn time(at: Duration) -> String {
    let seconds = at.as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:06}", seconds % 60, at.subsec_micros())
}

#[cfg(test)]
mod tests {
    use lb_common::verdict::DropReason;

    use super::super::super::live::tests::live;
    use super::*;

    fn captured(verdict: Verdict, hop: Option<Hop>) -> Captured {
        Captured {
            at: Duration::new(86_400 + 3_723, 4_005_000),
            interface: "uplink".to_owned(),
            verdict: verdict.counter(),
            hop,
            packet: vec![0; 14],
            length: 60,
        }
    }

    #[test]
    fn what_became_of_a_packet() {
        let hop = Some(Hop { member: 7, place: 1, of: 2 });
        for (verdict, hop, words) in [
            (Verdict::Sent, hop, "sent to edge-7 (place 1 of 2)"),
            (Verdict::PassedOn, hop, "passed on to edge-7 (place 1 of 2)"),
            (Verdict::DeliveredFirstHop, None, "delivered_first_hop"),
            (Verdict::Drop(DropReason::BadTag), None, "dropped: bad_tag"),
        ] {
            assert_eq!(became(&captured(verdict, hop), |id| format!("edge-{id}")), words);
        }
        let unknown = Captured { verdict: 63, ..captured(Verdict::Sent, None) };
        assert_eq!(became(&unknown, |_| String::new()), "verdict 63");
    }

    #[test]
    fn a_line_says_when_where_who_and_what() {
        let (mut teller, first) = Teller::begin(Form::Text, 64, live(Some(1), 1, None));
        assert!(first.is_empty());
        let line = teller.packet(&captured(Verdict::Sent, Some(Hop { member: 7, place: 2, of: 3 })));
        let line = String::from_utf8(line).expect("a line is text");
        let words = "sent to member 7 (place 2 of 3)";
        assert_eq!(line, format!("01:02:03.004005 uplink ethertype 0x0000, 60 bytes: {words}\n"));
        assert!(teller.end(Duration::ZERO, 1, 0, "over").is_empty());
    }
}
