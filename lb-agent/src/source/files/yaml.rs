//! YAML text -> a JSON value, within bounds: what edgelb wants of its YAML library stands here only.

use std::borrow::Cow;

use serde_json::Value;
use serde_saphyr::{
    DefaultMessageFormatter, Error, Localizer, Location, MessageFormatter, Options, RenderOptions,
};
use thiserror::Error;

/// Text that is no YAML, or more of it than any manifest needs.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{message}")]
pub(super) struct SyntaxError {
    /// Lines before the error.
    pub(super) line: usize,
    /// What is wrong there.
    pub(super) message: String,
}

/// The value of a document. Keys that stand twice are an error; so are aliases that multiply beyond measure.
pub(super) fn parse(text: &str) -> Result<Value, SyntaxError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| SyntaxError {
        line: error.location().map_or(0, |at| usize::try_from(at.line()).unwrap_or(1).saturating_sub(1)),
        message: error.render_with_options(RenderOptions::new(&Plain)),
    })
}

/// Values that a document's aliases may stand for in all.
const MAX_REPLAYED: usize = 10_000;

fn options() -> Options {
    serde_saphyr::options! {
        // As Kubernetes' own YAML reader: `yes` and `on` are texts, `0755` is too.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        // A snippet may show a private key.
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
        budget: serde_saphyr::budget! { max_documents: 1, max_nodes: 1_000_000, max_events: 4_000_000 },
    }
}

/// Messages without their place: it is told apart, counted from the start of the file.
struct Plain;

impl MessageFormatter for Plain {
    fn localizer(&self) -> &dyn Localizer {
        self
    }

    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::DuplicateMappingKey { key, .. } => {
                format!("the key {:?} stands twice", key.as_deref().unwrap_or_default()).into()
            }
            Error::AliasReplayLimitExceeded { .. } => {
                format!("aliases stand for more than {MAX_REPLAYED} values: write them out").into()
            }
            Error::Budget { .. } => "is larger or deeper than any manifest: split it".into(),
            _ => DefaultMessageFormatter.format_message(error),
        }
    }
}

impl Localizer for Plain {
    fn attach_location<'a>(&self, message: Cow<'a, str>, _: Location) -> Cow<'a, str> {
        message
    }

    fn alias_used_at(&self, _: Location) -> String {
        String::new()
    }

    fn alias_defined_at(&self, _: Location) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(text: &str, line: usize, message: &str) {
        let error = parse(text).expect_err(text);
        assert_eq!(error.line, line, "{error}");
        assert!(error.message.contains(message), "{error}");
        assert!(!error.message.contains("line"), "the place is told apart: {error}");
    }

    #[test]
    fn scalars_are_what_kubernetes_takes_them_for() {
        let expected = serde_json::json!({
            "flag": true, "word": "yes", "mode": "0755", "port": 80, "text": "80", "nothing": null, "time": "2024-01-01T00:00:00Z"
        });
        let text = "{flag: true, word: yes, mode: 0755, port: 80, text: '80', nothing: , time: 2024-01-01T00:00:00Z}";
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn errors_have_a_line() {
        check_error("a: 1\nb: [\n", 1, "");
        check_error("a: 1\nb: c: d\n", 1, "");
        check_error("a: 1\nb: 2\na: 3\n", 2, "the key \"a\" stands twice");
    }

    #[test]
    fn aliases_cannot_multiply_beyond_measure() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{below}]\n");
        }
        check_error(&bomb, 3, "aliases stand for more than 10000 values");
        assert_eq!(parse("{a: &x [1, 2], b: *x}"), Ok(serde_json::json!({"a": [1, 2], "b": [1, 2]})));
    }

    #[test]
    fn nesting_is_bounded() {
        parse(&"[".repeat(100_000)).expect_err("too deep");
        parse(&format!("{}{}", "[".repeat(500), "]".repeat(500))).expect_err("too deep");
    }

    #[test]
    fn json_is_yaml() {
        let text = "{\n\t\"a\": [1, true, null, \"x\\u00e9\\n\"],\n\t\"b\": {}\n}\n";
        assert_eq!(parse(text), serde_json::from_str(text).map_err(|error| unreachable!("{error}")));
    }
}
