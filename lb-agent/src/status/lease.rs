//! What an agent says of itself in its node's Lease: written by itself, read by the leader. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::names;
use crate::model::{Mark, Step};

/// What an agent is up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AgentState {
    /// Not ready yet: no first complete state is in kernel and proxy.
    #[default]
    Starting,
    /// It can own flows.
    Ready,
    /// It keeps the flows that it has, and wants no new ones.
    Draining,
    /// It has stopped in order: its node owns nothing any more.
    Stopped,
}

impl AgentState {
    const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::Draining, Self::Stopped];

    /// The word in the Lease.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the node's kernel forwards by what its agent acknowledges.
    pub(super) const fn is_live(self) -> bool {
        matches!(self, Self::Ready | Self::Draining)
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A node's Lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NodeLease {
    /// The Node's name.
    pub(super) node: String,
    /// Which process speaks.
    pub(super) holder: String,
    /// Changes with each renewal. Whose clock it is of does not matter: it is never compared with a time.
    pub(super) renewal: Option<Timestamp>,
    /// Without a renewal for as long, the agent counts as gone.
    pub(super) duration: Duration,
    /// What it is up to.
    pub(super) state: AgentState,
    /// How far the history is that is in its kernel.
    pub(super) acknowledged: Mark,
    /// The digest of its rows there.
    pub(super) rows: Option<u64>,
    /// The oldest generation that flows on the node still need.
    pub(super) needed: Option<u64>,
    /// How many members a row there may name because they opened flows in place of another one that was away.
    pub(super) stood_in: u64,
    /// Open connections to VIPs there.
    pub(super) held: u64,
    /// The age of the oldest of them, in whole seconds.
    pub(super) oldest: Option<Duration>,
    /// The fingerprint of the flow key in force there.
    pub(super) key: Option<u32>,
    /// That of the one that it was given last. An agent of before keys could change does not say it.
    pub(super) given_key: Option<u32>,
    /// That of one of the history's which it does not know, and does not believe in.
    pub(super) doubted_key: Option<u32>,
    /// The node's addresses, for people.
    pub(super) addresses: Vec<IpAddr>,
}

impl NodeLease {
    /// Of an agent that has said its state and nothing else.
    #[cfg(test)]
    pub(super) fn saying(node: &str, duration: Duration, state: AgentState) -> Self {
        Self {
            node: node.to_owned(),
            holder: String::new(),
            renewal: None,
            duration,
            state,
            acknowledged: Mark::default(),
            rows: None,
            needed: None,
            stood_in: 0,
            held: 0,
            oldest: None,
            key: None,
            given_key: None,
            doubted_key: None,
            addresses: Vec::new(),
        }
    }

    /// What the Lease says; `None` of one that is no agent's. What cannot be read counts as not said.
    pub(super) fn read(lease: &Lease) -> Option<Self> {
        let annotation = |name| Some(lease.metadata.annotations.as_ref()?.get(name)?.as_str());
        let number = |name| annotation(name)?.parse().ok();
        let label = || lease.metadata.labels.as_ref()?.get(names::NODE_LABEL).map(String::as_str);
        let spec = lease.spec.as_ref()?;
        Some(Self {
            node: annotation(names::NODE).or_else(label)?.to_owned(),
            holder: spec.holder_identity.clone().unwrap_or_default(),
            renewal: spec.renew_time.as_ref().map(|time| time.0),
            duration: duration(spec)?,
            state: annotation(names::STATE).and_then(AgentState::parse).unwrap_or_default(),
            acknowledged: annotation(names::ACKNOWLEDGED).and_then(mark).unwrap_or_default(),
            rows: annotation(names::ROWS).and_then(|text| u64::from_str_radix(text, 16).ok()),
            needed: number(names::NEEDED),
            stood_in: number(names::STOOD_IN).unwrap_or(0),
            held: number(names::HELD).unwrap_or(0),
            oldest: number(names::OLDEST).map(Duration::from_secs),
            key: annotation(names::FLOW_KEY).and_then(print),
            given_key: annotation(names::GIVEN_KEY).and_then(print),
            doubted_key: annotation(names::DOUBTED_KEY).and_then(print),
            addresses: annotation(names::ADDRESSES).map(addresses).unwrap_or_default(),
        })
    }

    /// The object, to take the place of the one with this `resourceVersion`, if there is one.
    pub(super) fn write(&self, version: Option<String>) -> Lease {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let mut annotations = BTreeMap::from([
            (names::NODE.to_owned(), self.node.clone()),
            (names::STATE.to_owned(), self.state.to_string()),
            (names::ACKNOWLEDGED.to_owned(), said(self.acknowledged)),
            (names::ADDRESSES.to_owned(), addresses.join(",")),
        ]);
        if let Some(rows) = self.rows {
            annotations.insert(names::ROWS.to_owned(), format!("{rows:016x}"));
        }
        let oldest = self.oldest.map(|oldest| oldest.as_secs());
        let stood_in = Some(self.stood_in).filter(|stood_in| *stood_in > 0);
        let numbers = [
            (names::NEEDED, self.needed),
            (names::STOOD_IN, stood_in),
            (names::HELD, Some(self.held)),
            (names::OLDEST, oldest),
        ];
        for (name, number) in numbers {
            annotations.extend(number.map(|number| (name.to_owned(), number.to_string())));
        }
        let keys = [
            (names::FLOW_KEY, self.key),
            (names::GIVEN_KEY, self.given_key),
            (names::DOUBTED_KEY, self.doubted_key),
        ];
        for (name, key) in keys {
            annotations.extend(key.map(|key| (name.to_owned(), format!("{key:08x}"))));
        }
        Lease {
            metadata: ObjectMeta {
                name: Some(names::node_lease(&self.node)),
                labels: Some(BTreeMap::from([(names::NODE_LABEL.to_owned(), names::node_label(&self.node))])),
                annotations: Some(annotations),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.holder.clone()),
                lease_duration_seconds: Some(seconds(self.duration)),
                renew_time: self.renewal.map(MicroTime),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// `8 Switch 7`: generation, step, and the oldest generation that is not retired.
fn said(mark: Mark) -> String {
    format!("{} {} {}", mark.number, mark.step, mark.oldest)
}

fn mark(text: &str) -> Option<Mark> {
    let mut words = text.split(' ');
    let number = words.next()?.parse().ok()?;
    let word = words.next()?;
    let step =
        [Step::Learn, Step::Switch, Step::Settled].into_iter().find(|step| step.to_string() == word)?;
    Some(Mark { number, step, oldest: words.next()?.parse().ok()? })
}

/// Of a flow key.
fn print(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

fn addresses(text: &str) -> Vec<IpAddr> {
    text.split(',').filter_map(|address| address.parse().ok()).collect()
}

/// A Lease counts whole seconds.
pub(super) fn seconds(duration: Duration) -> i32 {
    let rounded_up = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(rounded_up).unwrap_or(i32::MAX)
}

/// How long a Lease is good for after a renewal; `None` if that makes no sense.
pub(super) fn duration(spec: &LeaseSpec) -> Option<Duration> {
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok())?;
    (seconds > 0).then_some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> NodeLease {
        NodeLease {
            node: "edge-1".to_owned(),
            holder: "edge-1_7".to_owned(),
            renewal: Timestamp::from_second(1_700_000_000).ok(),
            duration: Duration::from_secs(12),
            state: AgentState::Draining,
            acknowledged: Mark { number: 7, step: Step::Switch, oldest: 6 },
            rows: Some(0xab),
            needed: Some(6),
            stood_in: 1,
            held: 3,
            oldest: Some(Duration::from_secs(240)),
            key: Some(0xabc),
            given_key: Some(u32::MAX),
            doubted_key: Some(0xbad),
            addresses: vec![IpAddr::from([198, 51, 100, 1])],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let node = format!("{}.example.org", "n".repeat(240));
        for lease in [
            lease(),
            NodeLease {
                rows: None,
                needed: None,
                stood_in: 0,
                oldest: None,
                addresses: Vec::new(),
                ..lease()
            },
            NodeLease { key: None, given_key: None, doubted_key: None, ..lease() },
            NodeLease { node, state: AgentState::Stopped, ..lease() },
        ] {
            assert_eq!(NodeLease::read(&lease.write(None)), Some(lease));
        }
    }

    #[test]
    fn nonsense_counts_as_not_said() {
        let mut object = lease().write(None);
        for value in object.metadata.annotations.iter_mut().flat_map(BTreeMap::values_mut) {
            *value = "nonsense".to_owned();
        }
        let read = NodeLease::read(&object).expect("it is a node's");
        assert_eq!((read.state, read.acknowledged, read.rows), (AgentState::Starting, Mark::default(), None));
        assert_eq!((read.needed, read.stood_in, read.held, read.oldest), (None, 0, 0, None));
        assert_eq!((read.key, read.given_key, read.doubted_key), (None, None, None));
        object.metadata.annotations = None;
        assert_eq!(NodeLease::read(&object).map(|lease| lease.node).as_deref(), Some("edge-1"));
        object.spec.as_mut().expect("it has one").lease_duration_seconds = Some(-3);
        assert_eq!(NodeLease::read(&object), None);
    }
}
