//! The systemd unit that is shipped: its commands as they stand there, and an update by `systemctl reload` while connections
//! live. systemd itself runs in no lab. What it does for these commands is done here: it sets variables, hears what agents
//! notify, and says which of them is the main process.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{Lab, Node, Process, UPLINK, exists, program, run};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use crate::takeover::Calls;
use crate::{connect, edges};

const UNIT: &str = include_str!("../../deploy/systemd/lb-agent.service");

/// What `%n` stands for.
const NAME: &str = "lb-agent.service";

/// Where the unit has the program.
const PROGRAM: &str = "/usr/local/bin/lb-agent";

const SOON: Duration = Duration::from_secs(20);

/// Half of a body: the other half comes after the update.
const HALF: usize = 100_000;

#[test]
fn systemd_takes_the_unit_as_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(NAME);
    // It looks whether programs are there.
    fs::write(&file, UNIT.replace(PROGRAM, &program("lb-agent", "LB_AGENT")?.display().to_string()))?;
    let mut verify = Command::new("systemd-analyze");
    let found = verify.args(["verify", "--man=no"]).arg(&file).output();
    let found = found.context("no systemd-analyze; this would help: apt-get install -y systemd")?;
    let words = String::from_utf8_lossy(&found.stderr);
    ensure!(found.status.success() && words.is_empty(), "{}: {words}", found.status);
    Ok(())
}

#[test]
fn a_reload_is_an_update_that_breaks_nothing() -> Result<()> {
    run("a_reload_is_an_update_that_breaks_nothing", &edges(1), |lab| {
        Site::publish(lab)?;
        let systemd = Systemd::start(lab)?;
        let first = systemd.run(&lab.edges[0], "ExecStart", None)?;
        let first_id = first.id();
        lab.edges[0].agent_before(first);
        lab.edges[0].await_ready()?;
        until("systemd knows that it is ready", SOON, || systemd.main() == Some(first_id))?;

        let to = [SocketAddr::new(lab.vip().v4.into(), 80), SocketAddr::new(lab.vip().v6.into(), 80)];
        let (mut idle, mut upload) = (connect(lab, to[0])?, connect(lab, to[1])?);
        owner(lab, &mut idle, SHOP)?;
        let head = format!("POST / HTTP/1.1\r\nHost: {SHOP}\r\nContent-Length: {}\r\n\r\n", 2 * HALF);
        upload.stream_mut().write_all(&[head.as_bytes(), &[7; HALF]].concat())?;
        let calls = Calls::default();
        calls.during(&lab.client.clone(), &to, || {
            let mut reload = systemd.run(&lab.edges[0], "ExecReload", Some(first_id))?;
            let end = reload.wait(SOON)?;
            ensure!(end.success(), "{end}: {}", reload.log());
            let next = systemd.main().context("there is a main process")?;
            ensure!(next != first_id && exists(next), "the main process is {next}");
            calls.some_more()?;
            upload.stream_mut().write_all(&[7; HALF])?;
            ensure!(upload.answer()?.status == 200, "the upload");
            let answer = idle.fetch(SHOP, "/")?;
            ensure!(answer.header("connection") == Some("close"), "{answer:?}");
            let first = lab.edges[0].agent().context("it was started")?;
            let end = first.wait(SOON)?;
            ensure!(end.success(), "{end}: {}", first.log());
            calls.some_more()?;
            expect_main(lab, next)?;

            // The next version does not start at all.
            systemd.install(Path::new("/bin/false"))?;
            let mut reload = systemd.run(&lab.edges[0], "ExecReload", Some(next))?;
            let end = reload.wait(SOON)?;
            ensure!(end.code() == Some(1), "{end}: {}", reload.log());
            ensure!(systemd.main() == Some(next) && exists(next), "the one that runs is to stay");
            calls.some_more()?;
            expect_main(lab, next)
        })
    })
}

/// It is this agent that answers where `lb-agent` asks, and it is ready.
fn expect_main(lab: &Lab, pid: u32) -> Result<()> {
    let door = UnixStream::connect(lab.edges[0].admin_socket())?;
    let answers = getsockopt(&door, PeerCredentials)?.pid();
    ensure!(answers.cast_unsigned() == pid, "{answers} answers, not {pid}");
    eventually("it is ready", SOON, || {
        let (status, text) = lab.edges[0].lb_agent(&["health"])?;
        ensure!(status.success(), "{text}");
        Ok(())
    })
}

/// What of systemd these commands need.
struct Systemd {
    folder: PathBuf,
    is_over: Arc<AtomicBool>,
    hears: Option<JoinHandle<Result<()>>>,
}

impl Systemd {
    fn start(lab: &Lab) -> Result<Self> {
        let folder = lab.folder().join("systemd");
        fs::create_dir(&folder)?;
        let socket = UnixDatagram::bind(folder.join("notify"))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, place) = (Arc::clone(&is_over), folder.clone());
        let hears = thread::spawn(move || hear(&socket, &place, &over));
        let systemd = Self { folder, is_over, hears: Some(hears) };
        systemd.install(&program("lb-agent", "LB_AGENT")?)?;
        let systemctl = systemd.folder.join("systemctl");
        let main = systemd.folder.join("main");
        // Nothing but what is asked of it.
        let script = format!(
            "#!/bin/sh\n[ \"$*\" = 'show --property MainPID --value {NAME}' ] || exit 1\nexec cat '{}'\n",
            main.display()
        );
        fs::write(&systemctl, script)?;
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755))?;
        fs::write(main, "0\n")?;
        Ok(systemd)
    }

    /// Puts a program where the unit has it.
    fn install(&self, program: &Path) -> Result<()> {
        let draft = self.folder.join("draft");
        symlink(program, &draft)?;
        Ok(fs::rename(draft, self.folder.join("lb-agent"))?)
    }

    /// The main process, as agents have notified.
    fn main(&self) -> Option<u32> {
        fs::read_to_string(self.folder.join("main")).ok()?.trim().parse().ok().filter(|&pid| pid != 0)
    }

    /// Runs a command of the unit on a node, in the environment that systemd gives it.
    fn run(&self, node: &Node, setting: &str, main: Option<u32>) -> Result<Process> {
        let mut words = words(setting)?.into_iter().map(|word| {
            // That folder is seen by the node's processes alone, and nothing can be put at the unit's own place.
            word.replace(PROGRAM, &self.folder.join("lb-agent").display().to_string())
        });
        let mut command = Command::new(words.next().context("a program")?);
        command.args(words).envs(self.environment(node));
        if let Some(main) = main {
            command.env("MAINPID", main.to_string());
        }
        node.start(setting, command)
    }

    fn environment(&self, node: &Node) -> BTreeMap<&'static str, String> {
        let path = |path: PathBuf| path.display().to_string();
        let programs = env::var("PATH").unwrap_or_default();
        BTreeMap::from([
            ("PATH", format!("{}:{programs}", self.folder.display())),
            ("NOTIFY_SOCKET", path(self.folder.join("notify"))),
            // As `/etc/edgelb/agent.env` has it.
            ("EDGELB_MANIFESTS", path(self.folder.with_file_name("manifests"))),
            ("EDGELB_NODE", node.name.clone()),
            ("EDGELB_INTERFACES", UPLINK.to_owned()),
            ("EDGELB_HASH_KEY_FILE", path(node.key_file())),
        ])
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.hears.take().and_then(|hears| hears.join().ok()) {
            eprintln!("nobody heard what agents notified: {error:#}");
        }
    }
}

/// Hears what agents notify: `sd_notify(3)`, variables line by line.
fn hear(socket: &UnixDatagram, folder: &Path, is_over: &AtomicBool) -> Result<()> {
    let mut bytes = [0; 4096];
    while !is_over.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut bytes) else { continue };
        let told = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let Some(pid) = told.lines().find_map(|line| line.strip_prefix("MAINPID=")) else { continue };
        // Its reader never finds half of it.
        let draft = folder.join("main.draft");
        fs::write(&draft, format!("{pid}\n"))?;
        fs::rename(draft, folder.join("main"))?;
    }
    Ok(())
}

/// The words of a command, as systemd.syntax(7) and systemd.service(5) have it: lines go on after a backslash, `'` quotes,
/// `%n` is the unit's name, and `$$` a dollar. Of `${NAME}` and other specifiers the unit has none.
fn words(setting: &str) -> Result<Vec<String>> {
    let unit = UNIT.replace("\\\n", " ");
    let line = unit.lines().find_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    let line = line.with_context(|| format!("no {setting}"))?;
    let others = line.replace("$$", "").replace("%n", "");
    ensure!(!others.contains(['$', '%', '\\']), "more than is understood here: {others}");
    let line = line.replace("%n", NAME).replace("$$", "$");
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => {
                ensure!(!part.contains('"'), "more than is understood here: {part}");
                words.extend(part.split_whitespace().map(str::to_owned));
            }
            _ => words.push(part.to_owned()),
        }
    }
    Ok(words)
}
