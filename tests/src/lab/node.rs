//! An edge node of the lab: its namespace, its place in the address plan, and the agent that runs on it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lb_common::verdict::Verdict;

use super::address::{Addresses, Link};
use super::admin;
use super::claim::Claim;
use super::namespace::Namespace;
use super::netlink::{End, add_address, set_up};
use super::pass;
use super::process::{self, Process, program};
use super::topology::{self, UPLINK};
use super::view::{NodeView, View};
use super::wait::eventually;

/// How long an agent may take until it is ready.
const READY: Duration = Duration::from_secs(20);

/// An edge node.
#[derive(Debug)]
pub struct Node {
    /// Its name, which is also the Node object's.
    pub name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its addresses.
    pub link: Link,
    router: Namespace,
    /// What its agent is started with as `--interface`.
    pub interface: &'static str,
    /// The folder that its agent follows: the lab's, unless it is of another cluster.
    pub manifests: PathBuf,
    /// Variables that its agent is started with.
    pub environment: Vec<(&'static str, String)>,
    /// The lab's folder with `manifests`, `tls`, `log`, and the file of this node's flow key.
    pub(crate) folder: PathBuf,
    pub(crate) mounts: NodeView,
    pub(crate) agent: Option<Process>,
    /// The file name of its admin socket.
    admin_socket: String,
}

impl Node {
    pub(crate) fn raise(claim: &Claim, router: &Namespace, name: &str, link: Link) -> Result<Self> {
        let namespace = topology::raise_host(claim, router, name, link)?;
        let mounts = claim.add_node(name)?;
        Ok(Self {
            name: name.to_owned(),
            namespace,
            link,
            router: router.clone(),
            interface: UPLINK,
            manifests: claim.folder().join("manifests"),
            environment: Vec::new(),
            folder: claim.folder().to_owned(),
            mounts,
            agent: None,
            admin_socket: "admin.sock".to_owned(),
        })
    }

    /// Starts `lb-agent run` with its manifests, without waiting for anything.
    ///
    /// # Errors
    /// If the program is not there, or cannot be started.
    pub fn start_agent(&mut self, arguments: &[&str]) -> Result<&mut Process> {
        let mut command = self.agent_command("run")?;
        command
            .arg("--manifests")
            .arg(&self.manifests)
            .args(["--node", &self.name, "--interface", self.interface])
            .arg("--hash-key-file")
            .arg(self.key_file())
            .args(arguments);
        let agent = self.start(&format!("{}-agent", self.name), command)?;
        Ok(self.agent.insert(agent))
    }

    /// The file with its flow key: each node has one of its own, so that they can be given another at different times.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.join(format!("hash-key-{}", self.name))
    }

    /// Puts a flow key into that file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn give_key(&self, key: &[u8]) -> Result<()> {
        Ok(fs::write(self.key_file(), key)?)
    }

    /// Starts the agent and waits until it is ready.
    ///
    /// # Errors
    /// Shows the agent's log, if it ends before it is ready, or is not ready in time.
    pub fn run_agent(&mut self, arguments: &[&str]) -> Result<()> {
        self.start_agent(arguments)?;
        self.await_ready()
    }

    /// Starts the next agent beside the one that runs, and waits until it has taken over. The one before is
    /// returned: it still runs, and has the connections that it had.
    ///
    /// # Errors
    /// If none runs; those of `run_agent`.
    pub fn run_next_agent(&mut self) -> Result<Process> {
        let before = self.start_next_agent(&[])?;
        self.await_ready()?;
        Ok(before)
    }

    /// As `run_next_agent`, with more arguments and without waiting for anything.
    ///
    /// # Errors
    /// If none runs; those of `start_agent`.
    pub fn start_next_agent(&mut self, arguments: &[&str]) -> Result<Process> {
        let before = self.agent.take().context("no agent was started")?;
        self.admin_socket = format!("after-{}.sock", before.id());
        let socket = self.agent_socket();
        self.start_agent(&[&["--take-over", "--admin-socket", &socket], arguments].concat())?;
        Ok(before)
    }

    /// Makes a process the node's agent again, in place of the one that took over from it, which is killed.
    pub fn agent_before(&mut self, before: Process) {
        self.agent = Some(before);
        self.admin_socket = "admin.sock".to_owned();
    }

    /// Gives the agent away, for a test that has several.
    pub fn take_agent(&mut self) -> Option<Process> {
        self.agent.take()
    }

    /// Waits until the agent is ready.
    ///
    /// # Errors
    /// As `run_agent`.
    pub fn await_ready(&mut self) -> Result<()> {
        let socket = self.admin_socket();
        let agent = self.agent.as_mut().context("no agent was started")?;
        let mut over = None;
        let ready = eventually("readiness", READY, || {
            over = agent.ended()?;
            match over {
                Some(_) => Ok(()),
                None => admin::ready(&socket),
            }
        });
        let name = &self.name;
        match (ready, over) {
            (_, Some(status)) => bail!("the agent of {name} ended, {status}:\n{}", agent.log()),
            (Err(error), None) => Err(error.context(format!("the agent of {name} says:\n{}", agent.log()))),
            (Ok(()), None) => Ok(()),
        }
    }

    /// The agent, if one was started.
    pub fn agent(&mut self) -> Option<&mut Process> {
        self.agent.as_mut()
    }

    /// Runs `lb-agent` with a subcommand on the node to its end.
    ///
    /// # Errors
    /// If it cannot be started or does not end in time; an exit code that is not 0 is no error.
    pub fn lb_agent(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
        command.args(arguments);
        self.output(command)
    }

    /// Starts `lb-agent` with a subcommand that lasts; what it says is its log.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_lb_agent(&self, name: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
        command.args(arguments);
        self.start(&format!("{}-{name}", self.name), command)
    }

    /// Runs any command on the node to its end: its status and what it said.
    ///
    /// # Errors
    /// As `lb_agent`.
    pub fn output(&self, command: Command) -> Result<(ExitStatus, String)> {
        process::output(&self.namespace, &self.view(), command)
    }

    /// What the agent answers on its admin socket to `GET path`.
    ///
    /// # Errors
    /// If nobody answers there.
    pub fn admin(&self, path: &str) -> Result<super::http::Answer> {
        admin::fetch(&self.admin_socket(), path)
    }

    /// The value of one series of the agent's metrics, written as Prometheus does, labels included.
    ///
    /// # Errors
    /// If nobody answers, or it is not there.
    pub fn metric(&self, series: &str) -> Result<f64> {
        admin::metric(&self.admin_socket(), series)
    }

    /// How many packets had this verdict on the node.
    ///
    /// # Errors
    /// As `metric`.
    pub fn verdict(&self, verdict: Verdict) -> Result<f64> {
        self.metric(&format!("lb_l4_packets_total{{verdict=\"{}\"}}", verdict.label()))
    }

    /// Puts an XDP program that is not ours on the uplink.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn attach_foreign_xdp(&self) -> Result<()> {
        pass::attach(&self.namespace, &[UPLINK.to_owned()], &self.mounts.bpffs)
    }

    /// Puts a bridge over the uplink, and on it the node's addresses and routes.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn raise_bridge(&self, bridge: &str) -> Result<()> {
        topology::raise_bridge(&self.namespace, bridge, self.link)
    }

    /// Takes its interface down and up again. Its kernel forgets its routes by that, and keeps its addresses.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn lose_routes(&self) -> Result<()> {
        // The kernel forgets IPv6 addresses otherwise.
        self.namespace.set_sysctl(&format!("ipv6/conf/{UPLINK}/keep_addr_on_down"), "1")?;
        let uplink = End { namespace: &self.namespace, interface: UPLINK };
        set_up(uplink, false)?;
        set_up(uplink, true)
    }

    /// Gives it its routes again.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn restore_routes(&self) -> Result<()> {
        topology::restore_routes(&self.namespace, self.link)
    }

    /// Has its gateway answer over IPv6, or not: over IPv4 it does all the time.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn gateway_over_v6(&self, answers: bool) -> Result<()> {
        topology::speak_v6(&self.router, &self.name, self.link, answers)
    }

    /// Ends the agent at once (SIGKILL); packets still come.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.take().context("no agent was started")?.kill()
    }

    /// A power cut: the link goes down before the processes die, so that no client sees a FIN.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn power_cut(&mut self) -> Result<()> {
        set_up(End { namespace: &self.namespace, interface: UPLINK }, false)?;
        match self.agent.take() {
            Some(mut agent) => agent.kill(),
            None => Ok(()),
        }
    }

    /// Pulls the cable: no carrier, while addresses, routes and agent stay. To take the node's own interface down would
    /// be more than that: its kernel would have no route for half-open connections, and give them up.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn link_down(&self) -> Result<()> {
        topology::cut_link(&self.router, &self.name)
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn link_up(&self) -> Result<()> {
        topology::mend_link(&self.router, &self.name, self.link)
    }

    /// Starts the agent as a plain proxy on a VIP that is an address of the node: what answers behind a router that
    /// spreads packets when there is no edgelb.
    ///
    /// # Errors
    /// As `start_agent`.
    pub fn start_plain_proxy(&mut self, vip: Addresses) -> Result<()> {
        let mut command = self.agent_command("run")?;
        command.arg("--manifests").arg(&self.manifests);
        command.args(["--node", &self.name, "--no-xdp", "--grace", "600"]);
        for address in vip.both() {
            add_address(&self.namespace, "lo", address)?;
            command.args(["--http", &SocketAddr::new(address, 80).to_string()]);
            command.args(["--https", &SocketAddr::new(address, 443).to_string()]);
        }
        self.agent = Some(self.start(&format!("{}-agent", self.name), command)?);
        Ok(())
    }

    /// Where the agent's admin socket is, seen from outside; on the node the first one has it where agents have it by
    /// default.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.mounts.run.join(&self.admin_socket)
    }

    /// The same, seen from the node.
    #[must_use]
    pub fn agent_socket(&self) -> String {
        format!("/run/edgelb/{}", self.admin_socket)
    }

    /// Where the agents of the node hand over, seen from outside.
    #[must_use]
    pub fn hand_over_socket(&self) -> PathBuf {
        self.mounts.run.join("handover.sock")
    }

    /// The node's bpffs, seen from outside.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.mounts.bpffs
    }

    fn view(&self) -> View {
        View { folder: self.folder.clone(), node: Some(self.mounts.clone()) }
    }

    fn agent_command(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
        command.arg(subcommand).envs(self.environment.iter().cloned());
        Ok(command)
    }

    /// Starts any command on the node; what it says is its log.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, name: &str, command: Command) -> Result<Process> {
        let log = self.folder.join("log").join(format!("{name}.log"));
        Process::start(name, &self.namespace, &self.view(), command, &log)
    }
}
