//! `cargo xtask chaos` builds and runs it.

use std::process::ExitCode;

use clap::Parser;
use lb_tests::chaos::{self, options::Options};

/// Counts the connections that break when something happens to a lab.
#[derive(Parser)]
#[command(name = "cargo xtask chaos", after_help = chaos::HELP)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    chaos::run(&Cli::parse().options).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
