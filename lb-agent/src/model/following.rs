//! How well the source follows what it reads from: what an operator asks first when a change does not arrive.

use std::fmt;
use std::time::SystemTime;

/// What the state that is live was made of, and how each of its parts is followed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Following {
    /// Where the state of now came from.
    pub basis: Basis,
    /// One for each thing that is watched, in a fixed order.
    pub watches: Vec<Watch>,
    /// Whether the secret of the flow hash is known.
    pub has_flow_key: bool,
}

/// Where a state came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Basis {
    /// There is none yet.
    #[default]
    Nothing,
    /// From what this node stored at this time: the API server has not told everything yet.
    Stored(SystemTime),
    /// From the API server.
    Cluster,
}

/// One kind of object that is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// What is watched: `Ingress`.
    pub name: &'static str,
    /// How it goes.
    pub condition: Condition,
    /// Since when it goes so.
    pub since: SystemTime,
    /// What the server or the network said last when something failed; empty while all is well.
    pub message: String,
    /// Failed attempts since the agent started.
    pub failures: u64,
}

/// How a watch goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Condition {
    /// It waits for what others find first.
    Waiting,
    /// The first complete list is on its way.
    Listing,
    /// Each change arrives.
    Current,
    /// The server does not know the kind: there are none.
    Missing,
    /// The server does not answer, or not in time.
    Unreachable,
    /// 401: the credentials are not, or no longer, valid.
    Unauthorized,
    /// 403: a right is missing.
    Forbidden,
    /// 429: the server asks for patience.
    Throttled,
    /// Any other refusal, 4xx.
    Refused,
    /// 5xx.
    ServerError,
    /// An answer that makes no sense.
    Unreadable,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Waiting,
        Self::Listing,
        Self::Current,
        Self::Missing,
        Self::Unreachable,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Throttled,
        Self::Refused,
        Self::ServerError,
        Self::Unreadable,
    ];

    /// As the label of a metric.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Listing => "listing",
            Self::Current => "current",
            Self::Missing => "missing",
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether what was read before may be out of date, for a reason that somebody should know.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Waiting | Self::Listing | Self::Current | Self::Missing)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
