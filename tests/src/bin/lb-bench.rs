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
    /// CPU time per request, latency and memory of the proxy, beside nginx, HAProxy, Envoy and Traefik.
    #[command(after_help = format!("Scenarios:\n{}", l7::list()))]
    L7 {
        /// The scenarios. [default: all]
        #[arg(value_name = "SCENARIO")]
        scenarios: Vec<String>,
        /// Whom edgelb is measured beside: nginx, haproxy, envoy, traefik. [default: all]
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        peers: Vec<String>,
        /// Times that each proxy has its turn.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of a turn.
        #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
        turn: Duration,
        /// Say which scenarios there are.
        #[arg(long)]
        list: bool,
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
        Bench::L7 { list: true, .. } => {
            print!("{}", l7::list());
            return Ok(());
        }
        Bench::L7 { scenarios, peers, rounds, turn, .. } => {
            l7::run(&l7::Options { scenarios, peers, rounds, turn })?
        }
        Bench::Live => live::run()?,
        Bench::Tables => tables::run()?,
        Bench::Translate => translate::run()?,
    };
    report.publish(&cli.target).map(drop)
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}
