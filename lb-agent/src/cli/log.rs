//! The flags of all commands: logging.

use clap::{Args, ValueEnum};

/// Logging.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// What to log: a level (error, warn, info, debug, trace), or per module, `info,lb_agent::l7=debug`.
    #[arg(long, global = true, env = "EDGELB_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// One line for people, or one JSON object for machines, per event.
    #[arg(long, global = true, env = "EDGELB_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}
