//! Processes that never outlive this one: each asks the kernel to be killed when the thread that started it ends. So
//! they are started by a thread that ends with us, however that happens.

use std::path::Path;
use std::process::{self, Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result};

use crate::lab::program;

/// A command, and where to say how its start went.
type Request = (Command, Sender<Result<Child>>);

/// A thread that starts processes. Dropped, the thread ends, and they with it.
#[derive(Debug)]
pub(crate) struct Starter(Sender<Request>);

impl Starter {
    /// The processes will be where `enter` brings the thread: in a namespace, say.
    pub(crate) fn new(enter: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Self> {
        let (requests, incoming) = channel();
        let (entered, has_entered) = channel();
        thread::Builder::new().name("starter".to_owned()).spawn(move || {
            let result = enter();
            let failed = result.is_err();
            if entered.send(result).is_ok() && !failed {
                serve(&incoming);
            }
        })?;
        has_entered.recv().context("the starter's thread ended")??;
        Ok(Self(requests))
    }

    /// Starts a command that `tied` has made.
    pub(crate) fn start(&self, command: Command) -> Result<Child> {
        let (answer, answered) = channel();
        self.0.send((command, answer)).ok().context("the starter's thread has ended")?;
        answered.recv().context("the starter's thread ended")?
    }
}

/// A command that runs a subcommand of `lb-lab` tied to the thread that starts it.
pub(crate) fn tied_to_lab(subcommand: &str, argument: &Path) -> Result<Command> {
    let mut command = tied(&program("lb-lab", "LB_LAB")?)?;
    command.arg(subcommand).arg(argument);
    Ok(command)
}

/// A command that runs `program` tied to the thread that starts it.
pub(crate) fn tied(program_path: &Path) -> Result<Command> {
    let mut command = Command::new(program("lb-lab", "LB_LAB")?);
    command.arg("tied").arg(process::id().to_string()).arg("--").arg(program_path);
    Ok(command)
}

fn serve(incoming: &Receiver<Request>) {
    for (mut command, answer) in incoming {
        let started = command.spawn().with_context(|| format!("starting {command:?}"));
        // Whoever asked is gone only if it panicked.
        let _ = answer.send(started);
    }
}
