//! State -> BPF maps: plan, Maglev fill, loader, pins, routes, neighbours.
//! Knows `model` and `lb-common`, nothing of L7.

pub mod at_once;
pub mod attach;
mod btf;
pub mod capture;
pub mod clock;
pub mod counters;
pub mod datapath;
pub mod error;
mod fragments;
mod full_size;
mod handover;
mod holdings;
mod interface;
mod kept_key;
pub mod keyring;
pub mod keys;
pub mod liveness;
pub mod loader;
pub mod maglev;
pub mod maps;
mod memberships;
mod netlink;
pub mod object;
pub mod pins;
pub mod plan;
pub mod probe;
mod reach;
pub mod reader;
pub mod roll_over;
mod routes;
pub mod rows;
pub mod service_table;
mod sockets;
mod store;
mod succession;
pub mod trial;
pub mod uplink;
pub mod wanted;

pub use datapath::{Datapath, Inputs, Options, Outputs, uninstall};
pub use error::L4Error;
pub use handover::Successor;
pub use kept_key::KeptKey;
pub use sockets::unfinished;
pub use succession::Succession;
pub use uplink::{Uplink, uplinks};
