//! No file names a place that only one machine has.

use super::text::{Finding, Text};

/// In two parts each, so that this file does not break its own rule.
const PLACES: [(&str, &str); 3] = [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/")];

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    texts.iter().flat_map(in_file).collect()
}

fn in_file(text: &Text) -> Vec<Finding> {
    let names_a_place =
        |line: &str| PLACES.iter().any(|(start, end)| starts_a_path(line, &format!("{start}{end}")));
    let lines = text.text.lines().enumerate().filter(|(_, line)| names_a_place(line));
    lines.map(|(index, _)| Finding::new(text, index + 1, "a path of one machine")).collect()
}

/// Whether `place` stands in `line` as the start of a path, not inside one.
fn starts_a_path(line: &str, place: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '}' | '*');
    line.match_indices(place).any(|(start, _)| !line[..start].ends_with(inside))
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    #[test]
    fn a_place_of_one_machine_is_found() {
        assert_eq!(findings(check, &[("a.md", &["see `/ho", "me/me/x`"].concat())]).len(), 1);
        assert!(findings(check, &[("a.md", "tests/home/x and /usr/bin")]).is_empty());
    }
}
