//! The flow key by which a node goes, and another one that it was given. Told by fingerprints: no key is ever shown.

/// Of one node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowKeys {
    /// The one in force: flows were opened by it, and other members send by it. `None` before there is one.
    pub in_force: Option<u32>,
    /// Another one that the node was given since, and does not take.
    pub refused: Option<u32>,
    /// What gives it keys: a Secret or a file.
    pub source: String,
}

impl FlowKeys {
    /// Why a key that was given is not in force, and what to do about it.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let (in_force, refused) = (self.in_force?, self.refused?);
        Some(format!(
            "the flow key in {} ({refused:08x}) is refused, for it would break connections: {in_force:08x}, by which they \
             opened, stays in force until it is put back there, or all nodes begin anew (README: Another flow key)",
            self.source
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_both_keys_and_the_source() {
        let keys = FlowKeys {
            in_force: Some(0xab),
            source: "/etc/edgelb/hash-key".to_owned(),
            ..FlowKeys::default()
        };
        assert_eq!(keys.refusal(), None);
        let words = FlowKeys { refused: Some(0xcd), ..keys }.refusal().expect("it is refused");
        for part in
            ["/etc/edgelb/hash-key (000000cd) is refused", "000000ab, by which they opened, stays in force"]
        {
            assert!(words.contains(part), "{words}");
        }
        assert!(!words.contains("; "), "what is amiss is told one by one, parted so");
    }
}
