//! What operators ask a node: is it ready, what does it hold, what does it count, what is wrong with it.
//! Reads state and changes none. Knows `model`, and of the other stages only what `app` hands over.

mod client;
pub mod doctor;
mod dump;
mod endpoints;
mod error;
mod live;
pub mod packet_metrics;
mod server;
mod tcp;

pub use client::{Health, Probe, health};
pub use error::AdminError;
pub use live::{Attachment, Live};
pub use server::{Addresses, Server, State};
