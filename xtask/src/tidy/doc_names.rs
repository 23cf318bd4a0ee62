//! Files, symbols, flags and metrics that the documents name in backticks exist.

use std::collections::BTreeSet;

use super::{
    rust_text::RustText,
    text::{Finding, Text},
};

const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];

/// Endings of the files that people write here: a word that ends so is a file's name.
const ENDINGS: [&str; 6] = [".rs", ".md", ".toml", ".yaml", ".yml", ".sh"];

/// The rules' own tests speak of names that do not exist.
const RULES: &str = "xtask/src/tidy/";

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let known = Known::of(texts);
    let documents = texts.iter().filter(|text| DOCUMENTS.contains(&text.path.as_str()));
    documents
        .flat_map(|text| {
            let unknown = quoted(&text.text).filter(|(_, name)| !known.has(name));
            unknown
                .map(|(line, name)| Finding::new(text, line, format!("`{name}` does not exist")))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Everything that a document may name.
struct Known {
    /// Files and folders, from the root.
    paths: BTreeSet<String>,
    /// Words of the Rust code, and of its strings.
    words: BTreeSet<String>,
    /// The same of the files that define flags.
    flags: BTreeSet<String>,
}

impl Known {
    fn of(texts: &[Text]) -> Self {
        let paths = texts.iter().flat_map(|text| with_folders(&text.path)).collect();
        let rust = || texts.iter().filter(|text| text.is_rust() && !text.path.starts_with(RULES));
        let words = rust().flat_map(words_of).collect();
        let flags = rust().filter(|text| text.text.contains("clap")).flat_map(words_of).collect();
        Self { paths, words, flags }
    }

    fn has(&self, name: &str) -> bool {
        match Name::of(name, &self.paths) {
            Name::Path(path) => self.has_path(path),
            Name::Symbol(symbol) => symbol.split("::").all(|part| self.words.contains(part)),
            Name::Flag(flag) => self.flags.contains(&flag.replace('-', "_")),
            Name::Metric(metric) => self.words.contains(metric.trim_end_matches("_total")),
            Name::Other => true,
        }
    }

    fn has_path(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let is_file_name = |known: &String| !path.contains('/') && known.ends_with(&format!("/{path}"));
        self.paths.contains(path) || self.paths.iter().any(is_file_name)
    }
}

/// What kind of name a quoted text is.
enum Name<'a> {
    Path(&'a str),
    Symbol(&'a str),
    Flag(&'a str),
    /// As Prometheus shows it: a counter has `_total` at its end.
    Metric(&'a str),
    /// A command, a value, a word of another project.
    Other,
}

impl<'a> Name<'a> {
    fn of(name: &'a str, paths: &BTreeSet<String>) -> Self {
        let is_word =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let call = name.trim_end_matches("()");
        if name.contains([' ', '*', '<', '{', '$', '=']) {
            Self::Other
        } else if let Some(flag) = name.strip_prefix("--") {
            Self::Flag(flag)
        } else if is_path(name, paths) {
            Self::Path(name)
        } else if name.starts_with("lb_") && is_word(name) {
            Self::Metric(name)
        } else if call.split("::").all(is_word)
            && (call.contains("::") || call != name || is_camel_case(call))
        {
            Self::Symbol(call)
        } else {
            Self::Other
        }
    }
}

fn is_path(name: &str, paths: &BTreeSet<String>) -> bool {
    let top_level = name.split_once('/').is_some_and(|(first, _)| paths.contains(first));
    top_level || (!name.starts_with('/') && ENDINGS.iter().any(|ending| name.ends_with(ending)))
}

/// `RouteTable`, but not `GET` or `Host`: words with one capital are everyday words, too.
fn is_camel_case(word: &str) -> bool {
    let capitals = word.chars().filter(char::is_ascii_uppercase).count();
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && capitals >= 2
        && word.contains(|c: char| c.is_ascii_lowercase())
}

/// Texts between backticks with their lines, outside of code blocks.
fn quoted(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    let lines = document.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    });
    lines.flat_map(|(index, line)| line.split('`').skip(1).step_by(2).map(move |name| (index + 1, name)))
}

fn words_of(text: &Text) -> Vec<String> {
    let rust = RustText::read(&text.text);
    let literals = rust.literals.iter().flat_map(|literal| words(&literal.value));
    words(&rust.code).chain(literals).collect()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).map(str::to_owned)
}

/// `a/b/c` -> `a`, `a/b`, `a/b/c`.
fn with_folders(path: &str) -> Vec<String> {
    let ends = path.match_indices('/').map(|(index, _)| index).chain([path.len()]);
    ends.map(|end| path[..end].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    const CODE: (&str, &str) = (
        "lb-agent/src/l7/router.rs",
        "pub struct RouteTable; impl RouteTable { fn find() {} } fn a(host: u8) {}",
    );

    const METRICS: (&str, &str) = ("lb-agent/src/metrics/l7.rs", "counter(\"lb_l7_requests\")");

    const CLI: (&str, &str) =
        ("lb-agent/src/cli.rs", "#[derive(clap::Args)] struct Run { hash_key_file: PathBuf }");

    fn found(document: &str) -> usize {
        findings(check, &[CODE, METRICS, CLI, ("README.md", document)]).len()
    }

    #[test]
    fn names_that_exist_are_fine() {
        assert_eq!(found("`lb-agent/src/l7/router.rs`, `lb-agent/src/l7/`, `router.rs`"), 0);
        assert_eq!(
            found("`RouteTable`, `RouteTable::find`, `find()`, `--hash-key-file`, `lb_l7_requests_total`"),
            0
        );
    }

    #[test]
    fn names_that_do_not_are_found() {
        assert_eq!(found("`lb-agent/src/l8/`, `gone.rs`"), 2);
        assert_eq!(found("`RouteTree`, `RouteTable::search`, `search()`, `--host`, `lb_l7_gone`"), 5);
    }

    #[test]
    fn commands_values_and_blocks_are_not_names() {
        assert_eq!(found("`cargo xtask demo`, `edgelb.dev/ingress`, `GET`, `/metrics`, `Service`"), 0);
        assert_eq!(found("```\n`GoneType`\n```\n"), 0);
    }
}
