//! Programs that others wrote, beside a test: their output line by line, and their end with it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// No program is silent for longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One that runs; ended when it is dropped.
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: UnboundedReceiver<String>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("{:?}: {error}: `cargo xtask test proxy` installs it", command.get_program())
        });
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (heard, lines) = unbounded_channel();
        // Ends with what the program says, or with this.
        std::thread::spawn(move || {
            output
                .split(b'\n')
                .map_while(Result::ok)
                .try_for_each(|line| heard.send(String::from_utf8_lossy(&line).into_owned()))
        });
        Self { child, input, lines }
    }

    /// What it says next; `None` once it says nothing any more.
    pub(crate) async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.lines.recv()).await.expect("it is silent")
    }

    /// Tells it one line.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("piped"), "{line}").expect("it reads");
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// All that it still says, and how it ends.
    pub(crate) async fn finish(mut self) -> (String, ExitStatus) {
        drop(self.input.take());
        let mut said = String::new();
        while let Some(line) = self.line().await {
            said += &line;
            said.push('\n');
        }
        (said, self.child.wait().expect("it has ended"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Runs it to its end, which is to be a success: what it said.
pub(crate) async fn run(command: &mut Command) -> String {
    let (said, status) = Program::start(command).finish().await;
    assert!(status.success(), "{command:?}: {status}\n{said}");
    said
}

/// A file of this folder.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy").join(name)
}
