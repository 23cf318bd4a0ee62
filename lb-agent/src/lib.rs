//! edgelb's node agent. Folders are named after the stages that data flows through:
//! `source` -> `model` -> `l4` and `l7`, watched by `admin`, wired together by `app`.

#![forbid(unsafe_code)]

pub mod admin;
pub mod announce;
pub mod api;
pub mod app;
pub mod beat;
pub mod cli;
pub mod l4;
pub mod l7;
pub mod metrics;
pub mod model;
pub mod source;
pub mod status;

#[cfg(test)]
#[path = "../../tests/fuzz/corpora.rs"]
mod corpora;

#[cfg(test)]
mod tests {
    use super::{corpora, l7, source};

    #[test]
    fn the_corpora_of_the_fuzz_targets_hold() {
        let parsers = l7::fuzzed::PARSERS.into_iter().chain(source::fuzzed::PARSERS);
        parsers.for_each(|(name, parser)| corpora::hold(env!("CARGO_MANIFEST_DIR"), name, parser));
    }
}
