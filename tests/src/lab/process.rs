//! Processes of a lab: started inside a namespace with a view of the file system of their own,
//! ended by their own id.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::claim::namespace_path;
use super::namespace::{Namespace, in_thread};
use super::view::{NodeView, View};
use super::wait::{eventually, until};

/// How long a process may take to end.
const END: Duration = Duration::from_secs(10);

/// How long a command may take that is run to its end.
const COMMAND: Duration = Duration::from_secs(30);

/// A process of the lab; it ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    /// Bytes of the file that others of its name have written before.
    before: usize,
}

impl Process {
    /// Starts a command inside of a namespace. Its output goes to the end of the file `log`.
    pub(crate) fn start(
        name: &str,
        namespace: &Namespace,
        view: &View,
        mut command: Command,
        log: &Path,
    ) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let before = out.metadata()?.len().try_into()?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = inside(namespace, view, || Ok(command.spawn()?))
            .with_context(|| format!("starting {name}: {}", command.get_program().display()))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned(), before })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said so far, and others of its name since it began.
    #[must_use]
    pub fn log(&self) -> String {
        let all = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(all.get(self.before..).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// Those of `waitpid`.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the deadline is over.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        eventually(&format!("the end of {name}"), deadline, || self.ended()?.context("it still runs"))
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// Those of `kill`.
    pub fn ask_to_stop(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.ask_to_stop()?;
        self.wait(END)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), signal)?)
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    /// Those of `kill` and `waitpid`.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it run on without this value.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nobody left to tell.
        let _ = self.kill();
    }
}

/// Runs a command in a namespace of a lab that stands, with the view of its kind, in this process's terminal.
///
/// # Errors
/// If the lab has no such namespace, or the command cannot be started.
pub fn exec(folder: &Path, name: &str, mut command: Command) -> Result<ExitStatus> {
    let namespace = Namespace::open(name, &namespace_path(folder, name))
        .with_context(|| format!("no {name} in the lab {}", folder.display()))?;
    let mounts = NodeView::of(folder, name);
    let node = mounts.bpffs.exists().then_some(mounts);
    let view = View { folder: folder.to_owned(), node };
    inside(&namespace, &view, || Ok(command.status()?))
        .with_context(|| format!("running {}", command.get_program().display()))
}

/// Runs a command in a namespace to its end: its status, its output and what it said of errors.
pub(crate) fn output(
    namespace: &Namespace,
    view: &View,
    mut command: Command,
) -> Result<(ExitStatus, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = inside(namespace, view, || Ok(command.spawn()?))
        .with_context(|| format!("running {}", command.get_program().display()))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let (ended, end) = mpsc::channel::<()>();
    let limit = thread::spawn(move || {
        let is_over = end.recv_timeout(COMMAND) == Err(mpsc::RecvTimeoutError::Timeout);
        // Not waited for yet, so the id is still its own.
        is_over && kill(pid, Signal::SIGKILL).is_ok()
    });
    let output = child.wait_with_output();
    drop(ended);
    let is_over = limit.join().unwrap_or_default();
    let output = output?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    ensure!(!is_over, "{}: not at its end within {COMMAND:?}:\n{text}", command.get_program().display());
    Ok((output.status, text))
}

/// Does `work` in a thread inside the namespace and the view: its child processes inherit both.
pub(crate) fn inside<T: Send>(
    namespace: &Namespace,
    view: &View,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    in_thread(|| {
        namespace.enter().with_context(|| format!("entering {}", namespace.name()))?;
        view.enter()?;
        work()
    })
}

/// Ends every process whose network namespace is one of these, this one excepted.
pub(crate) fn kill_all_in(namespaces: &[Namespace]) -> Result<()> {
    let inodes: Vec<u64> = namespaces.iter().map(Namespace::inode).collect::<Result<_, _>>()?;
    if inodes.is_empty() {
        return Ok(());
    }
    until("the end of the lab's processes", END, || {
        let left = processes_in(&inodes);
        for &pid in &left {
            let _ = kill(pid, Signal::SIGKILL);
        }
        left.is_empty()
    })
}

fn processes_in(inodes: &[u64]) -> Vec<Pid> {
    let own = process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&pid| pid != own && is_running_in(pid, inodes))
        .map(Pid::from_raw)
        .collect()
}

/// Whether it is in one of the namespaces; a zombie has left them already.
fn is_running_in(pid: i32, inodes: &[u64]) -> bool {
    fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|namespace| inodes.contains(&namespace.ino()))
}

/// The path of one of the workspace's programs: `variable` if set, else the one beside this executable.
///
/// # Errors
/// Says how to build it, if it is not there.
pub fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    // Tests are in `target/debug/deps`, programs in `target/debug`.
    for folder in own.ancestors().skip(1).take(2) {
        match fs::metadata(folder.join(name)) {
            Ok(file) if file.is_file() => return Ok(folder.join(name)),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    bail!("no {name} beside {}: `cargo build --bin {name}` makes it, or set {variable}", own.display())
}

/// Whether a process with this id exists.
#[must_use]
pub fn exists(pid: u32) -> bool {
    kill(Pid::from_raw(pid.cast_signed()), None) != Err(Errno::ESRCH)
}
