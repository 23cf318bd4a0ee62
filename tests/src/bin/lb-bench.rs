//! The benchmarks' entry point; `cargo xtask bench NAME` builds and runs it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lb_tests::bench::xdp;

#[derive(Parser)]
#[command(name = "lb-bench", about = "edgelb's benchmarks: alternatives side by side in one run")]
struct Cli {
    /// Where `bench/NAME.json` goes.
    #[arg(long, env = "CARGO_TARGET_DIR", default_value = "target", global = true)]
    target: PathBuf,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Nanoseconds per packet of the packet path.
    Xdp {
        /// Leave the loaded program with its filled maps pinned in this folder of a BPF filesystem.
        #[arg(long, value_name = "DIR")]
        pin: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let report = match cli.bench {
        Bench::Xdp { pin } => xdp::run(&xdp::Options { pin })?,
    };
    report.publish(&cli.target).map(drop)
}
