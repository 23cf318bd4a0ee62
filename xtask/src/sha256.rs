//! SHA-256, as people and programs write it.

use sha2::{Digest, Sha256};

/// That of these bytes, in hexadecimal digits.
pub(crate) fn of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
