//! Benchmarks: each compares alternatives side by side in one run and speaks one format.

mod affinity;
pub mod control;
pub mod folder;
pub mod l7;
pub mod live;
pub mod report;
pub mod tables;
pub mod translate;
pub mod xdp;
