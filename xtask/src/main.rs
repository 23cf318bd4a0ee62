//! edgelb's developer commands: one file per subcommand.

fn main() {}
