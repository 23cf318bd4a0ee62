//! The stored snapshot: what an agent needs to start while the API server is away, as a file.
//!
//! ```text
//! edgelb-state 1 {"node":"edge-1","cluster":"6d0c...","written":1789...,"flowKey":"..."}
//! Ingress {...}
//! Secret {...}
//! sha256 9f86d081...
//! ```
//! One object a line, as JSON, stripped as in the index. The checksum is over all lines before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use k8s_openapi::ByteString;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::feed::FlowSecret;
use super::state::State;
use crate::model::{Kind, Origin};
use crate::source::{Index, Object};

const MAGIC: &str = "edgelb-state";
const VERSION: u32 = 1;
const CHECKSUM: &str = "sha256 ";
/// `sha256 `, 64 hexadecimal digits, and the end of the line.
const FOOTER: u64 = 72;

/// What was stored.
#[derive(Debug)]
pub(super) struct Stored {
    /// The uid of the cluster that it was read from.
    pub(super) cluster: String,
    /// When.
    pub(super) written: SystemTime,
    /// The flow hash's secret.
    pub(super) flow_key: Option<FlowSecret>,
    /// The objects.
    pub(super) index: Index,
}

impl Stored {
    /// Whether it is of the cluster that this state is of.
    pub(super) fn is_of(&self, state: &State) -> bool {
        state.cluster.as_ref() == Some(&self.cluster)
    }
}

/// What is to be stored: cheap to make, and written elsewhere.
#[derive(Debug)]
pub(super) struct Contents {
    /// This node.
    pub(super) node: String,
    /// The cluster's uid.
    pub(super) cluster: String,
    /// The flow hash's secret.
    pub(super) flow_key: Option<FlowSecret>,
    /// The objects.
    pub(super) objects: Vec<Object>,
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub(super) enum StoredError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Its owner is another user than the agent's.
    #[error("it belongs to user {owner}, and this agent is user {user}: somebody else may have written it")]
    Owner {
        /// Its owner.
        owner: u32,
        /// Whose the agent is.
        user: u32,
    },
    /// Others than its owner may write it.
    #[error("others than its owner may write it (mode {mode:03o}): somebody else may have done so")]
    Writable {
        /// Its permissions.
        mode: u32,
    },
    /// It is something else, or damaged before its version could be read.
    #[error("it is no stored snapshot")]
    Foreign,
    /// It is of another version of edgelb.
    #[error("it has version {found}, and this agent reads version {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It was cut off or changed.
    #[error("its checksum is wrong: it was cut off or changed")]
    Damaged,
    /// It is another node's.
    #[error("it is of the node {found:?}, and this is {expected:?}")]
    Node {
        /// Its node.
        found: String,
        /// This node.
        expected: String,
    },
    /// Though undamaged, an object in it does not parse.
    #[error("line {line} does not parse")]
    Object {
        /// From 1.
        line: usize,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    node: String,
    cluster: String,
    /// Seconds since the Unix epoch.
    written: u64,
    flow_key: Option<ByteString>,
}

/// Puts the contents in the file's place, readable by us only, at once or not at all. Nothing is synced to a disk:
/// on a tmpfs there is none, and elsewhere a file that a crash tore is known by its checksum.
pub(super) fn write(path: &Path, contents: &Contents) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = write_to(BufWriter::new(file), contents).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Half a file is of no use to anyone, has keys in it, and takes the room that there is too little of.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_to(file: impl Write, contents: &Contents) -> io::Result<()> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let header = Header {
        node: contents.node.clone(),
        cluster: contents.cluster.clone(),
        written: since.as_secs(),
        flow_key: contents.flow_key.as_ref().map(|key| ByteString(key.0.to_vec())),
    };
    let mut out = Summed { file, context: Context::new(&SHA256) };
    write!(out, "{MAGIC} {VERSION} ")?;
    serde_json::to_writer(&mut out, &header)?;
    out.write_all(b"\n")?;
    for object in &contents.objects {
        write!(out, "{} ", object.kind().as_str())?;
        match object {
            Object::Node(object) => serde_json::to_writer(&mut out, &**object),
            Object::Service(object) => serde_json::to_writer(&mut out, &**object),
            Object::EndpointSlice(object) => serde_json::to_writer(&mut out, &**object),
            Object::IngressClass(object) => serde_json::to_writer(&mut out, &**object),
            Object::Ingress(object) => serde_json::to_writer(&mut out, &**object),
            Object::Secret(object) => serde_json::to_writer(&mut out, &**object),
            Object::ConfigMap(object) => serde_json::to_writer(&mut out, &**object),
            Object::IngressParameters(object) => serde_json::to_writer(&mut out, &**object),
            Object::EdgeMembership(object) => serde_json::to_writer(&mut out, &**object),
        }?;
        out.write_all(b"\n")?;
    }
    let Summed { mut file, context } = out;
    file.write_all(footer(context).as_bytes())?;
    file.flush()
}

fn footer(context: Context) -> String {
    let digest = context.finish();
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{CHECKSUM}{hex}\n")
}

/// Sums up what is written.
struct Summed<W> {
    file: W,
    context: Context,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(bytes)?;
        self.context.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What is stored for this node; `None` if there is no file. Nothing of it is looked at before all of it proved to
/// be as it was written.
pub(super) fn read(path: &Path, node: &str) -> Result<Option<Stored>, StoredError> {
    // A link would lead to a file that was written for something else, and a pipe would keep us waiting.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let mut file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(StoredError::Foreign);
    }
    check_writers(metadata.uid(), metadata.mode(), geteuid().as_raw())?;
    let length = metadata.len();
    check_version(&file)?;
    let body = length.checked_sub(FOOTER).ok_or(StoredError::Damaged)?;
    file.rewind()?;
    check_sum(&file, body)?;
    file.rewind()?;
    read_from(BufReader::new(file.take(body)), node).map(Some)
}

/// What the file says is who a host is and where its requests go: only who runs the agent may have written it.
fn check_writers(owner: u32, mode: u32, user: u32) -> Result<(), StoredError> {
    if owner != user {
        return Err(StoredError::Owner { owner, user });
    }
    let mode = mode & 0o777;
    if mode & 0o022 == 0 { Ok(()) } else { Err(StoredError::Writable { mode }) }
}

/// Before the checksum: another version may have another one.
fn check_version(file: &File) -> Result<(), StoredError> {
    let mut start = Vec::new();
    file.take(64).read_to_end(&mut start)?;
    let start = String::from_utf8_lossy(&start);
    let version = start.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' '));
    let version = version.and_then(|rest| rest.split_once(' ')).map(|(version, _)| version.parse());
    match version {
        Some(Ok(VERSION)) => Ok(()),
        Some(Ok(found)) => Err(StoredError::Version { found }),
        _ => Err(StoredError::Foreign),
    }
}

fn check_sum(file: &File, body: u64) -> Result<(), StoredError> {
    let mut context = Context::new(&SHA256);
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut left = body;
    while left > 0 {
        let bytes = reader.fill_buf()?;
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if taken == 0 {
            return Err(StoredError::Damaged);
        }
        context.update(&bytes[..taken]);
        reader.consume(taken);
        left -= taken as u64;
    }
    let mut end = Vec::new();
    reader.take(FOOTER + 1).read_to_end(&mut end)?;
    if end == footer(context).as_bytes() { Ok(()) } else { Err(StoredError::Damaged) }
}

fn read_from(mut lines: impl BufRead, node: &str) -> Result<Stored, StoredError> {
    let mut text = String::new();
    lines.read_line(&mut text)?;
    let header = text.splitn(3, ' ').nth(2).and_then(|header| serde_json::from_str::<Header>(header).ok());
    let header = header.ok_or(StoredError::Object { line: 1 })?;
    if header.node != node {
        return Err(StoredError::Node { found: header.node, expected: node.to_owned() });
    }
    let mut index = Index::default();
    for line in 2.. {
        text.clear();
        if lines.read_line(&mut text)? == 0 {
            break;
        }
        let object = text.split_once(' ').and_then(|(kind, object)| decode(kind, object));
        index.apply(object.ok_or(StoredError::Object { line })?, Origin::Api);
    }
    Ok(Stored {
        cluster: header.cluster,
        written: UNIX_EPOCH + Duration::from_secs(header.written),
        flow_key: header.flow_key.map(|key| FlowSecret(key.0.into())),
        index,
    })
}

fn decode(kind: &str, object: &str) -> Option<Object> {
    fn as_kind<K: DeserializeOwned + Into<Object>>(object: &str) -> Option<Object> {
        serde_json::from_str::<K>(object).ok().map(Into::into)
    }
    use crate::api::{EdgeMembership, IngressParameters};
    use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service};
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
    match Kind::ALL.into_iter().find(|known| known.as_str() == kind)? {
        Kind::Node => as_kind::<Node>(object),
        Kind::Service => as_kind::<Service>(object),
        Kind::EndpointSlice => as_kind::<EndpointSlice>(object),
        Kind::IngressClass => as_kind::<IngressClass>(object),
        Kind::Ingress => as_kind::<Ingress>(object),
        Kind::Secret => as_kind::<Secret>(object),
        Kind::ConfigMap => as_kind::<ConfigMap>(object),
        Kind::IngressParameters => as_kind::<IngressParameters>(object),
        Kind::EdgeMembership => as_kind::<EdgeMembership>(object),
    }
}

#[cfg(test)]
mod tests;
