//! Who was there first: the order in which objects win conflicts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

/// Sorted, the oldest comes first. Equal ages go by `namespace/name`, as in the Gateway API. An object without
/// creationTimestamp, as all are that come from a folder, is younger than those with one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::source) struct Age {
    created: Timestamp,
    name: String,
}

impl Age {
    /// The age of the object with this metadata.
    pub(in crate::source) fn of(metadata: &ObjectMeta) -> Self {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        Self {
            created: metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
            name: format!("{namespace}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn age(namespace: &str, name: &str, created: Option<&str>) -> Age {
        let time = |text: &str| Time(text.parse().expect("a timestamp"));
        Age::of(&ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            creation_timestamp: created.map(time),
            ..ObjectMeta::default()
        })
    }

    #[test]
    fn the_oldest_sorts_first() {
        let (early, late) = (Some("2024-01-01T00:00:00Z"), Some("2025-01-01T00:00:00Z"));
        for (older, younger) in [
            (age("z", "z", early), age("a", "a", late)),
            (age("z", "z", late), age("a", "a", None)),
            (age("a", "z", None), age("b", "a", None)),
            (age("a", "a", early), age("a", "b", early)),
            // The text `namespace/name` decides, in which `-` sorts before `/`.
            (age("a-b", "x", None), age("a", "x", None)),
        ] {
            assert!(older < younger, "{older:?} before {younger:?}");
        }
    }
}
