//! The contract between kernel and user space: map layouts, wire format, flow hash, verdicts.
//! Both sides compile exactly this code. It holds no logic of one side only, and depends on nothing.

#![no_std]

pub mod capture;
mod chain;
pub mod checksum;
pub mod encap;
pub mod fragment;
pub mod hash;
pub mod limit;
pub mod map;
pub mod probe;
pub mod quic;
pub mod row;
pub mod service_table;
mod siphash;
pub mod verdict;

#[cfg(feature = "user")]
mod pod;
