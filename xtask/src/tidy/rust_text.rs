//! Reads Rust as text: what is code, what is a comment, what is a string. Enough for rules about names;
//! no parser.

/// A string literal and the line where it starts.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Literal {
    pub(super) line: usize,
    pub(super) value: String,
}

/// The source with comments and the contents of literals blanked, and the literals by themselves.
/// Lines stay where they are.
pub(super) struct RustText {
    pub(super) code: String,
    pub(super) literals: Vec<Literal>,
}

impl RustText {
    pub(super) fn read(source: &str) -> Self {
        let mut reader =
            Reader { rest: source, line: 1, text: Self { code: String::new(), literals: Vec::new() } };
        while !reader.rest.is_empty() {
            reader.step();
        }
        reader.text
    }

    /// The lines of code with their numbers, up to the tests that stand beside it.
    pub(super) fn lines_before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }

    /// All lines of code with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The line at which the tests that stand beside the code begin.
    pub(super) fn first_test_line(&self) -> usize {
        self.lines_before_tests().last().map_or(1, |(line, _)| line + 1)
    }
}

/// Whether `word` stands in `line` as a whole word.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let boundary = |character: Option<char>| !character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(start, _)| {
        boundary(line[..start].chars().next_back()) && boundary(line[start + word.len()..].chars().next())
    })
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    text: RustText,
}

impl Reader<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment(self.rest));
        } else if let Some(hashes) = raw_string(self.rest).filter(|_| !self.inside_word()) {
            self.literal(
                self.rest.find('"').map_or(0, |quote| quote + 1),
                &format!("\"{}", "#".repeat(hashes)),
            );
        } else if self.rest.starts_with('"') {
            self.literal(1, "\"");
        } else if let Some(length) = character(self.rest) {
            self.blank(length);
        } else {
            self.keep();
        }
    }

    /// Whether the character before belongs to a name: `or"` starts no raw string.
    fn inside_word(&self) -> bool {
        self.text.code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    }

    fn keep(&mut self) {
        let length = self.rest.chars().next().map_or(0, char::len_utf8);
        let kept = self.advance(length);
        self.text.code.push_str(&kept);
    }

    fn blank(&mut self, length: usize) {
        let blanked = self.advance(length);
        self.text.code.extend(blanked.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    }

    fn literal(&mut self, opening: usize, closing: &str) {
        let line = self.line;
        let length = literal_length(&self.rest[opening..], closing);
        self.text.literals.push(Literal { line, value: self.rest[opening..opening + length].to_owned() });
        self.text.code.push('"');
        self.blank(opening + length);
        self.text.code.push('"');
        self.advance(closing.len().min(self.rest.len()));
    }

    fn advance(&mut self, length: usize) -> String {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken.to_owned()
    }
}

/// The length of the contents of a literal that ends with `closing`; only ordinary ones know escapes.
fn literal_length(contents: &str, closing: &str) -> usize {
    let mut escaped = false;
    for (index, character) in contents.char_indices() {
        if !escaped && contents[index..].starts_with(closing) {
            return index;
        }
        escaped = closing == "\"" && character == '\\' && !escaped;
    }
    contents.len()
}

/// The number of `#` of the raw string that starts here. One without any has no escapes either, but
/// ours hold none.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of the character literal that starts here; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut characters = inside.char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        let end = inside[2..].find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    let (end, next) = characters.next()?;
    (next == '\'').then_some(1 + end + 1)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut index = 0;
    while index < rest.len() {
        let here = &rest.as_bytes()[index..];
        if here.starts_with(b"/*") {
            (depth, index) = (depth + 1, index + 2);
        } else if here.starts_with(b"*/") {
            (depth, index) = (depth - 1, index + 2);
        } else {
            index += 1;
        }
        if depth == 0 {
            return index;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, code: &str, literals: &[(usize, &str)]) {
        let text = RustText::read(source);
        let found: Vec<_> =
            text.literals.iter().map(|literal| (literal.line, literal.value.as_str())).collect();
        let squeezed: Vec<_> = text.code.split_whitespace().collect();
        assert_eq!(squeezed.join(" "), code, "{source}");
        assert_eq!(found, literals, "{source}");
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        check("let a = 1; // unsafe", "let a = 1;", &[]);
        check("/* a /* b */ c */ d", "d", &[]);
        check("f(\"un\\\"safe\")", "f(\" \")", &[(1, "un\\\"safe")]);
        check("x\nf(r#\"a\"b\"#, y)", "x f(\" \", y)", &[(2, "a\"b")]);
        check(
            "fn f<'a>(x: &'a u8, c: char) { c == '\"' || c == '\\'' }",
            "fn f<'a>(x: &'a u8, c: char) { c == || c == }",
            &[],
        );
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = RustText::read("a\n/* x\ny */ b\n\"p\nq\" c\n");
        assert_eq!(text.code.lines().count(), 5);
        assert!(text.code.lines().nth(4).is_some_and(|line| line.contains('c')));
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(!has_word("forbid(not_unsafe)", "unsafe"));
    }
}
