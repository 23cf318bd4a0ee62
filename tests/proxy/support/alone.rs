//! Tests that need a process of their own, for what they set counts in all of it.

use std::fs::File;
use std::process::Command;
use std::sync::Mutex;

use tempfile::NamedTempFile;

/// Set in such a process.
const ALONE: &str = "LB_TEST_ALONE";

/// Whether this process is this test's own. If not, it is run in one.
pub(crate) fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let ended = in_own_process(test).env(ALONE, "1").output().expect("a second process");
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success(), "{}", said.escape_ascii());
    false
}

/// This test, as a second process runs it.
pub(super) fn in_own_process(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([test, "--exact", "--nocapture"]);
    command
}

/// What this process logs from now on.
pub(crate) struct Log(NamedTempFile);

impl Log {
    pub(crate) fn start() -> Self {
        let log = NamedTempFile::new().expect("a file");
        let lines = Mutex::new(File::create(log.path()).expect("a file"));
        tracing_subscriber::fmt().with_writer(lines).with_ansi(false).init();
        Self(log)
    }

    /// The lines with this in them.
    pub(crate) fn lines(&self, part: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.0.path()).expect("a log");
        log.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}
