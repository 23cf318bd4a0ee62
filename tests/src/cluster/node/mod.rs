//! A node of the cluster: a kubelet with containerd and kube-proxy, in namespaces of their own. This side, outside of
//! them, switches it on and off; `boot` and `init` are the node's own processes.

mod boot;
mod config;
mod init;
mod mounts;
mod supervisor;

use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::address;
use super::daemon::Daemon;
use super::starter::{Starter, tied_to_lab};
use crate::lab::address::Link;
use crate::lab::claim::Claim;
use crate::lab::netlink::{End, delete, set_up, spread};
use crate::lab::{Namespace, UPLINK, pass, program, topology};

pub use self::boot::boot;
pub use self::init::init;

/// All that a node's processes are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) number: u8,
    /// The lab's folder.
    pub(crate) lab: PathBuf,
    /// The name of its control groups.
    pub(crate) cgroup: String,
    /// Where its programs' logs go.
    pub(crate) log: PathBuf,
    /// For the kubelet, and for kube-proxy.
    pub(crate) kubelet_config: PathBuf,
    pub(crate) proxy_config: PathBuf,
    /// It is there when the API server is ready.
    pub(crate) ready: PathBuf,
    /// The first one is that of the pause container.
    pub(crate) images: Vec<PathBuf>,
}

/// A node, switched on or off.
#[derive(Debug)]
pub struct Node {
    /// The Node object's name.
    pub name: String,
    /// Its addresses.
    pub link: Link,
    plan: Plan,
    router: Namespace,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    namespace: Namespace,
    boot: Daemon,
    since: SystemTime,
    // Last: its processes end with it.
    _starter: Starter,
}

impl Node {
    pub(crate) fn new(plan: Plan, router: &Namespace) -> Self {
        Self {
            name: plan.name.clone(),
            link: address::node(plan.number),
            plan,
            router: router.clone(),
            running: None,
        }
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// If it is switched off.
    pub fn namespace(&self) -> Result<&Namespace> {
        Ok(&self.running()?.namespace)
    }

    /// Runs a command on the node, with the node's view of everything, to its end: whether it succeeded, and what it
    /// said.
    ///
    /// # Errors
    /// If the node is switched off, or the command cannot be started.
    pub fn output(&self, command: &[&str]) -> Result<(bool, String)> {
        let mut enter = enter(self.init_id()?, &command.iter().map(OsString::from).collect::<Vec<_>>())?;
        let output = enter.output()?;
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok((output.status.success(), text.concat()))
    }

    /// The process id, seen from here, of the node's first process: `nsenter -t` takes it.
    ///
    /// # Errors
    /// If the node is switched off.
    pub fn init_id(&self) -> Result<u32> {
        let boot = self.running()?.boot.id();
        let children = fs::read_to_string(format!("/proc/{boot}/task/{boot}/children"))?;
        let first = children
            .split_whitespace()
            .next()
            .with_context(|| format!("{} has not booted yet", self.name))?;
        Ok(first.parse()?)
    }

    /// Switches it on: a fresh machine each time, under the same name.
    pub(crate) fn switch_on(&mut self, claim: &Claim) -> Result<()> {
        ensure!(self.running.is_none(), "{} is running", self.name);
        let namespace = topology::raise_host(claim, &self.router, &self.name, self.link)?;
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            namespace.set_sysctl(key, "1")?;
        }
        let ((v4, v4_length), (v6, v6_length)) = address::pods(self.plan.number);
        spread(&self.router, (v4.into(), v4_length), &[self.link.host.v4.into()])?;
        spread(&self.router, (v6.into(), v6_length), &[self.link.host.v6.into()])?;
        let pins = claim.folder().join("mnt/bpf/router");
        let _ = fs::remove_file(pins.join(&self.name));
        pass::attach(&self.router, std::slice::from_ref(&self.name), &pins)?;
        let inside = namespace.clone();
        let starter = Starter::new(move || Ok(inside.enter()?))?;
        let plan = claim.folder().join(format!("{}.json", self.name));
        fs::write(&plan, serde_json::to_vec_pretty(&self.plan)?)?;
        let boot = Daemon::start(
            &format!("{} (boot)", self.name),
            &starter,
            tied_to_lab("node-boot", &plan)?,
            &self.plan.log.join(format!("{}.log", self.name)),
        )?;
        self.running = Some(Running { namespace, boot, since: SystemTime::now(), _starter: starter });
        Ok(())
    }

    /// A power cut: the link goes first, so that nobody sees a FIN; then all processes at once.
    pub(crate) fn power_cut(&mut self, claim: &Claim) -> Result<()> {
        let Running { namespace, mut boot, .. } = self.running.take().with_context(|| self.is_off())?;
        let pins = claim.folder().join("mnt/bpf/router");
        let _ = fs::remove_file(pins.join(&self.name));
        delete(End { namespace: &self.router, interface: &self.name })?;
        boot.kill()?;
        claim.release(namespace)
    }

    /// Fails, with the end of its log, if it has ended by itself.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        self.running.as_mut().map_or(Ok(()), |running| running.boot.expect_alive())
    }

    /// Takes its link up or down; everything on it goes on.
    ///
    /// # Errors
    /// If it is switched off.
    pub fn set_link(&self, up: bool) -> Result<()> {
        set_up(End { namespace: self.namespace()?, interface: UPLINK }, up)
    }

    /// Whether it is switched on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// Since when, in seconds of Unix time.
    pub(crate) fn on_since(&self) -> Option<i64> {
        let since = self.running.as_ref()?.since.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    }

    /// Its addresses, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        self.link.host.both()
    }

    /// Whether packets with this source come from it: from itself, or from what it has for its pods.
    #[must_use]
    pub fn has(&self, source: IpAddr) -> bool {
        let ((v4, length_v4), (v6, length_v6)) = address::pods(self.plan.number);
        self.addresses().contains(&source)
            || match source {
                IpAddr::V4(source) => (source.to_bits() ^ v4.to_bits()) >> (32 - length_v4) == 0,
                IpAddr::V6(source) => (source.to_bits() ^ v6.to_bits()) >> (128 - length_v6) == 0,
            }
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().with_context(|| self.is_off())
    }

    fn is_off(&self) -> String {
        format!("{} is switched off", self.name)
    }
}

/// A command that runs another in all namespaces of a process.
pub(crate) fn enter(process: u32, command: &[OsString]) -> Result<Command> {
    let mut enter = Command::new(program("lb-lab", "LB_LAB")?);
    enter.arg("enter").arg(process.to_string()).arg("--").args(command);
    Ok(enter)
}

fn read(plan: &Path) -> Result<Plan> {
    let text = fs::read(plan).with_context(|| format!("{}", plan.display()))?;
    Ok(serde_json::from_slice(&text)?)
}
