//! `lb-bench-l7`: measures edgelb beside nginx and HAProxy; with `serve`, is edgelb's proxy alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use lb_tests::bench::l7::{self, Options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures edgelb beside nginx and HAProxy, on one core each")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
    /// Times that each proxy has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a turn
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections of the load generator
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The lb-agent binary to measure; without it, the proxy of this build by itself
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Where the report goes
    #[arg(long, default_value = "target/bench/l7.json")]
    output: PathBuf,
}

#[derive(Subcommand)]
enum Task {
    /// Be the proxy under test
    #[command(hide = true)]
    Serve {
        /// Where to listen
        address: SocketAddr,
        /// Where to send requests
        backend: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Task::Serve { address, backend }) = arguments.command {
        return l7::serve(address, backend);
    }
    let report = l7::run(&Options {
        rounds: arguments.rounds,
        turn: Duration::from_secs(arguments.seconds),
        connections: arguments.connections,
        agent: arguments.agent,
    })?;
    report.write(&arguments.output)?;
    print!("{report}");
    println!("written to {}", arguments.output.display());
    Ok(())
}
