//! edgelb's test harness: packets, test runs of the packet path in the kernel and on the host, the network
//! lab and its demo, a real Kubernetes, benchmarks. The tiers that use it are the folders beside `src`.

pub mod backend;
pub mod bench;
pub mod chaos;
pub mod cluster;
pub mod demo;
pub mod fixture;
pub mod fuzzed;
pub mod handshake;
pub mod host;
pub mod installed;
mod interrupt;
pub mod kernel;
pub mod lab;
pub mod packet;
pub mod pattern;
pub mod proc;
pub mod soak;
#[expect(dead_code, reason = "those of the build")]
#[path = "../../xtask/src/versions.rs"]
mod versions;
pub mod websocket;
