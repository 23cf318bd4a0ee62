//! The benchmarks' entry point; `cargo xtask bench NAME` builds and runs it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lb_tests::bench::{control, folder, l7, live, tables, translate, xdp};

/// The agent's, whose memory `translate` measures within this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// How the agent follows a real API server with 10,000 Ingresses and TLS Secrets.
    Control,
    /// Time until a change of one file among many is live, and the agent's memory.
    Folder,
    /// CPU time per request and latency of the proxy, beside nginx and HAProxy.
    L7 {
        /// Times that each proxy has its turn.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of a turn.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Connections of the load generator.
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// Packets per second of one core, live, beside Linux' own forwarding and NAT.
    Live,
    /// Filling the tables of 64 backend sets, and a change of all of them.
    Tables,
    /// What a change costs from the index to the published proxy.
    Translate,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let report = match cli.bench {
        Bench::Xdp { pin } => xdp::run(&xdp::Options { pin })?,
        Bench::Control => control::run()?,
        Bench::Folder => folder::run()?,
        Bench::L7 { rounds, seconds, connections } => {
            l7::run(&l7::Options { rounds, turn: Duration::from_secs(seconds), connections })?
        }
        Bench::Live => live::run()?,
        Bench::Tables => tables::run()?,
        Bench::Translate => translate::run()?,
    };
    report.publish(&cli.target).map(drop)
}
