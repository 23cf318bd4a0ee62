//! The command line of `lb-chaos`.

use super::event::Event;

/// What to play, and how.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Events to play; --list names them.
    #[arg(value_name = "EVENT", value_parser = event, required_unless_present_any = ["all", "list"])]
    pub events: Vec<&'static Event>,
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

fn event(name: &str) -> Result<&'static Event, String> {
    Event::named(name).ok_or_else(|| "there is no such event; --list names them".to_owned())
}
