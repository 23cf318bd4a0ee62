//! Benchmarks: each compares alternatives side by side in one run and speaks one format.

pub mod control;
pub mod folder;
pub mod l7;
pub mod report;
pub mod translate;
pub mod xdp;
