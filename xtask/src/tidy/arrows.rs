//! Who may know whom inside the agent: the stages know `model` and not each other.

use super::{
    rust_text::{RustText, has_word},
    text::{Finding, Text},
};

const AGENT: &str = "lb-agent/src/";

/// Each module and the modules it may name. A module that is not listed here may name none, and the files
/// that wire everything together are free. Labels of metrics are closed enums of the stage that counts.
const MAY_KNOW: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("beat", &[]),
    ("metrics", &["model", "l4", "l7"]),
    ("api", &[]),
    ("source", &["model", "api", "metrics"]),
    ("status", &["model", "api", "metrics"]),
    ("l4", &["model", "metrics", "beat"]),
    ("l7", &["model", "metrics", "beat"]),
    ("announce", &["model", "metrics"]),
    ("admin", &["model", "metrics"]),
];

/// Files that name all modules. Defaults of flags stand in the stage that they belong to, so `cli` names
/// stages; no stage names it.
const FREE: [&str; 4] = ["app", "cli", "lib", "main"];

/// Crates that belong to one side, and the modules that may name them.
const SIDES: [(&str, &[&str]); 7] = [
    ("aya", &["l4", "app"]),
    ("hyper", &["l7", "admin"]),
    ("hyper_rustls", &["app"]),
    ("hyper_util", &["l7", "admin", "app"]),
    ("k8s_openapi", &["api", "source", "status"]),
    ("kube", &["source", "status", "app"]),
    ("lb_common", &["l4", "metrics", "admin", "app", "cli"]),
];

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    texts.iter().filter(|text| text.is_rust()).flat_map(in_file).collect()
}

fn in_file(text: &Text) -> Vec<Finding> {
    let Some(module) = module(&text.path) else {
        return Vec::new();
    };
    let code = RustText::read(&text.text).code;
    let known = known_modules(&code).into_iter().filter(|(_, other)| !may_know(module, other));
    let known = known.map(|(line, other)| (line, format!("`{module}` must not know `{other}`")));
    let sides =
        foreign_sides(module, &code).map(|(line, name)| (line, format!("`{module}` must not know `{name}`")));
    known.chain(sides).map(|(line, what)| Finding::new(text, line, what)).collect()
}

/// `lb-agent/src/l7/tls/store.rs` -> `l7`, `lb-agent/src/cli.rs` -> `cli`.
fn module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix(AGENT)?;
    inside.split('/').next().map(|first| first.trim_end_matches(".rs"))
}

fn may_know(module: &str, other: &str) -> bool {
    let listed = MAY_KNOW.iter().find(|(name, _)| *name == module);
    module == other || FREE.contains(&module) || listed.is_some_and(|(_, others)| others.contains(&other))
}

/// The top-level modules that are named by `crate::name` or `crate::{name, ...}`, with their lines.
fn known_modules(code: &str) -> Vec<(usize, String)> {
    let places = code.match_indices("crate::").filter(|(start, _)| !code[..*start].ends_with('$'));
    let named = |(start, marker): (usize, &str)| {
        let line = 1 + code[..start].matches('\n').count();
        first_names(&code[start + marker.len()..]).into_iter().map(move |name| (line, name))
    };
    places.flat_map(named).filter(|(_, name)| name.starts_with(|c: char| c.is_ascii_lowercase())).collect()
}

/// `model::X` -> `model`; `{model::{A, B}, metrics}` -> `model`, `metrics`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![leading_name(path)];
    };
    let mut depth = 1_usize;
    let mut names = vec![leading_name(group)];
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(leading_name(&group[index + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn leading_name(path: &str) -> String {
    path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn foreign_sides<'a>(module: &'a str, code: &'a str) -> impl Iterator<Item = (usize, &'static str)> + 'a {
    let closed = SIDES.iter().filter(move |(_, modules)| !modules.contains(&module));
    closed.flat_map(move |(name, _)| {
        let path = format!("{name}::");
        let lines = code.lines().enumerate().filter(move |(_, line)| has_path(line, name, &path));
        lines.map(move |(index, _)| (index + 1, *name))
    })
}

/// `name::` as the start of a path: `crate::aya::` is another one.
fn has_path(line: &str, name: &str, path: &str) -> bool {
    has_word(line, name)
        && line.match_indices(path).any(|(start, _)| !line[..start].ends_with(is_inside_path))
}

fn is_inside_path(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | ':')
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    fn found(path: &str, code: &str) -> usize {
        findings(check, &[(path, code)]).len()
    }

    #[test]
    fn a_stage_knows_the_model_and_itself() {
        assert_eq!(found("lb-agent/src/l7/router.rs", "use crate::{model::{Host, Rule}, l7::Reply};"), 0);
        assert_eq!(
            found("lb-agent/src/l4/plan.rs", "use crate::model::Snapshot;\nuse lb_common::row::Row;"),
            0
        );
    }

    #[test]
    fn a_stage_knows_no_other_stage() {
        assert_eq!(found("lb-agent/src/l7/router.rs", "use crate::source::Index;"), 1);
        assert_eq!(found("lb-agent/src/l4/plan.rs", "use crate::{\n    model::{A, B},\n    l7,\n};"), 1);
        assert_eq!(found("lb-agent/src/model/mod.rs", "fn f(x: &crate::metrics::M) {}"), 1);
        assert_eq!(found("lb-agent/src/l4/pins.rs", "use crate::cli::Run;"), 1);
        assert_eq!(found("lb-agent/src/newcomer.rs", "use crate::model::Snapshot;"), 1);
    }

    #[test]
    fn crates_of_one_side_stay_there() {
        assert_eq!(found("lb-agent/src/l7/router.rs", "use aya::Ebpf;"), 1);
        assert_eq!(found("lb-agent/src/model/mod.rs", "use k8s_openapi::api::core::v1::Node;"), 1);
        assert_eq!(found("lb-agent/src/source/node.rs", "use k8s_openapi::api::core::v1::Node;"), 0);
        assert_eq!(found("lb-agent/src/source/node.rs", "let papaya::X = x; // aya::Y"), 0);
    }

    #[test]
    fn the_wiring_is_free() {
        assert_eq!(found("lb-agent/src/app.rs", "use crate::{l4, l7, source};"), 0);
    }
}
