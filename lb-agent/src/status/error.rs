//! Why the API server was not asked with success, and what follows from it.

use std::time::Duration;

use kube::core::Status;
use thiserror::Error;
use tokio::time::timeout;

use crate::metrics::{StatusMetrics, WriteOutcome, Written};

/// A request that did not succeed.
#[derive(Debug, Error)]
pub enum StatusError {
    /// The API server refused it, or could not be asked.
    #[error("{}", said(.0))]
    Api(#[source] Box<kube::Error>),
    /// It did not answer in time.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
}

/// What to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// Somebody else wrote it meanwhile, or made it: look again.
    LookAgain,
    /// The object is not there.
    Missing,
    /// Later, after so long if the server said so.
    Later(Option<Duration>),
    /// It will be refused as often as it is tried: rights, or a rule.
    Hopeless,
}

/// What a server says is for people; all else of its answer is not.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            format!("{} {}", status.code, status.message)
        }
        error => error.to_string(),
    }
}

impl StatusError {
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Api(error) => match error.as_ref() {
                kube::Error::Api(status) => of_status(status),
                _ => Remedy::Later(None),
            },
            Self::Timeout(_) => Remedy::Later(None),
        }
    }

    fn outcome(&self) -> WriteOutcome {
        match self.remedy() {
            Remedy::LookAgain => WriteOutcome::Conflict,
            Remedy::Missing | Remedy::Hopeless => WriteOutcome::Refused,
            Remedy::Later(_) => WriteOutcome::Failed,
        }
    }
}

fn of_status(status: &Status) -> Remedy {
    match status.code {
        404 => Remedy::Missing,
        409 => Remedy::LookAgain,
        408 | 410 | 429 | 500.. => {
            let seconds = status.details.as_ref().map(|details| details.retry_after_seconds);
            Remedy::Later(
                seconds.filter(|&seconds| seconds > 0).map(|seconds| Duration::from_secs(seconds.into())),
            )
        }
        // A token that has just expired is read anew.
        401 => Remedy::Later(None),
        _ => Remedy::Hopeless,
    }
}

/// Asks, for as long as `patience`.
pub(super) async fn ask<T>(
    patience: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, StatusError> {
    match timeout(patience, request).await {
        Ok(answer) => answer.map_err(|error| StatusError::Api(Box::new(error))),
        Err(_) => Err(StatusError::Timeout(patience)),
    }
}

/// As `ask`, for what changes the cluster: it is counted.
pub(super) async fn write<T>(
    what: Written,
    metrics: &StatusMetrics,
    patience: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, StatusError> {
    let answer = ask(patience, request).await;
    metrics.write(what, answer.as_ref().err().map_or(WriteOutcome::Ok, StatusError::outcome));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> StatusError {
        StatusError::Api(Box::new(kube::Error::Api(Box::new(Status::failure("no", "no").with_code(code)))))
    }

    #[test]
    fn what_helps_depends_on_the_answer() {
        for (code, remedy) in [
            (401, Remedy::Later(None)),
            (403, Remedy::Hopeless),
            (404, Remedy::Missing),
            (409, Remedy::LookAgain),
            (422, Remedy::Hopeless),
            (429, Remedy::Later(None)),
            (503, Remedy::Later(None)),
        ] {
            assert_eq!(refused(code).remedy(), remedy, "{code}");
        }
        assert_eq!(StatusError::Timeout(Duration::ZERO).remedy(), Remedy::Later(None));
    }
}
