//! Drain: a node gives up its flows, connection by connection.

use std::fmt;
use std::time::{Duration, Instant};

/// What a node was told that is to own no new flows. Its connections end in order once new flows open elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draining {
    /// When it was told.
    pub since: Instant,
    /// What is left then is closed.
    pub deadline: Instant,
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
    /// The age of the oldest, where that is known: while the node drains.
    pub oldest: Option<Duration>,
}

impl Left {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_kind.iter().sum()
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
    fn what_is_left_in_words() {
        for (by_kind, oldest, words) in [
            ([0; 4], None, "no connection left"),
            ([0, 1, 0, 0], Some(59), "1 connection left, the oldest 59 s"),
            ([0, 1, 1, 1], Some(250), "3 connections left, the oldest 4 min"),
            ([2, 0, 0, 0], Some(7_200), "2 connections left, the oldest 2 h"),
            ([2, 0, 0, 0], None, "2 connections left"),
        ] {
            let left = Left { by_kind, oldest: oldest.map(Duration::from_secs) };
            assert_eq!(left.to_string(), words);
        }
    }
}
