//! The flow key in force on this node across its agents: the one by which its flows were opened and others send to it,
//! whatever the Secret or the file says by now.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use lb_common::hash::{FlowKey, KEY_WORDS};
use lb_common::map::{Config, config, name};
use tracing::warn;

use super::pins::Pins;

/// What the file begins with.
const MAGIC: &str = "edgelb flow key v1 ";

/// Hexadecimal digits of a word.
const DIGITS: usize = 16;

/// Where it is kept: in the kernel's maps; and in a file, since a next version's maps may have another layout.
#[derive(Clone, Debug)]
pub struct KeptKey {
    pins: Pins,
    file: PathBuf,
}

impl KeptKey {
    /// In the maps below `pins`, and in `file`.
    #[must_use]
    pub fn new(pins: Pins, file: PathBuf) -> Self {
        Self { pins, file }
    }

    /// The key by which the agent before this one went, if there was one. What is in the kernel counts.
    #[must_use]
    pub fn find(&self) -> Option<FlowKey> {
        in_kernel(&self.pins).or_else(|| read(&self.file))
    }

    /// Keeps a key that is in force for the next agent.
    pub fn keep(&self, key: &FlowKey) {
        if read(&self.file).as_ref() == Some(key) {
            return;
        }
        if let Err(error) = write(&self.file, key) {
            let file = self.file.display();
            warn!(%file, %error, "a next agent with maps of another layout will not know which flow key was in force");
        }
    }
}

/// None before an agent of this layout was ready here.
fn in_kernel(pins: &Pins) -> Option<FlowKey> {
    let map = MapData::from_pin(pins.map(name::CONFIG)).ok()?;
    let configs: Array<MapData, Config> = Map::Array(map).try_into().ok()?;
    let found = configs.get(&0, 0).ok()?;
    (found.flags & config::READY != 0).then_some(found.key)
}

fn read(file: &Path) -> Option<FlowKey> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(file = %file.display(), %error, "the flow key that was in force cannot be read");
            return None;
        }
    };
    let key = parse(&text);
    if key.is_none() {
        warn!(file = %file.display(), "the flow key that was in force cannot be read: the file is damaged");
    }
    key
}

fn parse(text: &str) -> Option<FlowKey> {
    let digits = text.strip_prefix(MAGIC)?.trim_end().as_bytes();
    let (words, []) = digits.as_chunks::<DIGITS>() else { return None };
    let word = |digits: &[u8; DIGITS]| u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
    let words: Vec<_> = words.iter().map(word).collect::<Option<_>>()?;
    Some(FlowKey::new(<[u64; KEY_WORDS]>::try_from(words).ok()?))
}

/// At once or not at all, readable by us only.
fn write(file: &Path, key: &FlowKey) -> io::Result<()> {
    let draft = file.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let digits: String = key.words().iter().map(|word| format!("{word:016x}")).collect();
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    open.write_all(format!("{MAGIC}{digits}\n").as_bytes())?;
    fs::rename(&draft, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::l4::keys::derive;

    fn kept(folder: &tempfile::TempDir) -> KeptKey {
        // Nothing is pinned there.
        KeptKey::new(Pins::new(folder.path().join("pins")), folder.path().join("state/flow-key"))
    }

    #[test]
    fn the_next_agent_finds_what_was_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = kept(&folder);
        assert_eq!(kept.find(), None);
        for secret in [&b"the first of two secrets"[..], b"the second of two secrets"] {
            let key = derive(secret);
            kept.keep(&key);
            assert!(kept.find() == Some(key));
        }
        let mode = fs::metadata(&kept.file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_no_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = kept(&folder);
        let key = derive(b"a secret of these tests");
        kept.keep(&key);
        let whole = fs::read_to_string(&kept.file).expect("it is there");
        for damaged in
            ["", &whole[..whole.len() - 9], &whole.replacen("v1", "v2", 1), "edgelb flow key v1 \u{e9}"]
        {
            fs::write(&kept.file, damaged).expect("writable");
            assert_eq!(kept.find(), None, "{damaged}");
        }
        kept.keep(&key);
        assert!(kept.find() == Some(key), "it is mended");
    }
}
