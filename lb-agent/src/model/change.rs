//! What tells one membership from the next, in words.

use std::collections::{BTreeMap, BTreeSet};

use super::Member;

/// `edge-3 joins, edge-4 drains`: what a change from some members to others is.
#[must_use]
pub fn changes(before: &BTreeMap<String, Member>, after: &BTreeMap<String, Member>) -> String {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| match (before.get(name), after.get(name)) {
        (None, _) => Some(format!("{name} joins")),
        (_, None) => Some(format!("{name} leaves")),
        (Some(was), Some(is)) => Some(format!("{name} {}", difference(was, is)?)),
    };
    let all: Vec<_> = names.into_iter().filter_map(change).collect();
    if all.is_empty() { "the same members".to_owned() } else { all.join(", ") }
}

fn difference(was: &Member, is: &Member) -> Option<String> {
    Some(match (was.weight, is.weight) {
        (1.., 0) => "drains".to_owned(),
        (0, 1..) => "is active again".to_owned(),
        (before, weight) if before != weight => format!("has weight {weight}"),
        _ if was.address != is.address => format!("has address {}", is.address),
        _ if was.id != is.id => format!("has id {}", is.id),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_change_is_told_by_names() {
        let members = |all: &[(u16, u8, u32)]| -> BTreeMap<_, _> {
            let member = |&(id, host, weight): &(u16, u8, u32)| {
                let (name, address) = (format!("edge-{id}"), IpAddr::from([198, 51, 100, host]));
                (name.clone(), Member { name, id, address, weight })
            };
            all.iter().map(member).collect()
        };
        let before = members(&[(1, 1, 100), (2, 2, 100), (3, 3, 0)]);
        for (after, words) in [
            (members(&[(1, 1, 100), (2, 2, 100), (3, 3, 0)]), "the same members"),
            (members(&[(1, 1, 100), (3, 3, 0), (4, 4, 100)]), "edge-2 leaves, edge-4 joins"),
            (
                members(&[(1, 1, 0), (2, 2, 50), (3, 3, 9)]),
                "edge-1 drains, edge-2 has weight 50, edge-3 is active again",
            ),
            (members(&[(1, 9, 100), (2, 2, 100), (3, 3, 0)]), "edge-1 has address 198.51.100.9"),
        ] {
            assert_eq!(changes(&before, &after), words);
        }
    }
}
