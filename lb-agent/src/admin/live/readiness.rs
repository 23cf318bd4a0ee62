//! Whether a node is ready, in words: what it has, what is missing, what is not as it should be.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::time::ASN1Time;

use super::super::drain::DrainReport;
use super::Live;
use crate::model::{Basis, Condition, FlowKeys, Turn};

impl Live {
    /// What a node that is ready has, in words.
    #[must_use]
    pub fn ready(&self) -> String {
        let generation = self.kernel_generation().unwrap_or_else(|| self.proxy_generation());
        let gone = self.gone();
        let mut attachments = self.attachments();
        attachments.retain(|place| !gone.contains_key(&place.interface));
        let places = attachments.iter().map(|place| format!("{} ({})", place.interface, place.mode));
        let places = match self.kernel.is_some() {
            true => format!("packets on {}", places.collect::<Vec<_>>().join(", ")),
            false => "no packet path".to_owned(),
        };
        let membership =
            self.snapshot().map(|snapshot| snapshot.membership.number).filter(|&number| number > 0);
        let membership = membership.map(|number| format!(", membership {number}")).unwrap_or_default();
        let stored = self.following().and_then(|following| match following.basis {
            Basis::Stored(written) => Some(format!(", from the stored snapshot of {}", utc(written))),
            Basis::Nothing | Basis::Cluster => None,
        });
        format!(
            "ready: generation {generation}{membership}, {places}{}{}{}",
            stored.unwrap_or_default(),
            self.stale(),
            self.drains().map(|words| format!("; {words}")).unwrap_or_default() + &self.silent()
        )
    }

    /// What is not followed at the moment, and since when: the last state of it stays.
    fn stale(&self) -> String {
        let watches = self.following().map(|following| following.watches).unwrap_or_default();
        let mut failing: BTreeMap<Condition, (SystemTime, Vec<&str>)> = BTreeMap::new();
        for watch in watches.iter().filter(|watch| watch.condition.is_failure()) {
            let (since, names) = failing.entry(watch.condition).or_insert((watch.since, Vec::new()));
            *since = watch.since.min(*since);
            names.push(watch.name);
        }
        let each = failing.into_iter().map(|(condition, (since, names))| {
            format!("; not followed since {} ({condition}): {}", utc(since), names.join(", "))
        });
        each.collect()
    }

    /// What keeps this node from being ready, in words: what is missing, or that it drains.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        self.missing().into_iter().chain(self.drains()).collect()
    }

    fn drains(&self) -> Option<String> {
        self.draining.borrow().is_some().then(|| DrainReport::new(self).words)
    }

    /// What is missing, in words. Nothing is on a node on which a first complete snapshot is live in kernel and proxy, and at
    /// which packets come in, whether it drains or not; later snapshots that fail leave it so, with the last good state.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.snapshots.borrow().is_none() {
            missing.push(format!("the objects have not been read completely yet{}", self.unread()));
        }
        if self.kernel_generation() == Some(0) {
            let lacks_key = self.following().is_some_and(|following| !following.has_flow_key);
            let key = if lacks_key { " (nor has the cluster a flow key)" } else { "" };
            missing.push(match *self.turn.borrow() {
                Turn::Waiting => {
                    "the agent before this one has not handed over the packet path yet".to_owned()
                }
                _ => format!("the kernel's maps hold no snapshot yet{key}"),
            });
        }
        if self.proxy_generation() == 0 {
            missing.push("the proxy serves no snapshot yet".to_owned());
        }
        missing.extend(Some(self.keys()).filter(FlowKeys::are_wanting).and_then(|keys| keys.words()));
        let (attachments, gone) = (self.attachments(), self.gone());
        if !gone.is_empty() && attachments.iter().all(|place| gone.contains_key(&place.interface)) {
            missing.extend(gone.into_values());
        }
        missing
    }

    /// Kinds that have not been listed, and why.
    fn unread(&self) -> String {
        let watches = self.following().map(|following| following.watches).unwrap_or_default();
        let unread = watches.iter().filter(|watch| {
            !matches!(watch.condition, Condition::Current | Condition::Missing | Condition::Waiting)
        });
        let unread = unread.map(|watch| match watch.message.as_str() {
            "" => format!("{} {}", watch.name, watch.condition),
            message => format!("{} {} ({message})", watch.name, watch.condition),
        });
        let unread: Vec<_> = unread.collect();
        if unread.is_empty() { String::new() } else { format!(" ({})", unread.join(", ")) }
    }
}

/// A time as people read it.
pub(in crate::admin) fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = i64::try_from(seconds).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::watch;

    use super::super::Attachment;
    use super::super::tests::{following, live, peer};
    use super::*;
    use crate::model::{DrainProgress, Draining, PeerState, Peers, Snapshot};

    #[test]
    fn a_node_that_drains_is_not_ready() {
        let told = watch::Sender::new(Some(Draining::within(Duration::from_secs(9)))).subscribe();
        let draining = Live { draining: told, ..live(Some(1), 1, Some(Snapshot::default())) };
        assert_eq!(draining.not_ready(), ["draining"]);
        let progress = DrainProgress { of: *draining.draining.borrow(), ..DrainProgress::default() };
        let draining = Live { drain: watch::Sender::new(progress).subscribe(), ..draining };
        assert_eq!(draining.not_ready(), ["draining: new flows still open here, no connection left"]);
        assert_eq!(draining.missing(), [""; 0], "it works");
        assert!(draining.ready().contains("; draining: new flows"), "{}", draining.ready());
    }

    #[test]
    fn the_next_agent_says_for_whom_it_waits() {
        let turn = watch::Sender::new(Turn::Waiting).subscribe();
        let next = Live { turn, ..live(Some(0), 1, Some(Snapshot::default())) };
        assert!(next.missing()[0].contains("the agent before"), "{:?}", next.missing());
    }

    #[test]
    fn what_is_not_followed_is_told_and_leaves_the_node_ready() {
        let written = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (basis, condition, missing, words) in [
            (Basis::Nothing, Condition::Forbidden, 3, "(Ingress forbidden (403 no such right))"),
            (Basis::Nothing, Condition::Forbidden, 3, "nor has the cluster a flow key"),
            (
                Basis::Stored(written),
                Condition::Listing,
                0,
                "from the stored snapshot of Nov 14 22:13:20 2023",
            ),
            (Basis::Cluster, Condition::Current, 0, "packets on eth0 (generic)"),
            (
                Basis::Cluster,
                Condition::Forbidden,
                0,
                "not followed since Jan 15 08:00:00 2027 +00:00 (forbidden): Ingress",
            ),
        ] {
            let live = following(basis, condition);
            let found = live.missing();
            assert_eq!(found.len(), missing, "{found:?}");
            let found = if found.is_empty() { live.ready() } else { found.join("; ") };
            assert!(found.contains(words), "{found}");
        }
        assert!(!following(Basis::Cluster, Condition::Current).ready().contains("stored"));
        assert!(!following(Basis::Cluster, Condition::Current).ready().contains("Ingress"));
    }

    #[test]
    fn who_is_silent_is_told_and_leaves_the_node_ready() {
        let with = |peers, alone| Live {
            peers: Some(watch::Sender::new(peers).subscribe()),
            alone: Some(watch::Sender::new(alone).subscribe()),
            ..live(Some(1), 1, Some(Snapshot::default()))
        };
        let words = with(Peers { all: vec![peer(PeerState::Up)], stuck: None }, false).ready();
        assert!(!words.contains("edge-2") && !words.contains("alone"), "{words}");
        let down = Peers { all: vec![peer(PeerState::Down)], stuck: Some("proxy worker 1".to_owned()) };
        let judged = Some(watch::Sender::new([2].into()).subscribe());
        let gateways = Some(watch::Sender::new(Some("no gateway of IPv6 answers".to_owned())).subscribe());
        let one = Live { down: judged, gateways: gateways.clone(), ..with(down.clone(), false) };
        let alone = Live { gateways, ..with(down, true) };
        let (one_silent, gateway) =
            ("; edge-2 has never answered: no new flows go there", "; no gateway of IPv6 answers");
        for (live, expected, others) in [
            (one, [one_silent, "proxy worker 1 is stuck", gateway], "alone"),
            // It judges nobody.
            (
                alone,
                ["; this node is alone: no member answers, and", "worker 1 is stuck", "to blame"],
                "new flows",
            ),
        ] {
            assert!(live.missing().is_empty());
            let text = live.ready();
            assert!(expected.iter().all(|words| text.contains(words)), "{text}");
            assert!(!text.contains(others), "{text}");
        }
        let since = Some(Duration::from_secs(9));
        let missed = Some(watch::Sender::new(since).subscribe());
        let stood_in = Live { missed, ..live(Some(1), 1, Some(Snapshot::default())) };
        assert!(stood_in.ready().contains("; others open this node's flows"), "{}", stood_in.ready());
    }

    #[test]
    fn an_interface_that_is_gone_is_told() {
        let place = |name: &str| Attachment {
            interface: name.to_owned(),
            why: "named".to_owned(),
            mode: "native".to_owned(),
            reason: None,
        };
        let with = |places: &[&str]| Live {
            attachments: Some(
                watch::Sender::new(places.iter().map(|name| place(name)).collect()).subscribe(),
            ),
            gone: Some(
                watch::Sender::new(BTreeMap::from([("eth0".to_owned(), "there is none".to_owned())]))
                    .subscribe(),
            ),
            ..live(Some(1), 1, Some(Snapshot::default()))
        };
        assert_eq!(with(&["eth0"]).missing(), ["no packets come in by eth0: there is none"]);
        let other = with(&["eth0", "eth1"]);
        assert!(other.missing().is_empty());
        let words = "packets on eth1 (native); no packets come in by eth0: there is none";
        assert!(other.ready().contains(words), "{}", other.ready());
    }

    #[test]
    fn ready_is_what_is_live_everywhere() {
        let some = || Some(Snapshot { generation: 1, ..Snapshot::default() });
        for (kernel, proxy, snapshot, missing) in [
            (Some(0), 0, None, vec!["objects", "kernel", "proxy"]),
            (Some(0), 0, some(), vec!["kernel", "proxy"]),
            (Some(0), 1, some(), vec!["kernel"]),
            (Some(1), 0, some(), vec!["proxy"]),
            (Some(1), 1, some(), vec![]),
            (Some(3), 7, some(), vec![]),
            (None, 0, some(), vec!["proxy"]),
            (None, 1, some(), vec![]),
        ] {
            let found = live(kernel, proxy, snapshot).missing();
            assert_eq!(found.len(), missing.len(), "{kernel:?} {proxy}: {found:?}");
            for (found, word) in found.iter().zip(missing) {
                assert!(found.contains(word), "{found} {word}");
            }
        }
    }
}
