//! The flow keys of this node across its agents: those by which its flows were opened and others send to it,
//! whatever the Secret or the file says by now.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use lb_common::hash::{FlowKey, KEY_WORDS};
use lb_common::map::{Config, config, name};
use tracing::warn;

use super::keys::Keys;
use super::pins::Pins;

/// What the file begins with when it holds one key.
const ONE: &str = "edgelb flow key v1 ";

/// What it begins with when it holds two: an earlier version's agent would miss the flows of one of them, and shall know.
const TWO: &str = "edgelb flow keys v2 ";

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

    /// The keys by which the agent before this one went, if there was one. What is in the kernel counts.
    #[must_use]
    pub fn find(&self) -> Option<Keys> {
        in_kernel(&self.pins).or_else(|| read(&self.file))
    }

    /// Keeps the keys that this node goes by for the next agent.
    pub fn keep(&self, keys: &Keys) {
        if read(&self.file).as_ref() == Some(keys) {
            return;
        }
        if let Err(error) = write(&self.file, keys) {
            let file = self.file.display();
            warn!(%file, %error, "a next agent with maps of another layout will not know which flow key was in force");
        }
    }
}

/// None before an agent of this layout was ready here.
fn in_kernel(pins: &Pins) -> Option<Keys> {
    let map = MapData::from_pin(pins.map(name::CONFIG)).ok()?;
    let configs: Array<MapData, Config> = Map::Array(map).try_into().ok()?;
    let found = configs.get(&0, 0).ok()?;
    (found.flags & config::READY != 0).then(|| Keys::of(&found))
}

fn read(file: &Path) -> Option<Keys> {
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

fn parse(text: &str) -> Option<Keys> {
    if let Some(digits) = text.strip_prefix(ONE) {
        return Some(Keys::only(key(digits.trim_end())?));
    }
    let (in_force, other) = text.strip_prefix(TWO)?.trim_end().split_once(' ')?;
    Some(Keys { in_force: key(in_force)?, other: Some(key(other)?) })
}

fn key(digits: &str) -> Option<FlowKey> {
    let digits = digits.as_bytes();
    let (words, []) = digits.as_chunks::<DIGITS>() else { return None };
    let word = |digits: &[u8; DIGITS]| u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
    let words: Vec<_> = words.iter().map(word).collect::<Option<_>>()?;
    Some(FlowKey::new(<[u64; KEY_WORDS]>::try_from(words).ok()?))
}

/// At once or not at all, readable by us only.
fn write(file: &Path, keys: &Keys) -> io::Result<()> {
    let draft = file.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let digits = |key: &FlowKey| key.words().iter().map(|word| format!("{word:016x}")).collect::<String>();
    let all: Vec<String> = keys.all().map(digits).collect();
    let magic = if all.len() == 1 { ONE } else { TWO };
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    open.write_all(format!("{magic}{}\n", all.join(" ")).as_bytes())?;
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
        let [first, second] = [&b"the first of two secrets"[..], b"the second of two secrets"].map(derive);
        let [learned, switched] =
            [(first, second), (second, first)].map(|(in_force, key)| Keys { in_force, other: Some(key) });
        for keys in [Keys::only(first), learned, switched, Keys::only(second)] {
            kept.keep(&keys);
            assert!(kept.find() == Some(keys), "{keys:?}");
        }
        let mode = fs::metadata(&kept.file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_no_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = kept(&folder);
        let [key, other] = [&b"a secret of these tests"[..], b"another one of them"].map(derive);
        for keys in [Keys::only(key), Keys { in_force: key, other: Some(other) }] {
            kept.keep(&keys);
            let whole = fs::read_to_string(&kept.file).expect("it is there");
            let (one, two) = (whole.replacen("keys v2", "key v1", 1), whole.replacen("key v1", "keys v2", 1));
            let of_another_kind = if one == whole { two } else { one };
            for damaged in ["", &whole[..whole.len() - 9], &of_another_kind, "edgelb flow key v1 \u{e9}"] {
                fs::write(&kept.file, damaged).expect("writable");
                assert_eq!(kept.find(), None, "{damaged}");
            }
            kept.keep(&keys);
            assert!(kept.find() == Some(keys), "it is mended");
        }
    }
}
