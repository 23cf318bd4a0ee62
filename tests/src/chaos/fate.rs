//! What became of connections, and how they are counted: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::kind::Kind;

/// A connection's addresses, as the client sees them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Flow {
    /// The client's end.
    pub client: SocketAddr,
    /// The VIP and its port.
    pub vip: SocketAddr,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum End {
    /// It lived until we ended it.
    Kept,
    /// The other side ended it as the protocol has it, with nothing under way.
    InOrder,
    /// Closed when a drain's deadline was over.
    AtDeadline,
    /// RST, or an end in the middle of an answer.
    Reset,
    /// Nothing came any more.
    TimedOut,
    /// A byte or an answer that is not the right one.
    Wrong,
}

impl End {
    /// A request in flight or a stream was cut without the protocol's orderly end.
    #[must_use]
    pub const fn is_broken(self) -> bool {
        matches!(self, Self::Reset | Self::TimedOut | Self::Wrong)
    }
}

/// Why a connection did not live until we ended it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The kind of end.
    pub end: End,
    /// For people.
    pub why: String,
}

impl Failure {
    /// An end with its reason.
    pub fn new(end: End, why: impl Into<String>) -> Self {
        Self { end, why: why.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.end, self.why)
    }
}

impl Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let end = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                End::TimedOut
            }
            io::ErrorKind::InvalidData => End::Wrong,
            _ => End::Reset,
        };
        Self::new(end, error.to_string())
    }
}

/// A connection's fate.
#[derive(Clone, Debug)]
pub struct Fate {
    /// What it was for.
    pub kind: Kind,
    /// Its addresses.
    pub flow: Flow,
    /// How it ended.
    pub end: End,
    /// Why, where it was not kept.
    pub why: String,
    /// When.
    pub at: Instant,
    /// The longest time that it waited for anything.
    pub stall: Duration,
}

/// Fates of one kind, counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Count {
    /// Connections.
    pub all: usize,
    /// `End::Kept`.
    pub kept: usize,
    /// `End::InOrder`.
    pub in_order: usize,
    /// `End::AtDeadline`.
    pub at_deadline: usize,
    /// `End::Reset`.
    pub reset: usize,
    /// `End::TimedOut`.
    pub timed_out: usize,
    /// `End::Wrong`.
    pub wrong: usize,
    /// The longest stall, in milliseconds.
    pub longest_stall_ms: u64,
}

impl Count {
    fn add(&mut self, end: End, stall: Duration) {
        self.all += 1;
        *match end {
            End::Kept => &mut self.kept,
            End::InOrder => &mut self.in_order,
            End::AtDeadline => &mut self.at_deadline,
            End::Reset => &mut self.reset,
            End::TimedOut => &mut self.timed_out,
            End::Wrong => &mut self.wrong,
        } += 1;
        self.longest_stall_ms = self.longest_stall_ms.max(stall.as_millis() as u64);
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            all: self.all + other.all,
            kept: self.kept + other.kept,
            in_order: self.in_order + other.in_order,
            at_deadline: self.at_deadline + other.at_deadline,
            reset: self.reset + other.reset,
            timed_out: self.timed_out + other.timed_out,
            wrong: self.wrong + other.wrong,
            longest_stall_ms: self.longest_stall_ms.max(other.longest_stall_ms),
        }
    }

    /// Those that were cut without the protocol's orderly end.
    #[must_use]
    pub const fn broken(&self) -> usize {
        self.reset + self.timed_out + self.wrong
    }
}

/// A cut after the deadline of a drain is what the deadline is for: that of the flow's own node.
pub fn after_deadline(fates: &mut [Fate], deadline_of: impl Fn(&Flow) -> Option<Instant>) {
    for fate in fates.iter_mut().filter(|fate| fate.end == End::Reset) {
        if deadline_of(&fate.flow).is_some_and(|deadline| fate.at >= deadline) {
            fate.end = End::AtDeadline;
        }
    }
}

/// Counts by kind.
#[must_use]
pub fn count(fates: &[Fate]) -> BTreeMap<Kind, Count> {
    let mut counts: BTreeMap<Kind, Count> = BTreeMap::new();
    for fate in fates {
        counts.entry(fate.kind).or_default().add(fate.end, fate.stall);
    }
    counts
}

/// The connections that broke.
#[must_use]
pub fn broken(fates: &[Fate]) -> BTreeSet<Flow> {
    fates.iter().filter(|fate| fate.end.is_broken()).map(|fate| fate.flow).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A fate of a flow with this client port.
    pub(in super::super) fn fate(kind: Kind, port: u16, end: End, at: Instant) -> Fate {
        let address = |port| SocketAddr::new([192, 0, 2, 100].into(), port);
        let flow = Flow { client: address(port), vip: address(80) };
        Fate { kind, flow, end, why: String::new(), at, stall: Duration::from_millis(u64::from(port)) }
    }

    #[test]
    fn each_end_has_its_column() {
        let now = Instant::now();
        let ends =
            [End::Kept, End::InOrder, End::AtDeadline, End::Reset, End::Reset, End::TimedOut, End::Wrong];
        let mut fates: Vec<Fate> =
            (1..).zip(ends).map(|(port, end)| fate(Kind::Tls, port, end, now)).collect();
        fates.push(fate(Kind::Idle, 9, End::Kept, now));
        let counts = count(&fates);
        let expected = Count {
            all: 7,
            kept: 1,
            in_order: 1,
            at_deadline: 1,
            reset: 2,
            timed_out: 1,
            wrong: 1,
            longest_stall_ms: 7,
        };
        assert_eq!(counts[&Kind::Tls], expected);
        assert_eq!(counts[&Kind::Tls].broken(), 4);
        let both = counts[&Kind::Tls].and(&counts[&Kind::Idle]);
        assert_eq!((both.all, both.kept, both.reset, both.longest_stall_ms), (8, 2, 2, 9));
        assert_eq!(broken(&fates).len(), 4);
        assert_eq!(counts[&Kind::Idle].kept, 1);
    }

    #[test]
    fn a_deadline_excuses_cuts_after_it_and_nothing_else() {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(1);
        let mut fates = [
            fate(Kind::Download, 1, End::Reset, start),
            fate(Kind::Download, 2, End::Reset, deadline),
            fate(Kind::Download, 3, End::Wrong, deadline),
            fate(Kind::Download, 4, End::Reset, deadline),
        ];
        after_deadline(&mut fates, |_| None);
        assert_eq!(broken(&fates).len(), 4);
        // The last one is at a node that does not drain.
        after_deadline(&mut fates, |flow| (flow.client.port() < 4).then_some(deadline));
        let ends = fates.each_ref().map(|fate| fate.end);
        assert_eq!(ends, [End::Reset, End::AtDeadline, End::Wrong, End::Reset]);
    }

    #[test]
    fn errors_of_the_kernel_have_their_kinds() {
        for (error, end) in [
            (io::ErrorKind::ConnectionReset, End::Reset),
            (io::ErrorKind::BrokenPipe, End::Reset),
            (io::ErrorKind::UnexpectedEof, End::Reset),
            (io::ErrorKind::TimedOut, End::TimedOut),
            (io::ErrorKind::HostUnreachable, End::TimedOut),
        ] {
            assert_eq!(Failure::from(io::Error::from(error)).end, end, "{error}");
        }
    }
}
