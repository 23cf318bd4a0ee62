//! `--keep`: the lab stays, with commands to play with it, ready to paste.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::lab::address::{Link, VIP, VIPS_V4};
use crate::lab::site::SHOP;
use crate::lab::{Lab, UPLINK, program};

use super::curl::Curl;
use super::report::Report;

/// Where the next agent is asked: the socket of the one before is in use until it ends.
const NEXT: &str = "next.sock";

pub(super) fn hand_over(mut lab: Lab, report: &Report) -> Result<()> {
    let url = format!("https://{SHOP}/api");
    let curl = Curl { url: &url, over_v6: false }.arguments(&lab)?.join(" ");
    let first_agent = lab.edges[0].agent().context("edge-1 has no agent")?.id();
    let links = lab.edges.iter().map(|node| node.link).collect();
    let key_file = lab.edges[0].key_file().display().to_string();
    let (lb_lab, lb_agent) = (program("lb-lab", "LB_LAB")?, program("lb-agent", "LB_AGENT")?);
    let kept = Kept {
        lb_lab: lb_lab.display().to_string(),
        lb_agent: lb_agent.display().to_string(),
        curl,
        first_agent,
        key_file,
        links,
        folder: lab.keep()?.display().to_string(),
    };
    for (title, commands) in [
        ("The lab is still up. Some things to try:", kept.looks()),
        ("What an operator does:", kept.deeds()),
        ("What happens to a network:", kept.events()),
    ] {
        report.title(title);
        for (what, command) in commands {
            report.note(what);
            report.command(&command);
        }
    }
    report.note("remove the lab");
    report.command(&format!("{} down", kept.lb_lab));
    Ok(())
}

/// A lab without an owner.
struct Kept {
    lb_lab: String,
    lb_agent: String,
    /// After `curl`.
    curl: String,
    /// The process of the agent of edge-1.
    first_agent: u32,
    /// The file with its flow key.
    key_file: String,
    /// Of the edge nodes.
    links: Vec<Link>,
    folder: String,
}

/// Commands, each with what it is for.
type Commands = Vec<(&'static str, String)>;

impl Kept {
    fn looks(&self) -> Commands {
        let Self { folder, curl, .. } = self;
        let admin = format!("curl -s --unix-socket {folder}/run/edge-1/admin.sock http://localhost");
        let syn = format!("explain --from {}:40312 --to {}:443 --syn", Link::client().host.v4, VIP.v4);
        vec![
            ("ask through the VIP", self.at("client", &format!("curl {curl}"))),
            ("where would a client's next connection open, and why", self.agent(&syn)),
            ("members, connections, services, drops, live; q ends it", self.agent("top")),
            ("packets as they come, and what became of each; ask through the VIP meanwhile", {
                self.agent(&format!("capture --to {} --seconds 30", VIP.v4))
            }),
            ("is everything as it should be", self.agent("doctor")),
            ("counters of a node", format!("{admin}/metrics")),
            ("what an agent knows", format!("{admin}/debug/snapshot")),
            ("what an agent says", format!("tail -f {folder}/log/edge-1-agent.log")),
            ("a shell on a node", self.at("edge-2", "bash")),
            (
                "watch the encapsulation (apt-get install tcpdump)",
                self.at("router", "tcpdump -ni edge-2 udp port 6080"),
            ),
        ]
    }

    fn deeds(&self) -> Commands {
        let Self { folder, first_agent, key_file, .. } = self;
        let run = format!("{folder}/run/edge-1");
        let next = format!(
            "run --manifests {folder}/manifests --node edge-1 --interface {UPLINK} --hash-key-file {key_file} \
             --take-over --admin-socket /run/edgelb/{NEXT}"
        );
        let next = format!("{} > {folder}/log/edge-1-next.log 2>&1 &", self.agent(&next));
        vec![
            ("change a route and ask again", format!("$EDITOR {folder}/manifests/ingress.yaml")),
            ("a node gives its connections up in order", self.agent("drain --wait")),
            ("and takes new ones again", self.agent("drain --cancel")),
            ("an update: the next agent of edge-1 starts beside the first", next),
            ("is it ready", self.agent(&format!("health --admin-socket /run/edgelb/{NEXT}"))),
            (
                "then the first one is stopped; its connections go on until they end",
                format!("mv {run}/{NEXT} {run}/admin.sock && kill {first_agent}"),
            ),
        ]
    }

    fn events(&self) -> Commands {
        let (vips, length) = VIPS_V4;
        let via = |link: &Link| format!("nexthop via {}", link.host.v4);
        let over = |links: &[Link]| {
            let hops: Vec<_> = links.iter().map(via).collect();
            self.at("router", &format!("ip route replace {vips}/{length} {}", hops.join(" ")))
        };
        let (last, link) = (format!("edge-{}", self.links.len()), self.links[self.links.len() - 1]);
        let gateways = link.router.both();
        let default = |gateway: IpAddr| match gateway {
            IpAddr::V4(_) => format!("ip route replace default via {gateway} dev {UPLINK} onlink"),
            IpAddr::V6(_) => format!("ip -6 route replace default via {gateway} dev {UPLINK}"),
        };
        // The kernel forgets IPv6 addresses with the link otherwise.
        let down = format!(
            "sh -c 'echo 1 > /proc/sys/net/ipv6/conf/{UPLINK}/keep_addr_on_down; ip link set {UPLINK} down'"
        );
        let up = format!(
            "sh -c 'ip link set {UPLINK} up; ip route replace {} dev {UPLINK}; {}; {}'",
            link.router.v4,
            default(gateways[0]),
            default(gateways[1])
        );
        vec![
            ("the router hashes anew: no connection notices (Linux 6.11)", {
                self.at("router", "sh -c 'echo 4711 > /proc/sys/net/ipv4/fib_multipath_hash_seed'")
            }),
            ("the router sends all packets to one node", over(&self.links[..1])),
            ("and to all of them again", over(&self.links)),
            ("a node's link goes down", self.at(&last, &down)),
            ("and comes back, with the routes that the kernel dropped", self.at(&last, &up)),
            ("an agent dies; the kernel goes on without it", format!("kill -9 {}", self.first_agent)),
        ]
    }

    fn at(&self, name: &str, command: &str) -> String {
        format!("{} exec {name} -- {command}", self.lb_lab)
    }

    fn agent(&self, arguments: &str) -> String {
        self.at("edge-1", &format!("{} {arguments}", self.lb_agent))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use lb_agent::cli::Cli;

    use super::*;

    /// They are for people to paste: what they say to the agent has to be right.
    #[test]
    fn the_agent_takes_what_it_is_told() {
        let kept = Kept {
            lb_lab: "/lab".to_owned(),
            lb_agent: "/agent".to_owned(),
            curl: String::new(),
            first_agent: 7,
            key_file: "/kept/hash-key-edge-1".to_owned(),
            links: (1..=3).map(Link::edge).collect(),
            folder: "/kept".to_owned(),
        };
        let mut told = Vec::new();
        for (_, command) in [kept.looks(), kept.deeds(), kept.events()].concat() {
            let Some((_, arguments)) = command.split_once(" -- /agent ") else { continue };
            let words: Vec<_> = arguments.split_whitespace().take_while(|word| *word != ">").collect();
            let line = [&["lb-agent"], &words[..]].concat();
            assert!(Cli::try_parse_from(&line).is_ok(), "{command}");
            told.push(words[0].to_owned());
        }
        for command in ["explain", "top", "capture", "doctor", "drain", "run", "health"] {
            assert!(told.iter().any(|told| told == command), "{command}");
        }
    }
}
