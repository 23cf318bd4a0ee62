//! The flags about the access log.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::l7::access_log::{Format, Settings};

/// What is said of the access log.
#[derive(Clone, Debug, Args)]
pub struct AccessLog {
    /// Log each request to this file; `-` is the standard output. It may be renamed or removed at any time: then it is made
    /// anew. What the disk is too slow for is left out, and counted (lb_l7_access_log_lines_total).
    #[arg(long, env = "EDGELB_ACCESS_LOG", value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// How its lines look: json, or a template such as '$client "$method $path" $status $duration_ms'.
    #[arg(long, env = "EDGELB_ACCESS_LOG_FORMAT", value_name = "FORMAT", default_value = "json")]
    pub access_log_format: Format,
    /// Log one of so many requests; those that ended badly, and not by the client's fault, always.
    #[arg(long, env = "EDGELB_ACCESS_LOG_SAMPLE", value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub access_log_sample: u32,
}

impl AccessLog {
    /// What is to be logged, if anything.
    #[must_use]
    pub fn settings(&self) -> Option<Settings> {
        let file = self.access_log.as_ref()?;
        let path = (file != Path::new("-")).then(|| file.clone());
        Some(Settings { path, format: self.access_log_format.clone(), sample: self.access_log_sample })
    }
}
