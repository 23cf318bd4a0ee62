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
use report::Section;

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
    /// Interfaces by name; if empty, those that are up and have an address.
    pub interfaces: Vec<String>,
    /// Where maps and links are pinned.
    pub bpffs: PathBuf,
    /// How to ask for programs.
    pub bpf: Bpf,
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
    Report { sections }
}

fn interfaces(links: &[Link], options: &Options) -> Vec<Section> {
    let Options { interfaces: names, bpf, .. } = options;
    if names.is_empty() {
        let used = links.iter().filter(|link| link.is_up && link.has_address && !link.is_loopback);
        return used.map(|link| section(&link.name, interface::look(link, *bpf))).collect();
    }
    let look = |name: &String| match links.iter().find(|link| link.name == *name) {
        Some(link) => section(name, interface::look(link, *bpf)),
        None => section(name, vec![interface::missing(links).about("interface")]),
    };
    names.iter().map(look).collect()
}

fn section(name: &str, findings: Vec<report::Finding>) -> Section {
    Section::new(format!("Interface {name}"), findings)
}
