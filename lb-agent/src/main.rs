//! The `lb-agent` binary: allocator and entry point only.

use std::process::ExitCode;

use lb_agent::{app, cli::Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match app::main(Cli::from_command_line()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error with its causes, but for those that it already names.
fn told(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |told, cause| {
        if told.contains(&cause) { told } else { format!("{told}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::told;

    #[test]
    fn each_cause_is_told_once() {
        let error = Err::<(), _>(anyhow!("no such file"));
        let error =
            error.context("cannot read the key: no such file").context("starting").expect_err("it is one");
        assert_eq!(told(&error), "starting: cannot read the key: no such file");
    }
}
