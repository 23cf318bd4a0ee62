//! The command line: every flag and its environment variable, and nothing else. What each command takes is in `cli/`.

mod access_log;
mod ask;
mod capture;
mod clients;
mod explain;
mod log;
mod meaning;
mod node;
mod observe;
mod run;

use std::env;
use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{ArgAction, Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::access_log::AccessLog;
pub use self::ask::{AdminSocket, Drain, Health, Top};
pub use self::capture::{Capture, CapturedProtocol};
pub use self::clients::Clients;
pub use self::explain::{Explain, ExplainedProtocol, ExplainedRequest, From};
pub use self::log::{Log, LogFormat};
pub use self::meaning::{Check, Meaning};
pub use self::node::{Doctor, Uninstall};
pub use self::observe::Observe;
pub use self::run::{OptionalAddress, Run, Secrets};

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
        if let Command::Run(run) = &cli.command
            && let Some(wrong) = run.clients.wrong()
        {
            Self::command().error(ErrorKind::ValueValidation, wrong).exit();
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

/// Where agents of a node meet unless told otherwise.
const DEFAULT_STATE: &str = "/run/edgelb";

/// So many seconds connections may take to end when an agent is told to stop that nobody has followed, unless told
/// otherwise: whoever stops it waits for that.
pub const DEFAULT_GRACE: u16 = 10;

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
    /// Say what happens to a packet, or to a request, and why.
    ///
    /// Of a packet: its service, its bucket, which members may have its flow, and where it goes.
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
    /// Of a request, with --host: the listener, its certificate and why this one, the route that wins and those that
    /// lose, the backend and its endpoints, and what they get. The running agent is asked, or with --manifests a folder,
    /// before it is applied; nothing is sent.
    ///
    ///   lb-agent explain --host shop.example.org --path /cart
    ///   lb-agent explain --host shop.example.org --path /cart --manifests ./manifests
    ///
    /// Exit code 0 if it gets to a socket as far as this node can know, or to an endpoint, 1 if it is lost, refused or
    /// left alone, or the proxy answers by itself, 2 if that cannot be told.
    #[command(verbatim_doc_comment)]
    Explain(Explain),
    /// Show packets as they come in, and what the packet path does to each.
    ///
    /// A line for each packet, times in UTC; with -w as pcapng for Wireshark, with what became of it as
    /// the packet's comment (tshark -r FILE -T fields -e frame.comment). For so long the interfaces run
    /// a program that tells. It does the same to packets, and no connection notices; when nobody
    /// captures, nothing of it is in their way. One capture at a time; Ctrl-C ends it. A fragment that
    /// waits for its datagram's first part shows twice: when it comes, and when it goes on.
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
}
