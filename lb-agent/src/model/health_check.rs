//! How endpoints are asked whether they are well, and what came of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use serde::{Deserialize, Serialize};

/// A GET to each endpoint, again and again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HealthCheck {
    /// Its target.
    pub path: PathAndQuery,
    /// Its Host; without one, the endpoint's address.
    pub host: Option<Authority>,
    /// From one to the next.
    pub interval: Duration,
    /// From the beginning of the connection to the head of the response.
    pub timeout: Duration,
    /// An endpoint that failed is well after so many good ones in a row.
    pub healthy: u32,
    /// One that was well fails after so many bad ones in a row. The very first one decides alone.
    pub unhealthy: u32,
    /// Which statuses are good.
    pub status: RangeInclusive<u16>,
}

/// What came of a check.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// None was made yet.
    #[default]
    Unknown,
    /// A good status.
    Passed,
    /// No connection.
    Connect,
    /// No HTTP, or the connection broke off.
    Broken,
    /// Another status.
    Status(u16),
    /// No answer in time.
    TimeOut,
}

impl CheckResult {
    /// The labels of those that a check can have.
    pub const LABELS: [&'static str; 5] = ["passed", "connect", "broken", "status", "time_out"];

    /// The position of its label, if it is of a check.
    #[must_use]
    pub const fn place(self) -> Option<usize> {
        match self {
            Self::Unknown => None,
            Self::Passed => Some(0),
            Self::Connect => Some(1),
            Self::Broken => Some(2),
            Self::Status(_) => Some(3),
            Self::TimeOut => Some(4),
        }
    }
}

/// How an endpoint does by its checks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct CheckState {
    /// Whether it gets no requests for it, as long as others do better.
    pub is_failing: bool,
    /// What came of the last one.
    pub last: CheckResult,
}
