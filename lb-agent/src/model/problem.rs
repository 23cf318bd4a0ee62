//! What is wrong with an object, said so that its owner can mend it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{HostPattern, ObjectRef, PathRule, SharedMap};

/// Whether something the object asks for is not done, or done otherwise than its owner may expect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// A part of the object has no effect.
    Error,
    /// All of the object has effect; something about it deserves a look.
    Warning,
}

/// What is behind a problem, where its object and field alone do not say it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// What stands in the field.
    Field,
    /// Somebody else has it already: another object, or another part of the same one.
    Conflict,
    /// All edge nodes drain, so that this one goes on.
    AllDrain,
    /// The node's rows are not those of the others.
    Diverging,
    /// The node goes by another flow key than the members, or was given another one.
    FlowKey,
}

/// Where an object was read from.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// A document of a file in the manifests folder.
    File {
        /// Path relative to the folder.
        path: PathBuf,
        /// Line on which the document starts, from 1.
        line: usize,
    },
    /// The Kubernetes API server.
    Api,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Api => f.write_str("API server"),
        }
    }
}

/// One thing that is wrong, with the object and the field.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where the object was read from, if known.
    pub origin: Option<Origin>,
    /// The object; `None` for a file of which no object could be read.
    pub object: Option<ObjectRef>,
    /// The field, as a path: `spec.rules[0].http.paths[1].backend`. Empty for the object as a whole.
    pub field: String,
    /// What is wrong and what to do about it.
    pub message: String,
    /// What is behind it.
    pub cause: Cause,
}

impl Problem {
    /// An error in a field of an object. Its origin is filled in by whoever knows it.
    pub fn error(object: &ObjectRef, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            origin: None,
            object: Some(object.clone()),
            field: field.into(),
            message: message.into(),
            cause: Cause::Field,
        }
    }

    /// As `error`, for what works but deserves a look.
    pub fn warning(object: &ObjectRef, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(object, field, message) }
    }

    /// The same, with what is behind it.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }
}

/// What two rules ask for, as the problem of the one that loses begins.
#[must_use]
pub fn contested_path(path: &PathRule, host: &HostPattern) -> String {
    format!("{path} of host {host}")
}

/// Problems, sorted, each once. Clones share what they have in common.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Problems(SharedMap<Arc<Problem>, ()>);

impl Problems {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.keys().map(Arc::as_ref)
    }

    /// Adds one; says whether it is new.
    pub fn insert(&mut self, problem: Arc<Problem>) -> bool {
        self.0.insert(problem, ()).is_none()
    }

    /// Removes one; says whether it was there.
    pub fn remove(&mut self, problem: &Problem) -> bool {
        self.0.remove(problem).is_some()
    }

    /// Whether it is among them.
    #[must_use]
    pub fn contains(&self, problem: &Problem) -> bool {
        self.0.get(problem).is_some()
    }

    /// Those that came since `before`, and those that went (`false`).
    pub fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a Problem, bool)> {
        self.0.changes(&before.0).map(|(problem, _, after)| (problem.as_ref(), after.is_some()))
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        Self(problems.into_iter().map(|problem| (Arc::new(problem), ())).collect())
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Error => "error: ",
            Severity::Warning => "warning: ",
        })?;
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
