//! The events: what happens to a lab whose connections live.

pub mod agent;
pub mod drain;
mod flood;
pub mod key;
pub mod membership;
pub mod node;
pub mod router;
