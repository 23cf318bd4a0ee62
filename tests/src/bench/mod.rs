//! Benchmarks: each compares alternatives side by side in one run and speaks one format.

pub mod report;
pub mod xdp;
