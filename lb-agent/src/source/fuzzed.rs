//! What has to hold of a text with objects, whatever stands in it: an error is told of, and never takes anything down.

use std::path::Path;

use super::files::parse_text;
use super::{Index, Settings, translate};
use crate::model::Origin;

/// The name of a corpus, and what is called with its bytes.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: [Parser; 1] = [("objects", objects)];

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

/// A file with objects, up to the state that they ask for: the same each time, and every problem with a text.
///
/// # Panics
/// If that does not hold.
pub fn objects(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (objects, problems) = parse_text(Path::new("fuzzed.yaml"), text);
    let mut index = Index::default();
    for (object, _) in objects {
        index.apply(object, Origin::Api);
    }
    let state = translate(&index, &Settings::default(), NOW);
    assert_eq!(translate(&index, &Settings::default(), NOW), state);
    let mut all = problems.iter().chain(state.problems.iter());
    assert!(all.all(|problem| !problem.message.is_empty()));
}
