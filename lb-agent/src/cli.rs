//! The command line: every flag and its environment variable, and nothing else. A command with much to say of its own
//! has a file in `cli/`.

mod capture;
mod clients;
mod explain;

use std::env;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{
    ArgAction, Args, Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};

pub use self::capture::{Capture, CapturedProtocol};
pub use self::clients::Clients;
pub use self::explain::{Explain, ExplainedProtocol};

/// edgelb's node agent: steers packets for virtual IPs to the edge node that owns the flow, and answers HTTP
/// and HTTPS there, from Kubernetes objects.
#[derive(Clone, Debug, Parser)]
#[command(name = "lb-agent", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How logs look and what they tell.
    #[command(flatten)]
    pub log: Log,
}

impl Cli {
    /// Parses the process's arguments and environment; prints and exits where that is the answer.
    #[must_use]
    pub fn from_command_line() -> Self {
        let matches = command(|variable| env::var_os(variable)).get_matches();
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if let Command::Run(run) = &cli.command
            && let Some(missing) = run.missing()
        {
            Self::command().error(ErrorKind::MissingRequiredArgument, missing).exit();
        }
        if let Command::Explain(explain) = &cli.command
            && let Some(wrong) = explain.wrong()
        {
            Self::command().error(ErrorKind::ArgumentConflict, wrong).exit();
        }
        if let Command::Capture(capture) = &cli.command
            && let Some(wrong) = capture.question().wrong()
        {
            Self::command().error(ErrorKind::ArgumentConflict, wrong).exit();
        }
        cli
    }
}

/// The command line, in an environment where `EDGELB_NO_XDP=false` and `EDGELB_HTTP=` mean what they say: not
/// set. clap would see a conflict with `--interface` in the one, and an address in the other.
fn command(variable: impl Fn(&OsStr) -> Option<OsString> + Copy) -> ClapCommand {
    let is_unset = move |argument: &clap::Arg| {
        let value = argument.get_env().and_then(variable);
        let off = ["false", "0", "no", "off"].map(OsStr::new);
        value.is_some_and(|value| match argument.get_action() {
            ArgAction::SetTrue => value.is_empty() || off.contains(&value.as_os_str()),
            // Empty is a value of --admin.
            _ => value.is_empty() && argument.get_id() != "admin",
        })
    };
    Cli::command().mut_subcommands(|subcommand| {
        subcommand.mut_args(|argument| if is_unset(&argument) { argument.env(None) } else { argument })
    })
}

/// Where agents of a node meet unless told otherwise.
const DEFAULT_STATE: &str = "/run/edgelb";

/// Where the agent's own socket is unless told otherwise: in `/run/edgelb`, or among the user's own files if
/// that is not root.
fn default_admin_socket() -> PathBuf {
    let user = nix::unistd::geteuid();
    let folder = match env::var_os("XDG_RUNTIME_DIR") {
        _ if user.is_root() => PathBuf::from(DEFAULT_STATE),
        Some(folder) if !folder.is_empty() => PathBuf::from(folder).join("edgelb"),
        _ => env::temp_dir().join(format!("edgelb-{user}")),
    };
    folder.join("admin.sock")
}

/// Logging.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// What to log: a level (error, warn, info, debug, trace), or per module, `info,lb_agent::l7=debug`.
    #[arg(long, global = true, env = "EDGELB_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// One line for people, or one JSON object for machines, per event.
    #[arg(long, global = true, env = "EDGELB_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The agent's commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the agent on this node.
    ///
    /// It follows a cluster, or with --manifests a folder of YAML without any cluster.
    ///
    /// It is an edge node: XDP takes the packets of virtual IPs, and connections come in through the kernel's
    /// socket lookup. Needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
    ///
    /// With --no-xdp it is a plain proxy on ordinary sockets, without any rights: on a laptop, or behind
    /// another load balancer.
    ///
    ///   lb-agent run --manifests ./manifests --no-xdp --http 127.0.0.1:8080
    #[command(verbatim_doc_comment)]
    Run(Box<Run>),
    /// Check a folder of manifests and print every problem with file, object and field.
    ///
    /// Exit code 0 if nothing is wrong, 1 if there are errors (or, with --strict, warnings).
    #[command(verbatim_doc_comment)]
    Check(Check),
    /// Ask a running agent whether it is ready: exit code 0 if so. For probes.
    Health(Health),
    /// Have the agent of this node give up its flows: new ones go to other nodes, and the connections that it has end in
    /// order, each by its own protocol's way. What is left at the deadline is closed.
    ///
    /// Exit code 0 once it is told; with --wait, once nothing is left (1 if it cannot be told that new flows open at
    /// other nodes before the deadline).
    #[command(verbatim_doc_comment)]
    Drain(Drain),
    /// Say what happens to a packet: its service, its bucket, which members may have its flow, and where it goes.
    ///
    /// A made-up packet goes through the packet path as it is in force on this node; it is not counted and not sent.
    /// The agent asks all other members which of them has the connection, and waits half a second for their answers.
    /// Works without an agent, too, but then without names and without them. Needs root, or what `run` needs.
    ///
    /// Why does 192.0.2.7 get no answer? With the ports of one of its connections, on any edge node:
    ///
    ///   lb-agent explain --from 192.0.2.7:40312 --to 203.0.113.10:443
    ///
    /// Where would its next connection open?
    ///
    ///   lb-agent explain --from 192.0.2.7:40313 --to 203.0.113.10:443 --syn
    ///
    /// Exit code 0 if it gets to a socket as far as this node can know, 1 if it is lost, refused or left alone, 2 if that
    /// cannot be told.
    #[command(verbatim_doc_comment)]
    Explain(Explain),
    /// Show packets as they come in, and what the packet path does to each.
    ///
    /// A line for each packet, times in UTC; with -w as pcapng for Wireshark, with what became of it as
    /// the packet's comment (tshark -r FILE -T fields -e frame.comment). For so long the interfaces run
    /// a program that tells. It does the same to packets, and no connection notices; when nobody
    /// captures, nothing of it is in their way. One capture at a time; Ctrl-C ends it.
    ///
    /// Where do the packets of this connection go? On any edge node:
    ///
    ///   lb-agent capture --from 192.0.2.7:40312 --to 203.0.113.10:443
    ///
    /// What is lost, and why?
    ///
    ///   lb-agent capture --drops --seconds 10
    ///
    /// One packet in a hundred for Wireshark, and all of a VIP straight into tcpdump:
    ///
    ///   lb-agent capture --sample 100 -w sample.pcapng
    ///   lb-agent capture --to 203.0.113.10 -w - | tcpdump -n -r -
    ///
    /// Exit code 0 once it has ended, however few packets there were.
    #[command(verbatim_doc_comment)]
    Capture(Capture),
    /// Watch a node: members, connections, where flows were found, packets by service, drops by reason.
    ///
    /// q ends it. Figures of a second; it goes on while the agent restarts.
    ///
    ///   lb-agent top
    ///   lb-agent top --once --json | jq .drops
    #[command(verbatim_doc_comment)]
    Top(Top),
    /// Look at this machine: kernel, rights, interfaces, settings; say what is wrong and how to mend it.
    Doctor(Doctor),
    /// Remove what the agent leaves in the kernel when it stops: programs, maps, local routes of VIPs.
    ///
    /// They stay on purpose (the kernel goes on forwarding while the agent is away), so stop the agent first.
    ///
    /// With --cluster it removes what the agents wrote to the cluster instead, once for all of them: addresses of
    /// Services and Ingresses, the history of members, Leases. Stop all agents first.
    Uninstall(Uninstall),
}

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
    /// left. Told twice, it stops at once.
    #[arg(long, env = "EDGELB_GRACE", value_name = "SECONDS", default_value_t = 10)]
    pub grace: u16,
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
    /// How much clients may ask, and who may speak for them.
    #[command(flatten)]
    pub clients: Clients,
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
    fn missing(&self) -> Option<&'static str> {
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

/// The flags that change what objects mean.
#[derive(Clone, Debug, Args)]
pub struct Meaning {
    /// Secret with the certificate for hosts that have none of their own.
    #[arg(long, env = "EDGELB_DEFAULT_CERTIFICATE", value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    pub default_certificate: Option<(String, String)>,
    /// Take Ingresses that name no class too.
    #[arg(long, env = "EDGELB_WATCH_WITHOUT_CLASS")]
    pub watch_without_class: bool,
    /// Let routes lead to Services of type ExternalName, in classes whose IngressParameters do not say. Whoever may
    /// write Services then chooses where this node sends requests.
    #[arg(long, env = "EDGELB_ALLOW_EXTERNAL_NAME")]
    pub allow_external_name: bool,
}

/// Where a running agent listens for its operator.
#[derive(Clone, Debug, Args)]
pub struct AdminSocket {
    /// The agent's unix socket.
    #[arg(long, env = "EDGELB_ADMIN_SOCKET", value_name = "PATH", default_value_os_t = default_admin_socket())]
    pub admin_socket: PathBuf,
}

/// `lb-agent health`
#[derive(Clone, Debug, Args)]
pub struct Health {
    /// Ask only whether it runs and answers, ready or not.
    #[arg(long)]
    pub live: bool,
    /// Where it listens.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// `lb-agent drain`
#[derive(Clone, Debug, Args)]
pub struct Drain {
    /// Wait until it is done, and say how it goes.
    #[arg(long)]
    pub wait: bool,
    /// Call a drain off instead: this node takes new flows again.
    #[arg(long, conflicts_with_all = ["wait", "deadline"])]
    pub cancel: bool,
    /// After this time, connections that are left are closed. Told again, the new one counts.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::admin::DEFAULT_SECONDS)]
    pub deadline: u32,
    /// Where the agent listens.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// `lb-agent top`
#[derive(Clone, Debug, Args)]
pub struct Top {
    /// Show it once and end, as it does where the output is no terminal. Takes a second: it tells figures of one.
    #[arg(long)]
    pub once: bool,
    /// Once, as JSON: names stay the same from version to version.
    #[arg(long)]
    pub json: bool,
    /// Where the agent listens.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// `lb-agent check`
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The folder.
    #[arg(value_name = "DIR")]
    pub manifests: PathBuf,
    /// Warnings count as errors.
    #[arg(long)]
    pub strict: bool,
    /// As `run` has it.
    #[command(flatten)]
    pub meaning: Meaning,
}

/// `lb-agent doctor`
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// Interface to look at. Repeat it, or separate names by commas. [default: auto, as `run` has it; where that
    /// finds none, those that are up and have an address]
    #[arg(long, env = "EDGELB_INTERFACES", value_name = "IF", value_delimiter = ',')]
    pub interface: Vec<String>,
    /// Where maps and links are pinned.
    #[arg(long, env = "EDGELB_BPFFS", value_name = "DIR", default_value = crate::l4::pins::DEFAULT_ROOT)]
    pub bpffs: PathBuf,
    /// Where an agent that runs here is asked how it is.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// `lb-agent uninstall`
#[derive(Clone, Debug, Args)]
pub struct Uninstall {
    /// Where maps and links are pinned.
    #[arg(long, env = "EDGELB_BPFFS", value_name = "DIR", default_value = crate::l4::pins::DEFAULT_ROOT)]
    pub bpffs: PathBuf,
    /// Where agents of this node meet and store state.
    #[arg(long, env = "EDGELB_STATE", value_name = "DIR", default_value = DEFAULT_STATE)]
    pub state: PathBuf,
    /// Stay when it is done, until told to stop: the pod of a DaemonSet is to keep running.
    #[arg(long)]
    pub stay: bool,
    /// Remove from the cluster instead of from this node.
    #[arg(long)]
    pub cluster: bool,
    /// With --cluster: how to reach it. [default: as `run` has it]
    #[arg(long, env = "EDGELB_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// With --cluster: edgelb's own namespace.
    #[arg(long, env = "EDGELB_NAMESPACE", value_name = "NAME", default_value = "edgelb-system")]
    pub namespace: String,
}

/// An address, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionalAddress(pub Option<SocketAddr>);

fn optional_address(text: &str) -> Result<OptionalAddress, std::net::AddrParseError> {
    if text.is_empty() {
        return Ok(OptionalAddress(None));
    }
    text.parse().map(|address| OptionalAddress(Some(address)))
}

fn namespaced(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("expected NAMESPACE/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_run_has_an_environment_variable() {
        let command = Cli::command();
        let run = command.find_subcommand("run").expect("there is a run command");
        for argument in
            run.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        {
            assert!(argument.get_env().is_some(), "--{}", argument.get_id());
            assert!(argument.get_help().is_some(), "--{}", argument.get_id());
        }
    }

    #[test]
    fn empty_and_false_variables_are_not_set() {
        let parse = |variables: &[(&str, &str)], args: &[&str]| {
            // clap reads the process's environment itself: what is left of it is what the test looks at.
            let found =
                |name: &OsStr| variables.iter().find(|(set, _)| name == *set).map(|(_, value)| value.into());
            let command = command(found);
            let run = command.find_subcommand("run").expect("there is a run command").clone();
            let names = args.iter().map(|id| run.get_arguments().find(|argument| argument.get_id() == *id));
            names.map(|argument| argument.expect("it is there").get_env().is_some()).collect::<Vec<_>>()
        };
        let all = &["no_xdp", "http", "interface", "admin"];
        assert_eq!(parse(&[], all), [true; 4]);
        for off in ["", "false", "0"] {
            let variables = [("EDGELB_NO_XDP", off), ("EDGELB_HTTP", ""), ("EDGELB_ADMIN", "")];
            assert_eq!(parse(&variables, all), [false, false, true, true], "{off:?}");
        }
        let set = [("EDGELB_NO_XDP", "true"), ("EDGELB_HTTP", "127.0.0.1:80"), ("EDGELB_INTERFACES", "eth0")];
        assert_eq!(parse(&set, all), [true; 4]);
    }

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
        let unit = include_str!("../../deploy/systemd/lb-agent.service").replace("\\\n", " ");
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
        let grace: u16 = setting("Environment=EDGELB_GRACE").parse().expect("seconds");
        let limit: u16 = setting("TimeoutStopSec").parse().expect("seconds");
        assert!(grace + 5 < limit, "systemd kills what is still ending");
        assert_eq!((setting("Type"), setting("NotifyAccess")), ("notify", "all"));
        let folder = format!("/run/{}", setting("RuntimeDirectory"));
        assert_eq!(folder, DEFAULT_STATE, "where agents meet");
    }
}
