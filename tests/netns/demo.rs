//! The demo itself: what README tells people to run first.

use std::process::Command;

use anyhow::{Result, ensure};
use lb_tests::lab::LABS;

#[test]
fn the_demo_shows_what_it_promises_and_leaves_nothing() -> Result<()> {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_lb-lab"));
    demo.args(["demo", "--connections", "300"]);
    let child = demo.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn()?;
    let folder = std::path::Path::new(LABS).join(format!("{}-0", child.id()));
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
