//! The cluster's secret, from which flow hash and tag take their keys. All nodes need the same one.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use lb_common::hash::{FlowKey, KEY_WORDS};
use lb_common::map::{Config, config};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::model::SecretBytes;

/// A secret shorter than this can be guessed.
pub const MIN_SECRET_LEN: usize = 16;

/// Separates this use of the secret from later ones.
const LABEL: &[u8] = b"edgelb flow key v1";

/// Separates fingerprints from keys.
const FINGERPRINT: &[u8] = b"edgelb flow key fingerprint v1";

/// The flow keys that a node goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// By it flows open, and what is sent is tagged.
    pub in_force: FlowKey,
    /// Another one, by which flows may have opened and other nodes may tag: the next one before it is in force, the
    /// former one after that.
    pub other: Option<FlowKey>,
}

impl Keys {
    /// No other key than this one.
    #[must_use]
    pub const fn only(in_force: FlowKey) -> Self {
        Self { in_force, other: None }
    }

    /// Those that a configuration has.
    #[must_use]
    pub fn of(found: &Config) -> Self {
        let other = (found.flags & config::TWO_KEYS != 0).then_some(found.other);
        Self { in_force: found.key, other }
    }

    /// The same configuration with these.
    #[must_use]
    pub fn set(self, before: Config) -> Config {
        let flag = if self.other.is_some() { config::TWO_KEYS } else { 0 };
        let flags = before.flags & !config::TWO_KEYS | flag;
        Config { key: self.in_force, other: self.other.unwrap_or_default(), flags, ..before }
    }

    /// All of them, the one in force first.
    pub fn all(&self) -> impl Iterator<Item = &FlowKey> {
        std::iter::once(&self.in_force).chain(&self.other)
    }
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the hash key file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds too little.
    #[error(
        "the hash key file {path} holds {len} bytes, fewer than {MIN_SECRET_LEN}: \
         make one with `head -c 32 /dev/urandom | base64 > {path}` and copy it to every edge node"
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Bytes without surrounding white space.
        len: usize,
    },
}

/// Reads the secret that a file holds; white space around it does not count.
///
/// # Errors
/// `KeyError` with the file's name.
pub fn read(path: &Path) -> Result<SecretBytes, KeyError> {
    let content = std::fs::read(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    let content = Zeroizing::new(content);
    let secret = content.trim_ascii();
    if secret.len() < MIN_SECRET_LEN {
        return Err(KeyError::TooShort { path: path.to_owned(), len: secret.len() });
    }
    Ok(SecretBytes::from(secret))
}

/// The key that a secret stands for: the first words of SHA-512 over it with 0 in front, with 1, and so on.
#[must_use]
pub fn derive(secret: &[u8]) -> FlowKey {
    let blocks = (0..=u8::MAX).map(|block| {
        let mut context = digest::Context::new(&digest::SHA512);
        context.update(LABEL);
        context.update(&[block]);
        context.update(secret);
        context.finish()
    });
    let blocks = blocks.flat_map(|digest| digest.as_ref().as_chunks().0.to_vec());
    let mut words = [0; KEY_WORDS];
    for (word, bytes) in words.iter_mut().zip(blocks) {
        *word = u64::from_le_bytes(bytes);
    }
    FlowKey::new(words)
}

/// What tells keys apart, the same on all nodes. It gives nothing of a key away that was made of random bytes.
#[must_use]
pub fn fingerprint(key: &FlowKey) -> u32 {
    let mut context = digest::Context::new(&digest::SHA512);
    context.update(FINGERPRINT);
    key.words().iter().for_each(|word| context.update(&word.to_le_bytes()));
    let digest = context.finish();
    digest.as_ref().iter().take(4).fold(0, |print, &byte| print << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), content).expect("writable");
        file
    }

    #[test]
    fn white_space_around_the_secret_does_not_count() {
        let plain = read(file(b"0123456789abcdef").path()).expect("long enough");
        let padded = read(file(b" 0123456789abcdef\n").path()).expect("long enough");
        assert!(plain == padded);
    }

    #[test]
    fn a_configuration_has_the_keys_that_were_set() {
        let [one, other] = [&b"0123456789abcdef"[..], b"0123456789abcdeF"].map(derive);
        let ready = Config { flags: config::READY, ..Config::default() };
        for keys in [Keys::only(one), Keys { in_force: one, other: Some(other) }, Keys::only(other)] {
            let set = keys.set(ready);
            assert_eq!((Keys::of(&set), set.flags & config::READY), (keys, config::READY));
            assert_eq!(Keys::only(one).set(set), Keys::only(one).set(ready), "nothing is left of {keys:?}");
        }
    }

    #[test]
    fn keys_are_told_apart() {
        let [one, other] =
            [&b"0123456789abcdef"[..], b"0123456789abcdeF"].map(|secret| fingerprint(&derive(secret)));
        // Nodes of different versions compare them.
        assert_eq!((one, one == other), (0xf430_0ce0, false), "{one:#x}");
    }

    #[test]
    fn short_and_missing_files_say_what_to_do() {
        let short = read(file(b"secret\n").path()).expect_err("too short").to_string();
        assert!(short.contains("6 bytes") && short.contains("/dev/urandom"), "{short}");
        let missing = read(Path::new("/nonexistent/key")).expect_err("missing").to_string();
        assert!(missing.contains("/nonexistent/key"), "{missing}");
    }
}
