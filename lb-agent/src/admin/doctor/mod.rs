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

use std::path::PathBuf;

pub use report::{Report, Status};

use link::Link;
use report::Section;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interfaces by name; if empty, those that are up and have an address.
    pub interfaces: Vec<String>,
    /// Where maps and links are pinned.
    pub bpffs: PathBuf,
}

/// Looks at the machine, from the network namespace that it is called in.
pub async fn doctor(options: &Options) -> Report {
    let mut sections = vec![
        Section::new("Kernel", kernel::look()),
        Section::new("Rights", rights::look(&options.bpffs)),
        Section::new("Network settings", settings::look()),
    ];
    match link::list().await {
        Ok(links) => sections.extend(interfaces(&links, &options.interfaces)),
        Err(unread) => {
            sections.push(Section::new("Interfaces", vec![report::unknown("interfaces", &unread)]))
        }
    }
    Report { sections }
}

fn interfaces(links: &[Link], names: &[String]) -> Vec<Section> {
    if names.is_empty() {
        let used = links.iter().filter(|link| link.is_up && link.has_address && !link.is_loopback);
        return used.map(|link| section(&link.name, interface::look(link))).collect();
    }
    let look = |name: &String| match links.iter().find(|link| link.name == *name) {
        Some(link) => section(name, interface::look(link)),
        None => section(name, vec![interface::missing(links).about("interface")]),
    };
    names.iter().map(look).collect()
}

fn section(name: &str, findings: Vec<report::Finding>) -> Section {
    Section::new(format!("Interface {name}"), findings)
}
