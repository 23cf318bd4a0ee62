//! What was written to the API server, by its own account: the audit log.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::lab::wait::until;

/// An answer may be seen before its line: whoever counts lines waits until none has come for so long,
const REST: Duration = Duration::from_millis(200);

/// or for this long, where somebody writes all the time.
const LONGEST: Duration = Duration::from_secs(2);

/// Only writes, once each, when they are answered.
pub(crate) const POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived", "ResponseStarted"],
  "rules": [
    {"level": "None", "verbs": ["get", "list", "watch"]},
    {"level": "None", "resources": [
      {"group": "authorization.k8s.io"}, {"group": "authentication.k8s.io"},
      {"group": "", "resources": ["serviceaccounts/token"]}
    ]},
    {"level": "Metadata"}
  ]
}"#;

/// One write that the API server answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Who: `system:serviceaccount:edgelb-system:edgelb`.
    pub user: String,
    /// `create`, `update`, `patch`, `delete`, `deletecollection`
    pub verb: String,
    /// `ingresses`, or `ingresses/status`
    pub resource: String,
    /// Empty for objects without one.
    pub namespace: String,
    /// Empty where the server chose it.
    pub name: String,
    /// The answer's code.
    pub code: u16,
}

/// The writes of an audit log, in the order of their answers.
pub(crate) fn writes(log: &Path) -> Result<Vec<Write>> {
    let text = fs::read_to_string(log).with_context(|| format!("{}", log.display()))?;
    // The last line may still be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines =
        whole.lines().map(|line| serde_json::from_str::<Event>(line).with_context(|| line.to_owned()));
    lines.map(|event| Ok(event?.into())).collect()
}

/// As `writes`, with those that are on their way.
pub(crate) fn all_writes(log: &Path) -> Result<Vec<Write>> {
    let (mut known, mut since) = (0, Instant::now());
    let rests = || {
        let len = fs::metadata(log).map_or(0, |file| file.len());
        if len != known {
            (known, since) = (len, Instant::now());
        }
        since.elapsed() >= REST
    };
    // One that does not rest is read as it is.
    let _ = until("the audit log rests", LONGEST, rests);
    writes(log)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    code: u16,
}

impl From<Event> for Write {
    fn from(event: Event) -> Self {
        let Object { mut resource, subresource, namespace, name } = event.object_ref;
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            user: event.user.username,
            verb: event.verb,
            resource,
            namespace,
            name,
            code: event.response_status.code,
        }
    }
}
