//! Annotations of ours that nobody reads where they stand: misspelt, or of another kind of object. Who wrote one takes it for
//! in force.

use std::collections::BTreeMap;

use crate::model::{Kind, ObjectRef, Problem};
use crate::source::names;

/// More letters wrong than these, and it may have been meant for anything.
const MOST_WRONG: usize = 2;

/// A warning for each of an object's.
pub(super) fn misplaced(
    object: &ObjectRef,
    annotations: Option<&BTreeMap<String, String>>,
) -> impl Iterator<Item = Problem> {
    let ours = annotations.into_iter().flatten().filter(|(key, _)| key.starts_with(names::OURS));
    ours.filter_map(|(key, _)| {
        let why = unread(object.kind, key)?;
        Some(Problem::warning(object, format!("metadata.annotations[{key}]"), why))
    })
}

/// Why one with this key is not read of an object of this kind.
fn unread(kind: Kind, key: &str) -> Option<String> {
    let places = places(key);
    if places.contains(&Place::Annotation(kind)) {
        return None;
    }
    if let Some(place) = places.first() {
        let instead = match (kind, key) {
            (Kind::Service, key) if key == names::BACKEND_PROTOCOL[0] => {
                "; of a Service, appProtocol of its ports says it"
            }
            _ => "",
        };
        return Some(format!("nobody reads it here: it is {}{instead}", place.words()));
    }
    Some(nearest(kind, key).map_or_else(
        || format!("nobody reads it: there is no {key}; {} has {}", kind.as_str(), own(kind)),
        |(near, place)| format!("nobody reads it: there is no {key}, but {near}, {}", place.words()),
    ))
}

/// What one with a certain key is where it is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Annotation(Kind),
    Label(Kind),
    Taint(Kind),
}

impl Place {
    fn words(self) -> String {
        let (what, kind) = match self {
            Self::Annotation(kind) => ("an annotation", kind),
            Self::Label(kind) => ("a label", kind),
            Self::Taint(kind) => ("a taint", kind),
        };
        format!("{what} of kind {}", kind.as_str())
    }
}

fn all() -> impl Iterator<Item = (&'static str, Place)> {
    let of_kind =
        |(kind, keys): (Kind, &'static [&str])| keys.iter().map(move |key| (*key, Place::Annotation(kind)));
    let others = [(names::EDGE, Place::Label(Kind::Node)), (names::DRAIN, Place::Taint(Kind::Node))];
    names::ANNOTATIONS.into_iter().flat_map(of_kind).chain(others)
}

fn places(key: &str) -> Vec<Place> {
    all().filter(|(known, _)| *known == key).map(|(_, place)| place).collect()
}

/// The key that it was most likely meant to be; of two that are as near, the one of this kind.
fn nearest(kind: Kind, key: &str) -> Option<(&'static str, Place)> {
    let key = key.to_ascii_lowercase();
    let ranked = all().map(|(known, place)| {
        (edits(known.as_bytes(), key.as_bytes()), place != Place::Annotation(kind), known, place)
    });
    let (_, _, near, place) = ranked.filter(|(edits, ..)| *edits <= MOST_WRONG).min()?;
    Some((near, place))
}

/// The annotations that an object of this kind may have, or where some may be.
fn own(kind: Kind) -> String {
    let own = names::ANNOTATIONS.into_iter().find(|(of, _)| *of == kind);
    own.map_or_else(|| "none".to_owned(), |(_, keys)| keys.join(", "))
}

/// Letters to put in, leave out or exchange to make one of the other (Levenshtein).
fn edits(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], at + 1);
        for (place, its) in other.iter().enumerate() {
            let exchanged = corner + usize::from(letter != its);
            corner = row[place + 1];
            row[place + 1] = exchanged.min(corner + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Settings;
    use crate::source::translate::fixture::{EDGE, assert_complaints, snapshot};

    #[test]
    fn a_state_tells_it_of_objects_that_nothing_leads_to() {
        let yaml = format!(
            "{EDGE}{{apiVersion: v1, kind: Service, metadata: {{name: a, namespace: b, \
             annotations: {{edgelb.dev/backend-protocol: h2c, example.org/x: y}}}}, spec: {{ports: [{{port: 80}}]}}}}\n---\n\
             {{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: other, \
             annotations: {{edgelb.dev/stickey: x}}}}, spec: {{controller: example.org/other}}}}\n"
        );
        assert_complaints(
            &snapshot(&yaml, &Settings::default()),
            &[
                "warning: IngressClass other: metadata.annotations[edgelb.dev/stickey]: nobody reads it: there",
                "warning: Service b/a: metadata.annotations[edgelb.dev/backend-protocol]: nobody reads it here",
            ],
        );
    }

    #[track_caller]
    fn check(kind: Kind, key: &str, expected: Option<&str>) {
        let annotations = BTreeMap::from([(key.to_owned(), "x".to_owned())]);
        let object = ObjectRef::new(kind, "a", "b");
        let told: Vec<_> =
            misplaced(&object, Some(&annotations)).map(|problem| problem.to_string()).collect();
        let warning = |words| {
            format!("warning: {} a/b: metadata.annotations[{key}]: nobody reads it{words}", kind.as_str())
        };
        assert_eq!(told, Vec::from_iter(expected.map(warning)), "{key}");
    }

    #[test]
    fn what_stands_in_its_place_is_read() {
        check(Kind::Ingress, "edgelb.dev/backend-protocol", None);
        check(Kind::Service, "edgelb.dev/sticky", None);
        check(Kind::Service, "edgelb.dev/vips", None);
        check(Kind::Node, "edgelb.dev/weight", None);
        check(Kind::Service, "example.org/sticky", None);
    }

    #[test]
    fn what_stands_elsewhere_is_told_with_its_place() {
        let of_ingress = " here: it is an annotation of kind Ingress";
        check(
            Kind::Service,
            "edgelb.dev/backend-protocol",
            Some(&format!("{of_ingress}; of a Service, appProtocol of its ports says it")),
        );
        check(Kind::Service, "edgelb.dev/backend-tls", Some(of_ingress));
        check(Kind::Ingress, "edgelb.dev/sticky", Some(" here: it is an annotation of kind Service"));
        check(Kind::IngressClass, "edgelb.dev/sticky", Some(" here: it is an annotation of kind Service"));
        check(Kind::Node, "edgelb.dev/edge", Some(" here: it is a label of kind Node"));
        check(Kind::Node, "edgelb.dev/drain", Some(" here: it is a taint of kind Node"));
    }

    #[test]
    fn what_is_misspelt_is_told_with_what_is_nearest() {
        for (kind, key, near) in [
            (
                Kind::Ingress,
                "edgelb.dev/backend-tsl",
                "edgelb.dev/backend-tls, an annotation of kind Ingress",
            ),
            (Kind::Service, "edgelb.dev/Sticky", "edgelb.dev/sticky, an annotation of kind Service"),
            (Kind::Service, "edgelb.dev/timeout", "edgelb.dev/timeouts, an annotation of kind Service"),
            (Kind::Ingress, "edgelb.dev/retrys", "edgelb.dev/retries, an annotation of kind Service"),
            (Kind::Node, "edgelb.dev/wieght", "edgelb.dev/weight, an annotation of kind Node"),
        ] {
            check(kind, key, Some(&format!(": there is no {key}, but {near}")));
        }
        check(
            Kind::Ingress,
            "edgelb.dev/rewrite",
            Some(
                ": there is no edgelb.dev/rewrite; Ingress has edgelb.dev/backend-protocol, edgelb.dev/backend-tls",
            ),
        );
        check(Kind::IngressClass, "edgelb.dev/x", Some(": there is no edgelb.dev/x; IngressClass has none"));
    }

    #[test]
    fn letters_are_counted() {
        for (one, other, expected) in
            [("", "ab", 2), ("ab", "ab", 0), ("kitten", "sitting", 3), ("tsl", "tls", 2), ("abc", "bc", 1)]
        {
            assert_eq!(edits(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
            assert_eq!(edits(other.as_bytes(), one.as_bytes()), expected, "{other} {one}");
        }
    }
}
