//! Why the object could not be built, and the one command that would help.

use std::{error::Error, fmt};

/// What is wrong, in one line.
#[derive(Debug)]
pub(crate) struct BuildError {
    what: String,
    /// The command that would help, if there is one.
    remedy: Option<String>,
    source: Option<std::io::Error>,
}

impl BuildError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None, source: None }
    }

    /// Names the command that would help.
    pub(crate) fn remedy(mut self, command: impl Into<String>) -> Self {
        self.remedy = Some(command.into());
        self
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.what)?;
        if let Some(source) = &self.source {
            write!(out, ": {source}")?;
        }
        match &self.remedy {
            Some(command) => write!(out, "; this would help: {command}"),
            None => Ok(()),
        }
    }
}

impl Error for BuildError {}

/// Says what was being done when the system refused.
pub(crate) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, BuildError>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, BuildError> {
        self.map_err(|source| BuildError { source: Some(source), ..BuildError::new(what()) })
    }
}
