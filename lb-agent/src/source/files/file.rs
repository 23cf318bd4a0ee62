//! One file of the folder: its objects now, which are not always those of its text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::decode::{self, Decoded, Item};
use super::document::{self, TextId};
use super::yaml::SyntaxError;
use crate::model::{Cause, ObjectRef, Origin, Problem, Severity};
use crate::source::Object;

/// A file as it was last read.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Its objects. An object whose new version has wrong fields stays as it was; a file with a document that
    /// is no YAML stays as it was altogether, since it may be half written.
    pub(super) objects: Vec<Placed>,
    /// What is wrong with its text.
    pub(super) problems: Vec<Problem>,
    documents: BTreeMap<TextId, Arc<Result<Decoded, SyntaxError>>>,
    /// Whether all of it could be parsed at some time.
    was_whole: bool,
}

/// An object and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Its name.
    pub(super) name: ObjectRef,
    /// The object.
    pub(super) object: Object,
    /// The line on which its document starts, from 1.
    pub(super) line: usize,
}

impl File {
    /// The file with this text, after it was `before`. Documents that it had then are not parsed again.
    pub(super) fn read(path: &Path, text: &str, before: Self) -> Self {
        let mut file = Self { was_whole: before.was_whole, ..Self::default() };
        let mut is_whole = true;
        for document in document::split(text) {
            let id = document.id();
            let known = before.documents.get(&id).or_else(|| file.documents.get(&id)).cloned();
            let decoded = known.unwrap_or_else(|| Arc::new(decode::decode(document.text)));
            match decoded.as_ref() {
                Ok(decoded) => file.add(path, document.line, decoded, &before),
                Err(error) => {
                    is_whole = false;
                    file.problems.push(unreadable(path, document.line + error.line, &error.message));
                }
            }
            file.documents.insert(id, decoded);
        }
        if !is_whole && before.was_whole {
            file.objects = before.objects;
        }
        file.was_whole |= is_whole;
        file
    }

    /// The file as it was `before`, now that its text cannot be had.
    pub(super) fn kept(path: &Path, message: &str, before: Self) -> Self {
        Self { problems: vec![unreadable(path, 1, message)], ..before }
    }

    fn add(&mut self, path: &Path, line: usize, decoded: &Decoded, before: &Self) {
        for item in &decoded.items {
            match item {
                Item::Good(object) => {
                    self.objects.push(Placed { name: object.reference(), object: object.clone(), line });
                }
                Item::Bad(name) => {
                    let last = before.objects.iter().find(|placed| placed.name == *name);
                    self.objects.extend(last.map(|placed| Placed { line, ..placed.clone() }));
                }
            }
        }
        self.problems.extend(decoded.notes.iter().map(|note| Problem {
            severity: note.severity,
            origin: Some(origin(path, line)),
            object: note.object.clone(),
            field: note.field.clone(),
            message: note.message.clone(),
            cause: Cause::Field,
        }));
    }
}

/// A place in a file.
pub(super) fn origin(path: &Path, line: usize) -> Origin {
    Origin::File { path: path.to_owned(), line }
}

/// The problem of a file whose text says nothing.
pub(super) fn unreadable(path: &Path, line: usize, message: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        origin: Some(origin(path, line)),
        object: None,
        field: String::new(),
        message: message.to_owned(),
        cause: Cause::Field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, status: {{addresses: {address}}}}}\n---\n"
        )
    }

    fn read(text: &str, before: File) -> File {
        File::read(Path::new("a.yaml"), text, before)
    }

    fn names(file: &File) -> Vec<&str> {
        file.objects.iter().map(|placed| placed.name.name.as_str()).collect()
    }

    #[test]
    fn documents_that_did_not_change_are_not_parsed_again() {
        let before = read(&(node("a", "[]") + &node("b", "[]")), File::default());
        let kept = before.objects[1].object.clone();
        let after = read(
            &("# moved\n".to_owned() + &node("c", "[]") + &node("a", "null") + &node("b", "[]")),
            before,
        );
        assert_eq!((names(&after), after.objects[2].line), (vec!["c", "a", "b"], 6));
        let (Object::Node(kept), Object::Node(found)) = (&kept, &after.objects[2].object) else {
            panic!("{after:?}")
        };
        assert!(Arc::ptr_eq(kept, found));
    }

    #[test]
    fn good_documents_of_a_file_that_was_never_whole_are_taken() {
        let bad = "a: [\n---\n";
        let file = read(&(node("a", "[]") + bad), File::default());
        assert_eq!((names(&file), file.problems.len()), (vec!["a"], 1));
        let file = read(&(node("b", "[]") + bad), file);
        assert_eq!(names(&file), ["b"]);
        let file = read(&node("b", "[]"), file);
        let file = read(&(node("c", "[]") + bad), file);
        assert_eq!(names(&file), ["b"], "it was whole once");
        assert_eq!(names(&read("", file)), [""; 0]);
    }

    #[test]
    fn wrong_objects_stay_as_long_as_they_are_named() {
        let file = read(&(node("a", "[]") + &node("b", "[]")), File::default());
        let file = read(&node("a", "7"), file);
        assert_eq!((names(&file), file.problems.len()), (vec!["a"], 1));
        let file = read(&node("a", "8"), file);
        assert_eq!(names(&file), ["a"]);
        assert_eq!(names(&read(&node("b", "7"), file)), [""; 0]);
    }
}
