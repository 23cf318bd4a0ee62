//! `lb-agent run`: its flags.

use std::net::{AddrParseError, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{AdminSocket, Clients, DEFAULT_STATE, Meaning, Observe};
use crate::l7::UPSTREAM_KEEPALIVE;

/// `lb-agent run`
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Follow a folder of Kubernetes YAML instead of a cluster: Node, Service, EndpointSlice, IngressClass, Ingress,
    /// Secret, ConfigMap. Changes are live within milliseconds; a file that does not parse keeps its last good state.
    #[arg(long, env = "EDGELB_MANIFESTS", value_name = "DIR", conflicts_with_all = ["kubeconfig", "secrets"])]
    pub manifests: Option<PathBuf>,
    /// How to reach the cluster. [default: what KUBECONFIG names, ~/.kube/config, or the pod's service account]
    #[arg(long, env = "EDGELB_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// edgelb's own namespace: its Secret `edgelb-keys` and its Leases are there.
    #[arg(long, env = "EDGELB_NAMESPACE", value_name = "NAME", default_value = "edgelb-system")]
    pub namespace: String,
    /// How Secrets with certificates are read: `cluster`, all of them by one watch, of which those are kept that an
    /// Ingress of ours names; `named`, only these, each by its name, 64 a namespace at most.
    #[arg(long, env = "EDGELB_SECRETS", value_name = "PROFILE", default_value = "cluster")]
    pub secrets: Secrets,
    /// Where the state of a cluster is stored, private keys included, readable by us only: with it an agent starts
    /// while the API server is away. With a folder, who was a member is kept there. Agents of one node meet there: it
    /// has the socket over which the next takes over.
    #[arg(long, env = "EDGELB_STATE", value_name = "DIR", default_value = DEFAULT_STATE)]
    pub state: PathBuf,
    /// Name of this node's Node object. [default: the host name]
    #[arg(long, env = "EDGELB_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// Interface on which packets for VIPs come in. Repeat it, or separate names by commas; `auto` takes those
    /// that the default routes of IPv4 and IPv6 leave by, a bridge, bond or VLAN as it is. [default: auto]
    #[arg(long, env = "EDGELB_INTERFACES", value_name = "IF", value_delimiter = ',')]
    pub interface: Vec<String>,
    /// File with the secret that the flow hash is keyed with: 16 bytes or more, the same on all edge nodes.
    /// `head -c 32 /dev/urandom | base64` makes one. In a cluster the Secret `edgelb-keys` has it.
    #[arg(long, env = "EDGELB_HASH_KEY_FILE", value_name = "FILE")]
    pub hash_key_file: Option<PathBuf>,
    /// Number of this edgelb cluster, if several share a network: packets of others are refused.
    #[arg(long, env = "EDGELB_CLUSTER_ID", value_name = "NUMBER", default_value_t = 0)]
    pub cluster_id: u32,
    /// UDP port on which edge nodes send each other packets. The same on all of them.
    #[arg(long, env = "EDGELB_ENCAP_PORT", value_name = "PORT", default_value_t = lb_common::encap::DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub encap_port: u16,
    /// Where maps and links are pinned, on a BPF filesystem.
    #[arg(long, env = "EDGELB_BPFFS", value_name = "DIR", default_value = crate::l4::pins::DEFAULT_ROOT)]
    pub bpffs: PathBuf,
    /// Take over from an agent that runs with the same pins, instead of refusing to start: it goes on with the
    /// connections that it has, and new ones come here. For updates: start the new one, then stop the old one.
    #[arg(long, env = "EDGELB_TAKE_OVER")]
    pub take_over: bool,
    /// How long connections may take to end when the agent is told to stop: it drains first, and stops when none is
    /// left. Told twice, it stops at once. [default: 10; as --drain-deadline once another agent has taken over, which
    /// serves the node meanwhile]
    #[arg(long, env = "EDGELB_GRACE", value_name = "SECONDS")]
    pub grace: Option<u16>,
    /// The same once another agent has taken over. [default: --grace if that is set, else --drain-deadline]
    #[arg(long, env = "EDGELB_GRACE_FOLLOWED", value_name = "SECONDS")]
    pub grace_followed: Option<u16>,
    /// How long connections may hold up a change of the edge nodes: a node that drains counts as drained after that, and
    /// flows that opened before a change are looked for where it was before. The default outlasts downloads, long
    /// polling and most WebSocket sessions, and lets all nodes of a site be replaced one by one within a day. Of the
    /// leader, so best the same on all nodes.
    #[arg(long, env = "EDGELB_DRAIN_DEADLINE", value_name = "SECONDS", default_value_t = 3600)]
    pub drain_deadline: u32,
    /// Forget who opened flows before, to compare: plain consistent hashing. Changes of members break connections then.
    #[arg(long, env = "EDGELB_NO_SECOND_CHANCE", hide = true)]
    pub no_second_chance: bool,
    /// Lay maps out as another version would, to try updates and rollbacks. Builds for development have it.
    #[cfg(debug_assertions)]
    #[arg(long, env = "EDGELB_OTHER_LAYOUT", hide = true)]
    pub other_layout: bool,
    /// Load this object for packets, to try updates to another program. Builds for development have it.
    #[cfg(debug_assertions)]
    #[arg(long, env = "EDGELB_OTHER_PROGRAM", hide = true, value_name = "FILE")]
    pub other_program: Option<PathBuf>,
    /// Answer on ordinary sockets instead: no XDP, no VIPs, no rights. Takes --http, --https or both.
    #[arg(long, env = "EDGELB_NO_XDP", conflicts_with_all = ["interface", "hash_key_file"])]
    pub no_xdp: bool,
    /// Answer HTTP on this address of the node, too, for classes that name no Services; with --no-xdp, on it alone
    /// and for all classes. Repeat it, or separate addresses by commas: `0.0.0.0:80,[::]:80`.
    #[arg(long, env = "EDGELB_HTTP", value_name = "ADDR", value_delimiter = ',')]
    pub http: Vec<SocketAddr>,
    /// As --http, for HTTPS.
    #[arg(long, env = "EDGELB_HTTPS", value_name = "ADDR", value_delimiter = ',')]
    pub https: Vec<SocketAddr>,
    /// What objects mean.
    #[command(flatten)]
    pub meaning: Meaning,
    /// Threads that answer requests, each on a core of its own. [default: one per core]
    #[arg(long, env = "EDGELB_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// How long an idle connection to an endpoint is kept. Less than the endpoints' servers keep it: a request that meets
    /// their close, and must not be sent twice, is a 502. An endpoint that says how long it does (`Keep-Alive`) is believed.
    #[arg(long, env = "EDGELB_UPSTREAM_KEEPALIVE_TIMEOUT", value_name = "SECONDS", default_value_t = UPSTREAM_KEEPALIVE, value_parser = clap::value_parser!(u16).range(1..))]
    pub upstream_keepalive_timeout: u16,
    /// How much clients may ask, and who may speak for them.
    #[command(flatten)]
    pub clients: Clients,
    /// What is told of requests.
    #[command(flatten)]
    pub observe: Observe,
    /// Health, metrics and debug API over TCP; loopback only is wise. Empty for none.
    #[arg(long, env = "EDGELB_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:6082", value_parser = optional_address)]
    pub admin: OptionalAddress,
    /// The same on a unix socket, which `lb-agent health` asks.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
    /// Metrics and health alone on another address, for a Prometheus elsewhere.
    #[arg(long, env = "EDGELB_METRICS_ADDR", value_name = "ADDR")]
    pub metrics_addr: Option<SocketAddr>,
}

impl Run {
    /// What is missing on this command line, where that depends on more than one flag.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let needs_key = self.manifests.is_some() && !self.no_xdp;
        (needs_key && self.hash_key_file.is_none())
            .then_some("--manifests needs --hash-key-file FILE: the same on all nodes; or --no-xdp")
    }
}

/// How Secrets are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Secrets {
    /// All with a certificate, by one watch.
    Cluster,
    /// Those that Ingresses of ours name, by their names.
    Named,
}

/// An address, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionalAddress(pub Option<SocketAddr>);

fn optional_address(text: &str) -> Result<OptionalAddress, AddrParseError> {
    if text.is_empty() {
        return Ok(OptionalAddress(None));
    }
    text.parse().map(|address| OptionalAddress(Some(address)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command, DEFAULT_GRACE, DEFAULT_STATE};

    #[test]
    fn an_edge_node_needs_a_key() {
        let parse = |args: &[&str]| {
            let cli = Cli::try_parse_from([&["lb-agent", "run", "--manifests", "m"], args].concat());
            match cli.map_err(|error| error.to_string())?.command {
                Command::Run(run) => run.missing().map_or(Ok(()), |missing| Err(missing.to_owned())),
                _ => Err("another command".to_owned()),
            }
        };
        assert!(parse(&[]).is_err());
        assert!(parse(&["--hash-key-file", "k"]).is_ok());
        assert!(parse(&["--hash-key-file", "k", "--secrets", "named"]).is_err());
        assert!(parse(&["--interface", "eth0", "--hash-key-file", "k"]).is_ok());
        assert!(parse(&["--no-xdp", "--http", "127.0.0.1:8080"]).is_ok());
        assert!(parse(&["--http", "127.0.0.1:8080", "--interface", "eth0", "--hash-key-file", "k"]).is_ok());
        assert!(parse(&["--no-xdp", "--interface", "eth0"]).is_err());
    }

    /// The unit is for people to copy: what it says to the agent has to be right.
    #[test]
    fn the_shipped_unit_says_what_the_agent_takes() {
        let unit = include_str!("../../../deploy/systemd/lb-agent.service").replace("\\\n", " ");
        let setting = |name: &str| {
            let value = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("{name} in\n{unit}"))
        };
        let arguments = |line: &str| -> Vec<String> {
            let (_, after) = line.split_once("/usr/local/bin/lb-agent").expect("the agent");
            let words = after.split_whitespace().take_while(|word| *word != "&");
            std::iter::once("lb-agent").chain(words).map(str::to_owned).collect()
        };
        for line in ["ExecStart", "ExecReload"] {
            let cli = Cli::try_parse_from(arguments(setting(line))).expect(line);
            let Command::Run(run) = cli.command else { panic!("{line} runs no agent") };
            assert_eq!(run.take_over, line == "ExecReload");
        }
        assert!(!unit.contains("\nEnvironment=EDGELB_GRACE"), "an update would cut connections after it");
        let limit: u16 = setting("TimeoutStopSec").parse().expect("seconds");
        assert!(DEFAULT_GRACE + 5 < limit, "systemd kills what is still ending");
        assert_eq!((setting("Type"), setting("NotifyAccess")), ("notify", "all"));
        let folder = format!("/run/{}", setting("RuntimeDirectory"));
        assert_eq!(folder, DEFAULT_STATE, "where agents meet");
    }
}
