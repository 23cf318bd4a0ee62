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
use super::endpoints::NOT_READY;
use crate::model::NO_NEW_FLOWS_THERE;

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
/// that are not followed, changes that wait.
fn agent(health: &Health) -> Vec<Finding> {
    let words = health.message.strip_prefix(NOT_READY).unwrap_or(&health.message);
    let judgement = |(at, words): (usize, &str)| match at {
        _ if !health.is_well && is_drain(words) => report::warn(
            format!("as it was told, this node is {words}"),
            "lb-agent drain --cancel calls it off",
        ),
        _ if !health.is_well => report::fail(format!("{NOT_READY}{words}"), "the agent's log says why"),
        0 => report::ok(words),
        _ => report::warn(words, advice(words)),
    };
    words.split("; ").enumerate().map(|words| judgement(words).about("agent")).collect()
}

/// Whether it is how a drain goes.
fn is_drain(words: &str) -> bool {
    ["draining", "drained"].iter().any(|step| words.starts_with(step))
}

/// What to do about something that is amiss on a node that is ready.
fn advice(words: &str) -> &'static str {
    let is = |part: &str| words.contains(part);
    if is(NO_NEW_FLOWS_THERE) {
        "lb-agent doctor there, and the log here"
    } else if is("is alone") || is("no packets come in") || is("no gateway") {
        "look at this node's link, and at its gateway"
    } else if words.starts_with("change ") {
        "it comes into force when these connections have ended, or after --drain-deadline"
    } else {
        "the agent's log says more"
    }
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
        for (amiss, what_to_do) in [
            (
                "this node is alone: no member answers, and its own link, routes or gateway are to blame",
                "this node's link",
            ),
            (
                "no gateway of IPv6 answers (fe80::1): what is sent to clients behind it is lost",
                "its gateway",
            ),
            ("change 3 queued (edge-4 joins): edge-1 holds flows of membership 1", "have ended"),
            ("proxy worker 1 is stuck: this node does not answer other members", "log says more"),
            (silent, "lb-agent doctor there"),
        ] {
            let text = report(said(true, &format!("ready: generation 1; {amiss}"))).render(false);
            assert!(text.contains(what_to_do), "{text}");
            assert_eq!(text.contains("doctor there"), amiss == silent, "{text}");
        }
    }

    #[test]
    fn a_drain_that_was_ordered_is_no_failure() {
        let report = |message: &str| {
            let health = Health { is_well: false, message: message.to_owned() };
            Report { sections: vec![Section::new("Agent", agent(&health))] }
        };
        let drains = report("not ready: draining: 2 connections left, the oldest 4 min");
        assert!(!drains.has_failed() && drains.count(Status::Warn) == 1);
        let text = drains.render(false);
        assert!(text.contains("as it was told, this node is draining: 2 connections left"), "{text}");
        let both = report("not ready: the proxy serves no snapshot yet; drained: no connection left");
        assert_eq!((both.count(Status::Fail), both.count(Status::Warn)), (1, 1));
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
