//! What can go wrong between us and the API server, as far as it matters what it was.

use std::error::Error;
use std::time::Duration;

use kube::core::Status;

use crate::model::Condition;

/// A server may ask for patience, but not for more than this.
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// A request or a watch that did not work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// What it was.
    pub(super) condition: Condition,
    /// The HTTP status, 0 without one.
    pub(super) code: u16,
    /// In words.
    pub(super) message: String,
    /// How long the server asks us to wait.
    pub(super) patience: Duration,
}

impl Failure {
    /// No answer, or none in time.
    pub(super) fn unreachable(message: impl Into<String>) -> Self {
        Self { condition: Condition::Unreachable, code: 0, message: message.into(), patience: Duration::ZERO }
    }

    /// What a status says.
    pub(super) fn status(status: &Status) -> Self {
        let condition = match status.code {
            401 => Condition::Unauthorized,
            403 => Condition::Forbidden,
            404 => Condition::Missing,
            429 => Condition::Throttled,
            400..=499 => Condition::Refused,
            _ => Condition::ServerError,
        };
        let patience = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let message = if status.message.is_empty() { &status.reason } else { &status.message };
        Self {
            condition,
            code: status.code,
            message: format!("{} {message}", status.code),
            patience: Duration::from_secs(patience.into()).min(MAX_PATIENCE),
        }
    }

    /// Whether the version that was asked for is too old: everything is to be read anew.
    pub(super) fn is_expired(&self) -> bool {
        self.code == 410
    }

    /// Whether the server takes no request of this form, as one without streaming lists answers to them.
    pub(super) fn is_invalid(&self) -> bool {
        matches!(self.code, 400 | 422)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => Self::status(status),
            // Not what the parser says: it cites, and that could be a key.
            kube::Error::SerdeError(source) => Self {
                condition: Condition::Unreadable,
                ..Self::unreachable(format!("an object does not parse (column {})", source.column()))
            },
            kube::Error::Auth(_) => {
                Self { condition: Condition::Unauthorized, ..Self::unreachable(error.to_string()) }
            }
            _ => Self::unreachable(innermost(&error)),
        }
    }
}

/// What the last error in the chain says: the ones around it only name layers of the client.
fn innermost(error: &kube::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_conditions() {
        for (code, condition) in [
            (401, Condition::Unauthorized),
            (403, Condition::Forbidden),
            (404, Condition::Missing),
            (410, Condition::Refused),
            (422, Condition::Refused),
            (429, Condition::Throttled),
            (500, Condition::ServerError),
            (503, Condition::ServerError),
        ] {
            let status = Status { code, message: "why".to_owned(), ..Status::default() };
            let failure = Failure::from(kube::Error::Api(Box::new(status)));
            assert_eq!((failure.condition, failure.message), (condition, format!("{code} why")));
        }
    }
}
