//! The command line of `lb-chaos`.

use super::{cluster, event};

/// What to play, and how.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Events to play; --list names them.
    #[arg(value_name = "EVENT", value_parser = chosen, required_unless_present_any = ["all", "list"])]
    pub events: Vec<Chosen>,
    /// Play all events.
    #[arg(long, conflicts_with = "events")]
    pub all: bool,
    /// Name the events, and play none.
    #[arg(long)]
    pub list: bool,
    /// Connections that are held, of all kinds together.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(70..=20_000))]
    pub connections: u32,
    /// Play each event against what others have instead, and see that it breaks connections there.
    #[arg(long)]
    pub baseline: bool,
    /// Print one JSON array instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// An event, in a lab or in a cluster.
#[derive(Clone, Copy, Debug)]
pub enum Chosen {
    /// In a lab.
    Lab(&'static event::Event),
    /// In a cluster.
    Cluster(&'static cluster::Event),
}

impl Options {
    /// What is to be played.
    #[must_use]
    pub fn chosen(&self) -> Vec<Chosen> {
        if self.all { all() } else { self.events.clone() }
    }
}

/// All events, those of the lab first.
#[must_use]
pub fn all() -> Vec<Chosen> {
    let in_cluster = cluster::ALL.iter().map(Chosen::Cluster);
    event::ALL.iter().map(Chosen::Lab).chain(in_cluster).collect()
}

impl Chosen {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lab(event) => event.name,
            Self::Cluster(event) => event.name,
        }
    }

    /// One line for people.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Lab(event) => event.about,
            Self::Cluster(event) => event.about,
        }
    }
}

fn chosen(name: &str) -> Result<Chosen, String> {
    let found = all().into_iter().find(|event| event.name() == name);
    found.ok_or_else(|| "there is no such event; --list names them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_in_the_help() {
        let names: BTreeSet<_> = all().into_iter().map(Chosen::name).collect();
        assert_eq!(names.len(), all().len());
        let help = include_str!("help.txt");
        for event in all() {
            assert!(help.contains(&format!("  {:<22}{}", event.name(), event.about())), "{}", event.name());
        }
    }

    #[test]
    fn xtask_knows_clusters_events_by_their_names() {
        for event in all() {
            let is_in_cluster = matches!(event, Chosen::Cluster(_));
            assert_eq!(event.name().starts_with("cluster-"), is_in_cluster, "{}", event.name());
        }
    }
}
