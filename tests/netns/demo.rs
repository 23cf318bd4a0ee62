//! The demo itself: what README tells people to run first.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{LABS, remove};

const SOON: Duration = Duration::from_secs(30);

/// Takes a lab away that was kept, whatever becomes of the test.
struct Kept(PathBuf);

impl Drop for Kept {
    fn drop(&mut self) {
        if self.0.exists() {
            let _ = remove(&self.0);
        }
    }
}

#[test]
fn what_the_demo_tells_to_paste_updates_an_agent() -> Result<()> {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_lb-lab"));
    demo.args(["demo", "--keep", "--connections", "100"]);
    let child = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let _kept = Kept(Path::new(LABS).join(format!("{}-0", child.id())));
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let paste = |part: &str| -> Result<String> {
        let line = text.lines().find(|line| line.contains(part)).with_context(|| part.to_owned())?;
        let command = line.trim_start().strip_prefix("$ ").context("a command")?;
        let done = Command::new("sh").args(["-c", command]).output()?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(done.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&done.stderr));
        Ok(said)
    };
    paste(" --take-over ")?;
    eventually("the next agent is ready", SOON, || paste(" health --admin-socket ").map(drop))?;
    paste("$ mv ")?;
    let top = paste("/lb-agent top")?;
    ensure!(top.starts_with("edge-1: ready"), "{top}");
    Ok(())
}

#[test]
fn the_demo_shows_what_it_promises_and_leaves_nothing() -> Result<()> {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_lb-lab"));
    demo.args(["demo", "--connections", "300"]);
    let child = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let folder = Path::new(LABS).join(format!("{}-0", child.id()));
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "curl -6 http://shop.example.org/",
        "certificate CN=shop.example.org",
        "200 of 200 connections answer",
        "first request by the new route",
        "edge-3 is taken out",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours are for terminals alone");
    assert!(!folder.exists(), "the demo's lab is left");
    Ok(())
}
