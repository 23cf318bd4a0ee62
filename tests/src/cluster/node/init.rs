//! A node's process 1: mounts, configuration, then containerd, the kubelet and kube-proxy.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::sethostname;

use super::super::programs::program;
use super::super::raise::APP_IMAGE;
use super::supervisor::{Unit, keep};
use super::{Plan, config, mounts, read};
use crate::lab::wait::until;

/// How long containerd may take until it answers.
const CONTAINERD: Duration = Duration::from_secs(30);

/// How long the API server may take.
const API_SERVER: Duration = Duration::from_secs(90);

/// Runs the node of a plan for ever.
///
/// # Errors
/// Says which step failed; the node ends with it.
pub fn init(plan: &Path) -> Result<Infallible> {
    set_pdeathsig(Signal::SIGKILL)?;
    let plan = read(plan)?;
    sethostname(&plan.name)?;
    mounts::make()?;
    write_configuration(&plan)?;
    let mut running = BTreeMap::new();
    let mut containerd = containerd(&plan)?;
    running.insert(containerd.start()?, containerd);
    load_images(&plan)?;
    until("the API server", API_SERVER, || plan.ready.exists())?;
    for mut unit in [kubelet(&plan)?, proxy(&plan)?] {
        running.insert(unit.start()?, unit);
    }
    keep(running)
}

fn write_configuration(plan: &Plan) -> Result<()> {
    let plugins = program("ptp")?;
    let plugins = plugins.parent().context("a program in a folder")?;
    let containerd = config::containerd(APP_IMAGE, &program("containerd-shim-runc-v2")?, plugins);
    fs::create_dir_all("/run/cni/net.d")?;
    for (path, text) in [
        ("/run/containerd.toml", containerd),
        ("/run/cni/net.d/10-cluster.conflist", config::network(plan).to_string()),
        ("/run/kubelet.yaml", config::kubelet().to_string()),
        ("/run/kube-proxy.yaml", config::proxy(plan).to_string()),
        // Pods with the cluster's DNS policy get what is here: there is no DNS in this cluster.
        ("/run/resolv.conf", String::new()),
    ] {
        fs::write(path, text).with_context(|| format!("writing {path}"))?;
    }
    Ok(())
}

fn containerd(plan: &Plan) -> Result<Unit> {
    let mut command = Command::new(program("containerd")?);
    command.args(["--config", "/run/containerd.toml"]);
    Unit::new("containerd", command, &plan.log, &plan.name)
}

fn kubelet(plan: &Plan) -> Result<Unit> {
    let [v4, v6] = super::super::address::node(plan.number).host.both();
    let mut command = Command::new(program("kubelet")?);
    command.args(["--config=/run/kubelet.yaml", &format!("--hostname-override={}", plan.name)]);
    command
        .arg(format!("--kubeconfig={}", plan.kubelet_config.display()))
        .arg(format!("--node-ip={v4},{v6}"));
    Unit::new("kubelet", command, &plan.log, &plan.name)
}

fn proxy(plan: &Plan) -> Result<Unit> {
    let mut command = Command::new(program("kube-proxy")?);
    command.args(["--config=/run/kube-proxy.yaml", &format!("--hostname-override={}", plan.name)]);
    Unit::new("kube-proxy", command, &plan.log, &plan.name)
}

fn load_images(plan: &Plan) -> Result<()> {
    until("containerd", CONTAINERD, || ctr(&["version"]).is_ok_and(|(is_there, _)| is_there))?;
    for image in &plan.images {
        let archive = image.display().to_string();
        let (loaded, said) = ctr(&["-n", "k8s.io", "images", "import", &archive])?;
        ensure!(loaded, "containerd does not take {archive}: {said}");
    }
    Ok(())
}

fn ctr(arguments: &[&str]) -> Result<(bool, String)> {
    let output = Command::new(program("ctr")?).args(arguments).stdin(Stdio::null()).output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}
