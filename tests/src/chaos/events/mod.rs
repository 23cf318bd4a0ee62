//! The events: what happens to a lab whose connections live.

pub mod agent;
pub mod drain;
mod flood;
pub mod key;
pub mod membership;
pub mod node;
pub mod router;

use std::time::Duration;

/// Every connection with requests or streams sends something within it.
pub(super) const USED: Duration = Duration::from_secs(2);
