//! The packet path as pure steps that also compile and run on the host: parse, look up, select, encapsulate.
//! Nothing here knows the kernel: packet memory comes as a `Frame`, BPF maps as `Maps`. The shell that
//! supplies both is `main.rs`; tests supply others.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod access;
mod decap;
mod echo;
mod encap;
pub mod filter;
pub mod floor;
mod flow;
mod follow;
mod fragment;
mod frame;
mod icmp;
mod ip;
mod keys;
mod link;
mod probe;
mod process;
mod quic;
mod select;
mod sk_lookup;
mod told;
mod walk;

pub use access::opaque;
pub use follow::{Fragment, follow};
pub use fragment::{carry_out, collect, look};
pub use frame::{Action, Frame, Maps, Socket, Sockets, TcpHeader};
pub use process::{Rest, begin, go_on, go_on_by_two_keys, process};
pub use quic::{Payload, named};
pub use sk_lookup::{Choice, Lookup, choose};
pub use walk::{Next, Walk, hand_on, led_on, step};
