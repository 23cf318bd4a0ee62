//! Commands that ask or mend, and end.

use std::io::{ErrorKind, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use super::kept_drain::DRAIN;
use super::packet_path::{FLOW_KEY, HAND_OVER, HISTORY};
use super::say::say;
use super::{connect, meaning, told_to_stop};
use crate::admin::{AdminError, Ask, DrainReport, ask_drain};
use crate::cli::{Check, Doctor, Drain, Health, Top, Uninstall};
use crate::l4::pins::Pins;
use crate::model::Severity;
use crate::{admin, l4, source, status};

/// The exit code of a question that has no answer; clap ends so, too, on flags that it does not know.
pub(super) const CANNOT_TELL: u8 = 2;

pub(super) fn check_folder(check: &Check) -> Result<ExitCode> {
    let problems = source::check(&check.manifests, &meaning(&check.meaning));
    for problem in &problems {
        say(format_args!("{problem}\n"))?;
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let (folder, warnings) = (check.manifests.display(), problems.len() - errors);
    say(format_args!("{folder}: {errors} errors, {warnings} warnings\n"))?;
    let is_bad = errors > 0 || (check.strict && !problems.is_empty());
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) async fn health(probe: &Health) -> Result<ExitCode> {
    let asked = match (probe.live, probe.exclude_drain) {
        (true, _) => admin::Probe::Live,
        (false, true) => admin::Probe::Works,
        (false, false) => admin::Probe::Ready,
    };
    let health = admin::health(&probe.admin_socket.admin_socket, asked).await?;
    say(format_args!("{}\n", health.message))?;
    Ok(if health.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How often `drain --wait` asks.
const ASKING: Duration = Duration::from_millis(500);

/// After so many answers of an agent that has been followed, nobody puts the next one in its place.
const GIVEN_UP: u32 = 20;

pub(super) async fn drain(drain: &Drain) -> Result<ExitCode> {
    let socket = &drain.admin_socket.admin_socket;
    let ask = if drain.cancel { Ask::CallOff } else { Ask::Begin(drain.deadline) };
    let mut report = ask_drain(socket, ask).await?;
    say(format_args!("{}\n", report.words))?;
    if let Some(field) = report.node_says.as_ref().filter(|_| drain.cancel) {
        eprintln!("error: this node drains as its Node says ({field}): that is called off there");
        return Ok(ExitCode::FAILURE);
    }
    if !drain.wait {
        return Ok(ExitCode::SUCCESS);
    }
    let mut followed: u32 = 0;
    while !is_over(&report) && followed < GIVEN_UP {
        tokio::time::sleep(ASKING).await;
        let now = match ask_drain(socket, Ask::Progress).await {
            Ok(now) => now,
            Err(AdminError::Unreachable { .. } | AdminError::Answer { .. }) => return Ok(ended(&report)),
            Err(error) => return Err(error.into()),
        };
        if now.words != report.words {
            say(format_args!("{}\n", now.words))?;
        }
        followed = if now.followed { followed + 1 } else { 0 };
        report = now;
    }
    if is_in_vain(&report) {
        eprintln!(
            "error: no other node took new flows before the deadline: this one serves on, and drains once one does"
        );
    }
    Ok(if report.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An agent that has ended cannot say what became of its connections: a drain that is done is told of before it.
fn ended(last: &DrainReport) -> ExitCode {
    let words = &last.words;
    eprintln!(
        "error: the agent has ended before the drain was done; it said last: {words}; its log says why"
    );
    ExitCode::FAILURE
}

/// Done, called off by somebody else, or in vain: by the deadline, new flows still open there.
fn is_over(report: &DrainReport) -> bool {
    report.complete || !report.draining || is_in_vain(report)
}

fn is_in_vain(report: &DrainReport) -> bool {
    report.opens_here && report.deadline == Some(0)
}

pub(super) async fn top(top: &Top) -> Result<ExitCode> {
    let socket = &top.admin_socket.admin_socket;
    if top.json || top.once || !std::io::stdout().is_terminal() {
        let figures = admin::top::once(socket).await?;
        match top.json {
            true => say(format_args!("{:#}\n", serde_json::json!(figures)))?,
            false => say(figures)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    admin::top::watch(socket, told_to_stop()).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn look(doctor: Doctor) -> Result<ExitCode> {
    let bpf = admin::doctor::Bpf {
        takes_xdp: l4::probe::takes_xdp,
        takes_sk_lookup: l4::probe::takes_sk_lookup,
        program_name: l4::probe::program_name,
    };
    let uplinks = match l4::uplinks(&doctor.interface).await {
        Ok(uplinks) => Ok(uplinks.into_iter().map(|uplink| (uplink.name, uplink.why)).collect()),
        Err(error) => Err(error.to_string()),
    };
    let agent = admin::health(&doctor.admin_socket.admin_socket, admin::Probe::Ready).await;
    let agent = match agent {
        Ok(health) => Some(Ok(health)),
        // Before an agent is installed there is none to ask.
        Err(_) if !Pins::new(doctor.bpffs.clone()).exist().unwrap_or_default() => None,
        Err(error) => Some(Err(error.to_string())),
    };
    let options = admin::doctor::Options { uplinks, bpffs: doctor.bpffs, bpf, agent };
    let report = admin::doctor::doctor(&options).await;
    say(report.render(std::io::stdout().is_terminal()))?;
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) async fn remove(uninstall: Uninstall) -> Result<ExitCode> {
    if uninstall.cluster {
        let client = connect::writer(uninstall.kubeconfig.as_deref()).await?;
        say(status::clear(client, &uninstall.namespace).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let in_kernel = l4::uninstall(&Pins::new(uninstall.bpffs)).await?;
    say(if in_kernel { "removed: programs, maps and local routes\n" } else { "nothing to remove\n" })?;
    if remove_state(&uninstall.state)? {
        say(format_args!("removed: what was stored in {}\n", uninstall.state.display()))?;
    }
    if uninstall.stay {
        told_to_stop().await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What agents leave in their state folder: the stored state, which has private keys in it, who was a member, the flow key
/// in force, and sockets. `*.new` are those that an agent did not come to the end of.
const STATE: [&str; 9] = [
    "admin.sock",
    HAND_OVER,
    "snapshot",
    "snapshot.new",
    HISTORY,
    "memberships.new",
    FLOW_KEY,
    "flow-key.new",
    DRAIN,
];

/// Removes it. True if there was anything.
fn remove_state(folder: &Path) -> Result<bool> {
    let mut found = false;
    for path in STATE.map(|name| folder.join(name)) {
        match std::fs::remove_file(&path) {
            Ok(()) => found = true,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }
    // A container's mount stays, and so does a folder that somebody else uses.
    let _ = std::fs::remove_dir(folder);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;
    use crate::cli::AdminSocket;

    #[tokio::test]
    async fn an_agent_that_ends_before_its_drain_is_done_fails_who_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("admin.sock");
        let agent = UnixListener::bind(&socket).expect("the folder is there");
        let report = DrainReport {
            draining: true,
            node_says: None,
            complete: false,
            words: "draining: 1 connection left".to_owned(),
            opens_here: false,
            followed: false,
            deadline: Some(60),
            connections: BTreeMap::new(),
            oldest: None,
        };
        let body = serde_json::to_string(&report).expect("it is JSON");
        let one_answer = async {
            let (mut asked, _) = agent.accept().await?;
            let _ = asked.read(&mut [0; 1024]).await?;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            asked.write_all((head + &body).as_bytes()).await?;
            drop(agent);
            std::io::Result::Ok(())
        };
        let admin_socket = AdminSocket { admin_socket: socket };
        let wait = Drain { wait: true, cancel: false, deadline: 60, admin_socket };
        let (answered, waited) = tokio::join!(one_answer, drain(&wait));
        answered.expect("it is asked");
        assert_eq!(waited.expect("it is told"), ExitCode::FAILURE);
    }

    #[test]
    fn nothing_of_the_state_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("edgelb");
        std::fs::create_dir(&state).expect("writable");
        for name in [
            "admin.sock",
            "handover.sock",
            "snapshot",
            "snapshot.new",
            "memberships.json",
            "memberships.new",
            "drain",
        ] {
            std::fs::write(state.join(name), "x").expect("writable");
        }
        assert!(remove_state(&state).expect("they can be removed"));
        assert!(!state.exists());
        assert!(!remove_state(&state).expect("nothing is there"));
    }
}
