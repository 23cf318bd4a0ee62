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

fn options() -> Options {
    serde_saphyr::options! {
        // As Kubernetes' own YAML reader: `yes` and `on` are texts, `0755` is too.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        // A snippet may show a private key.
        with_snippet: false,
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
        DefaultMessageFormatter.format_message(error)
    }
}

impl Localizer for Plain {
    fn attach_location<'a>(&self, message: Cow<'a, str>, _: Location) -> Cow<'a, str> {
        message
    }
}
