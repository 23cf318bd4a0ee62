//! `lb-agent capture`: asks the agent of this node, and writes what comes.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::signals::StopSignals;
use crate::admin::{self, Capturing};
use crate::cli::Capture;

/// Ends with the capture. Told to stop, it has the agent end it, so that what was written is whole; told twice, it
/// ends at once.
pub(super) async fn capture(capture: &Capture) -> Result<ExitCode> {
    let mut signals = StopSignals::new()?;
    let socket = &capture.admin_socket.admin_socket;
    let question = capture.question();
    let mut capturing = admin::capture(socket, &question).await?;
    let mut out = open(capture.write.as_deref())?;
    let (count, seconds) = (question.filter.count, question.seconds);
    eprintln!("capturing: ends after {count} packets or {seconds} s, or when interrupted");
    let mut is_told = false;
    loop {
        tokio::select! {
            bytes = capturing.next() => match bytes {
                Some(bytes) if !write(&mut out, &bytes)? => return Ok(ExitCode::SUCCESS),
                Some(_) => {}
                None => return conclude(&capturing),
            },
            () = signals.told() => {
                if std::mem::replace(&mut is_told, true) {
                    return Ok(ExitCode::FAILURE);
                }
                admin::end_capture(socket).await?;
            }
        }
    }
}

fn open(path: Option<&Path>) -> Result<Box<dyn Write>> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(Box::new(io::stdout())) };
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    Ok(Box::new(file.with_context(|| format!("-w: cannot write {}", path.display()))?))
}

/// False if nobody reads any more.
fn write(out: &mut impl Write, bytes: &[u8]) -> Result<bool> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("-w: cannot write what was captured"),
    }
}

fn conclude(capturing: &Capturing) -> Result<ExitCode> {
    match capturing.summary() {
        Some(summary) => {
            eprintln!("{summary}");
            Ok(ExitCode::SUCCESS)
        }
        None => bail!("the agent has ended before the capture did"),
    }
}
