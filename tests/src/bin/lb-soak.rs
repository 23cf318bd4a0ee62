//! `cargo xtask soak` builds and runs it.

use std::process::ExitCode;

use clap::Parser;
use lb_tests::soak::{self, Options};

/// The agent's proxy under all kinds of load for half an hour, while its configuration changes all the time.
#[derive(Parser)]
#[command(name = "cargo xtask soak")]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    soak::run(&Cli::parse().options).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
