//! Drain: a node gives up its flows, connection by connection.

use std::fmt;
use std::time::{Duration, Instant};

use super::Drain;

/// As long as a drain lasts unless told otherwise, in seconds.
pub const DRAIN_SECONDS: u32 = 300;

/// How long a connection that is closed at the deadline may take to say so.
pub const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a node was told that is to own no new flows. Its connections end in order once new flows open elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draining {
    /// When it was told.
    pub since: Instant,
    /// What is left then is closed.
    pub deadline: Instant,
    /// Who told it.
    pub by: DrainedBy,
}

/// Who told a node to drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainedBy {
    /// An operator, by the agent's own socket. That is the last word, whatever the Node says.
    Operator,
    /// Its Node.
    Node(Drain),
    /// The agent, which stops after it: then it does not wait for ever until new flows open elsewhere.
    Stop,
}

impl Draining {
    /// From now on, for so long, as an operator has it.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        let since = Instant::now();
        Self { since, deadline: since + time, by: DrainedBy::Operator }
    }

    /// The same, at the end of the agent.
    #[must_use]
    pub fn stop_within(grace: Duration) -> Self {
        Self { by: DrainedBy::Stop, ..Self::within(grace) }
    }

    /// What counts when somebody `told` this, or nobody has, while the Node says that.
    #[must_use]
    pub fn beside_node(told: Option<Self>, node: Option<Drain>) -> Option<Self> {
        let of_node = |drain| {
            let by = DrainedBy::Node(drain);
            Self { by, ..Self::within(Duration::from_secs(DRAIN_SECONDS.into())) }
        };
        match (told, node) {
            (None, node) => node.map(of_node),
            (Some(told), None) if told.is_nodes() => None,
            (told, _) => told,
        }
    }

    /// Whether the agent stops after it.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.by == DrainedBy::Stop
    }

    /// Whether it is the Node that says so.
    #[must_use]
    pub fn is_nodes(&self) -> bool {
        matches!(self.by, DrainedBy::Node(_))
    }

    /// How long it lasts.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.deadline.saturating_duration_since(self.since)
    }
}

/// How a drain goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DrainProgress {
    /// Which one; `None` while the node does not drain.
    pub of: Option<Draining>,
    /// When what is left is closed; `None` while new flows still open here and no connection is told to end.
    pub ends_by: Option<Instant>,
    /// What is left.
    pub left: Left,
}

impl DrainProgress {
    /// Whether connections have ended, by themselves or at the deadline.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_over = |deadline: Instant| deadline.elapsed() >= LAST_WORDS;
        self.ends_by.is_some_and(|deadline| self.left.total() == 0 || is_over(deadline))
    }
}

impl fmt::Display for DrainProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.left;
        let Some(of) = self.of else { return f.write_str("not draining") };
        let step = if self.is_complete() { "drained" } else { "draining" };
        let here = if self.ends_by.is_none() { "new flows still open here, " } else { "" };
        match of.by {
            DrainedBy::Node(drain) => write!(f, "{step} ({drain}): {here}{left}"),
            DrainedBy::Operator | DrainedBy::Stop => write!(f, "{step}: {here}{left}"),
        }
    }
}

/// What a client's connection carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionKind {
    /// Nothing yet: it says in its handshake or by its first bytes what it will.
    New,
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// A WebSocket's tunnel.
    WebSocket,
}

impl ConnectionKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::New, Self::Http1, Self::Http2, Self::WebSocket];

    /// As the label of a metric.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::WebSocket => "websocket",
        }
    }
}

/// The connections of clients that are open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// How many, by kind, in the order of `ConnectionKind::ALL`.
    pub by_kind: [u64; ConnectionKind::ALL.len()],
    /// Where the proxy has none any more: those that the kernel still has, since their clients have not got everything,
    /// or they are another agent's.
    pub at_kernel: u64,
    /// The age of the oldest, where that is known: while the node drains.
    pub oldest: Option<Duration>,
}

impl Left {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_kind.iter().sum::<u64>() + self.at_kernel
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oldest = self.oldest.map(|age| format!(", the oldest {}", Age(age))).unwrap_or_default();
        match self.total() {
            0 => f.write_str("no connection left"),
            1 => write!(f, "1 connection left{oldest}"),
            total => write!(f, "{total} connections left{oldest}"),
        }
    }
}

/// In the largest unit that leaves two digits or so: `4 min`.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_complete_with_the_last_connection_or_after_the_deadline() {
        let left = Left { by_kind: [0, 2, 0, 0], ..Left::default() };
        let closing = Left { at_kernel: 1, ..Left::default() };
        let (past, future) = (Instant::now().checked_sub(LAST_WORDS), Instant::now() + LAST_WORDS);
        let of = Some(Draining::within(LAST_WORDS));
        let cordoned = Draining::beside_node(None, Some(Drain::Cordoned));
        for (of, ends_by, left, is_complete, words) in [
            (None, None, Left::default(), false, "not draining"),
            (of, None, left, false, "draining: new flows still open here, 2 connections left"),
            (of, Some(future), left, false, "draining: 2 connections left"),
            (of, Some(future), closing, false, "draining: 1 connection left"),
            (of, Some(future), Left::default(), true, "drained: no connection left"),
            (of, past, left, true, "drained: 2 connections left"),
            (
                cordoned,
                None,
                left,
                false,
                "draining (cordoned): new flows still open here, 2 connections left",
            ),
            (cordoned, Some(future), Left::default(), true, "drained (cordoned): no connection left"),
        ] {
            let progress = DrainProgress { of, ends_by, left };
            assert_eq!((progress.is_complete(), progress.to_string().as_str()), (is_complete, words));
        }
    }

    #[test]
    fn what_the_node_says_counts_while_nobody_else_says_more() {
        let by = |told: Option<Draining>| told.map(|told| told.by);
        let [operator, stop] = [Draining::within(LAST_WORDS), Draining::stop_within(LAST_WORDS)].map(Some);
        let node = Draining::beside_node(None, Some(Drain::Cordoned));
        assert_eq!(by(node), Some(DrainedBy::Node(Drain::Cordoned)));
        assert_eq!(node.map(|node| node.span().as_secs()), Some(DRAIN_SECONDS.into()));
        assert_eq!(Draining::beside_node(None, None), None);
        assert_eq!(Draining::beside_node(node, None), None, "it is uncordoned");
        // One that goes on keeps its deadline.
        assert_eq!(Draining::beside_node(node, Some(Drain::Tainted)), node);
        for told in [operator, stop] {
            for drain in [None, Some(Drain::Cordoned)] {
                assert_eq!(Draining::beside_node(told, drain), told);
            }
        }
    }

    #[test]
    fn what_is_left_in_words() {
        for (by_kind, oldest, words) in [
            ([0; 4], None, "no connection left"),
            ([0, 1, 0, 0], Some(59), "1 connection left, the oldest 59 s"),
            ([0, 1, 1, 1], Some(250), "3 connections left, the oldest 4 min"),
            ([2, 0, 0, 0], Some(7_200), "2 connections left, the oldest 2 h"),
            ([2, 0, 0, 0], None, "2 connections left"),
        ] {
            let left = Left { by_kind, at_kernel: 0, oldest: oldest.map(Duration::from_secs) };
            assert_eq!(left.to_string(), words);
        }
    }
}
