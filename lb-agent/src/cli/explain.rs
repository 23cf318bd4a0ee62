//! `lb-agent explain`: its flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::AdminSocket;

/// `lb-agent explain`
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// The client's address and port.
    #[arg(long, value_name = "IP:PORT")]
    pub from: SocketAddr,
    /// The VIP and port that it sends to.
    #[arg(long, value_name = "VIP:PORT")]
    pub to: SocketAddr,
    /// Its protocol.
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    pub proto: ExplainedProtocol,
    /// Ask for the first packet of a connection, instead of one of a connection that is open.
    #[arg(long)]
    pub syn: bool,
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
    /// What is wrong with it, where that depends on more than one flag.
    pub(super) fn wrong(&self) -> Option<&'static str> {
        if self.from.is_ipv4() != self.to.is_ipv4() {
            return Some("--from and --to must be of one family: IPv4 or IPv6");
        }
        let is_syn_of_udp = self.syn && self.proto == ExplainedProtocol::Udp;
        is_syn_of_udp.then_some("--syn is of TCP alone: each UDP datagram can open a flow")
    }
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
    }
}
