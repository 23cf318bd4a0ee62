//! `lb-agent doctor`: what about this machine is wrong for the packet path, and how to mend it. What is read
//! is apart from how it is judged: the judgements are pure. Changes nothing, and works without rights, but
//! then cannot see everything.

mod generic;
mod interface;
mod kernel;
mod link;
mod offload;
mod read;
mod report;
mod rights;
mod settings;

use std::io;
use std::path::PathBuf;

pub use report::{Report, Status};

use link::Link;
use report::{Finding, Judgement, Section};

use super::client::Health;

/// What only the packet path's stage can ask of the kernel; the app hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Bpf {
    /// Whether the kernel takes XDP programs.
    pub takes_xdp: fn() -> io::Result<bool>,
    /// Whether the kernel takes socket lookup programs.
    pub takes_sk_lookup: fn() -> io::Result<bool>,
    /// The name of a loaded program by its id, empty if it has none.
    pub program_name: fn(u32) -> io::Result<String>,
}

/// What to look at.
#[derive(Clone, Debug)]
pub struct Options {
    /// The names of the interfaces that packets for VIPs come in by, each with why it is this one; or why none can
    /// be told, and then those are looked at that are up and have an address.
    pub uplinks: Result<Vec<(String, String)>, String>,
    /// Where maps and links are pinned.
    pub bpffs: PathBuf,
    /// How to ask for programs.
    pub bpf: Bpf,
    /// What the agent of this node says of itself, or why it does not; `None` where none is installed.
    pub agent: Option<Result<Health, String>>,
}

/// Looks at the machine, from the network namespace that it is called in.
pub async fn doctor(options: &Options) -> Report {
    let mut sections = vec![
        Section::new("Kernel", kernel::look(options.bpf)),
        Section::new("Rights", rights::look(&options.bpffs)),
        Section::new("Network settings", settings::look()),
    ];
    match link::list().await {
        Ok(links) => sections.extend(interfaces(&links, options)),
        Err(unread) => {
            sections.push(Section::new("Interfaces", vec![report::unknown("interfaces", &unread)]))
        }
    }
    let agent = options.agent.as_ref().map(|said| match said {
        Ok(health) => agent(health),
        Err(why) => vec![silent(why).about("agent")],
    });
    sections.extend(agent.map(|findings| Section::new("Agent", findings)));
    Report { sections }
}

fn interfaces(links: &[Link], options: &Options) -> Vec<Section> {
    let is_used = |link: &&Link| match &options.uplinks {
        Ok(uplinks) => uplinks.iter().any(|(name, _)| *name == link.name),
        Err(_) => link.is_up && link.has_address && !link.is_loopback,
    };
    let look =
        |link: &Link| Section::new(format!("Interface {}", link.name), interface::look(link, options.bpf));
    let chosen = Section::new("Packets for VIPs", vec![uplinks(&options.uplinks).about("interfaces")]);
    std::iter::once(chosen).chain(links.iter().filter(is_used).map(look)).collect()
}

/// What an agent says of its readiness, then one by one what is amiss all the same: members that are silent, kinds
/// that are not followed.
fn agent(health: &Health) -> Vec<Finding> {
    let mut words = health.message.split("; ");
    let first = words.next().unwrap_or_default();
    let readiness =
        if health.is_well { report::ok(first) } else { report::fail(first, "the agent's log says why") };
    let amiss =
        words.map(|words| report::warn(words, "lb-agent doctor there, and the log here").about("agent"));
    std::iter::once(readiness.about("agent")).chain(amiss).collect()
}

/// An agent that was here, for its programs are.
fn silent(why: &str) -> Judgement {
    let found = format!("its programs are in the kernel, but {why}: no new flows come here");
    report::fail(found, "start it again, or lb-agent uninstall; its log says why it is silent")
}

fn uplinks(found: &Result<Vec<(String, String)>, String>) -> Judgement {
    match found {
        Ok(uplinks) => {
            let each = uplinks.iter().map(|(name, why)| format!("{name} ({why})"));
            report::ok(each.collect::<Vec<_>>().join("; "))
        }
        Err(reason) => report::fail(reason, "lb-agent doctor --interface IF, as the agent is to have it"),
    }
}

#[cfg(test)]
mod tests {
    use super::report::tests::check;
    use super::*;

    #[test]
    fn what_the_agent_says_is_amiss_is_told_one_by_one() {
        let said = |is_well, message: &str| agent(&Health { is_well, message: message.to_owned() });
        let silent = "edge-2 is silent since 3 s: no new flows go there";
        let report = |findings| Report { sections: vec![Section::new("Agent", findings)] };
        let warned = report(said(true, &format!("ready: generation 1, packets on eth0; {silent}")));
        assert_eq!((warned.count(Status::Ok), warned.count(Status::Warn)), (1, 1));
        assert!(warned.render(false).contains(&format!("warn  agent            {silent}")));
        assert_eq!(report(said(true, "ready: generation 1")).count(Status::Warn), 0);
        assert!(report(said(false, "not ready: the proxy serves no snapshot yet")).has_failed());
    }

    #[test]
    fn an_agent_that_is_silent_is_a_failure() {
        check(&silent("no agent answers on a.sock"), Status::Fail, "but no agent answers on a.sock");
    }

    #[test]
    fn where_packets_come_in() {
        let found = vec![("eth0".to_owned(), "auto: has the default route of IPv4".to_owned())];
        check(&uplinks(&Ok(found)), Status::Ok, "eth0 (auto: has the default route of IPv4)");
        check(&uplinks(&Err("there is no default route".to_owned())), Status::Fail, "--interface IF");
    }
}
