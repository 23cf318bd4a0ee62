//! `lb-agent explain`: its flags.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{AdminSocket, Meaning};
use crate::admin::explain::header;

/// `lb-agent explain`
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// The client's address and port; of a request its address alone, or that of a proxy in front of us.
    #[arg(long, value_name = "IP[:PORT]", value_parser = client)]
    pub from: Option<From>,
    /// The VIP and port that it sends to. [default for a request: each listener]
    #[arg(long, value_name = "VIP:PORT")]
    pub to: Option<SocketAddr>,
    /// Its protocol.
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp", conflicts_with = "host")]
    pub proto: ExplainedProtocol,
    /// Ask for the first packet of a connection, instead of one of a connection that is open.
    #[arg(long, conflicts_with = "host")]
    pub syn: bool,
    /// Of a request.
    #[command(flatten)]
    pub request: ExplainedRequest,
    /// As JSON: names stay the same from version to version.
    #[arg(long)]
    pub json: bool,
    /// Where maps and links are pinned.
    #[arg(long, env = "EDGELB_BPFFS", value_name = "DIR", default_value = crate::l4::pins::DEFAULT_ROOT)]
    pub bpffs: PathBuf,
    /// Where the agent is asked for names.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

impl Explain {
    /// The ends of a packet, if both are given.
    #[must_use]
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let from = self.from?;
        Some((SocketAddr::new(from.address, from.port?), self.to?))
    }

    /// What is wrong with it, where that depends on more than one flag.
    pub(super) fn wrong(&self) -> Option<&'static str> {
        if self.request.host.is_some() {
            return None;
        }
        let Some((from, to)) = self.ends() else {
            return Some("name a packet by --from IP:PORT and --to VIP:PORT, or a request by --host");
        };
        if from.is_ipv4() != to.is_ipv4() {
            return Some("--from and --to must be of one family: IPv4 or IPv6");
        }
        let is_syn_of_udp = self.syn && self.proto == ExplainedProtocol::Udp;
        is_syn_of_udp.then_some("--syn is of TCP alone: each UDP datagram can open a flow")
    }
}

/// A request that is asked about, by `--host`.
#[derive(Clone, Debug, Args)]
pub struct ExplainedRequest {
    /// Ask for a request to this host, instead of a packet.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Its path, perhaps with a query.
    #[arg(long, value_name = "PATH", default_value = "/", requires = "host")]
    pub path: String,
    /// Its method.
    #[arg(long, value_name = "METHOD", default_value = "GET", requires = "host")]
    pub method: String,
    /// A header of it, `NAME: VALUE`. May be repeated.
    #[arg(long = "header", value_name = "HEADER", value_parser = header, requires = "host")]
    pub headers: Vec<(String, String)>,
    /// The name that the client asks for in the TLS handshake; empty for none. [default: the host]
    #[arg(long, value_name = "NAME", requires = "host")]
    pub sni: Option<String>,
    /// Ask what a folder of manifests would do, instead of the agent of this node. Without a Service that has a VIP, as
    /// if run with --http and --https.
    #[arg(long, value_name = "DIR", requires = "host")]
    pub manifests: Option<PathBuf>,
    /// For a folder, as `run` has it.
    #[command(flatten)]
    pub meaning: Meaning,
}

/// A client, perhaps with its port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct From {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: Option<u16>,
}

fn client(text: &str) -> Result<From, String> {
    let whole = text.parse::<SocketAddr>().map(|from| From { address: from.ip(), port: Some(from.port()) });
    let alone = || text.parse().map(|address| From { address, port: None });
    whole.or_else(|_| alone()).map_err(|_| "expected IP:PORT or IP".to_owned())
}

/// Protocols that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ExplainedProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};

    #[test]
    fn a_packet_is_of_one_family_and_syn_of_tcp() {
        let parse = |args: &[&str]| {
            let cli = Cli::try_parse_from([&["lb-agent", "explain"], args].concat()).expect("known flags");
            let Command::Explain(explain) = cli.command else { panic!("another command") };
            explain.wrong()
        };
        let v4 = ["--from", "192.0.2.7:1", "--to", "203.0.113.10:443"];
        assert_eq!(parse(&v4), None);
        assert_eq!(parse(&[&v4[..], &["--syn"]].concat()), None);
        assert_eq!(
            parse(&["--from", "[2001:db8::1]:1", "--to", "[2001:db8::2]:443", "--proto", "udp"]),
            None
        );
        assert!(parse(&[&v4[..], &["--syn", "--proto", "udp"]].concat()).is_some());
        assert!(parse(&["--from", "192.0.2.7:1", "--to", "[2001:db8::2]:443"]).is_some());
        assert!(parse(&["--from", "192.0.2.7", "--to", "203.0.113.10:443"]).is_some());
        assert!(parse(&[]).is_some());
    }

    #[test]
    fn a_request_needs_its_host_alone() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["lb-agent", "explain"], args].concat());
        let cli =
            parse(&["--host", "a.org", "--from", "192.0.2.7", "--header", "accept: */*"]).expect("flags");
        let Command::Explain(explain) = cli.command else { panic!("another command") };
        assert_eq!(explain.wrong(), None);
        assert_eq!(explain.request.headers, [("accept".to_owned(), "*/*".to_owned())]);
        for wrong in [
            &["--host", "a.org", "--syn"][..],
            &["--host", "a.org", "--header", "x"],
            &["--path", "/x"],
            &["--from", "x"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
