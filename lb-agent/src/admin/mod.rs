//! What operators ask a node: is it ready, what does it hold, what does it count, what is wrong with it.
//! Reads state and changes none, but for the drain, which is told on the agent's own socket. Knows `model`, and of the other stages only what `app` hands over.

pub mod capture;
mod client;
pub mod doctor;
mod drain;
mod dump;
mod endpoints;
mod error;
pub mod explain;
mod flow_keys;
mod holders;
mod live;
mod overview;
pub mod packet_metrics;
mod server;
mod tcp;
pub mod top;

pub use client::{
    Ask, Capturing, Health, Probe, ask_drain, ask_members, capture, end_capture, explain_request, health,
    overview,
};
pub use drain::DrainReport;
pub use error::AdminError;
pub use flow_keys::FlowKeysReport;
pub use holders::{AskMembers, Asked};
pub use live::{Attachment, Live};
pub use overview::{MemberOverview, Membership, Overview};
pub use server::{Addresses, Server, State};
