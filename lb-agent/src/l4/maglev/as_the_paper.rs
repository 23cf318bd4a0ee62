//! A table is the paper's, whatever way it is filled.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::row::{BUCKETS, MemberId, NO_MEMBER};
use proptest::prelude::*;

use super::openers;
use super::search::{Distance, inverse};
use super::turns::Turns;
use crate::model::Member;

/// As the paper has it: each turn looks at one bucket after the other.
fn plain(members: &[Member]) -> Box<[MemberId]> {
    let mut table = vec![NO_MEMBER; BUCKETS as usize];
    let mut turns = Turns::new(members).expect("members with weight");
    for _ in 0..BUCKETS {
        let at = turns.next();
        let turn = &mut turns.all()[at];
        while table[turn.next as usize] != NO_MEMBER {
            turn.next = (turn.next + turn.skip) % BUCKETS;
        }
        table[turn.next as usize] = turn.id;
    }
    table.into()
}

fn members(seed: u32, weights: &[u32]) -> Vec<Member> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let member =
        |(id, &weight): (MemberId, &u32)| Member { name: format!("{seed}-{id}"), id, address, weight };
    (1..).zip(weights).map(member).collect()
}

fn check(seed: u32, weights: &[u32]) {
    let members = members(seed, weights);
    assert!(openers(&members) == plain(&members), "{seed}: {weights:?}");
}

#[test]
fn many_and_few_members_take_what_they_should() {
    for (seed, count) in [(1, 1), (2, 2), (3, 3), (4, 256), (5, 4_000), (6, 1), (7, 1)] {
        check(seed, &vec![100; count]);
    }
}

/// Some that have had no turn yet when few buckets are left.
#[test]
fn who_comes_late_takes_what_it_should() {
    for seed in 0..4 {
        check(seed, &[[1; 60].as_slice(), &[65_000]].concat());
    }
}

#[test]
fn steps_are_those_of_the_permutation() {
    for skip in [1, 2, 3, 255, 256, 257, 4_099, 32_768, 65_534, 65_535, 65_536] {
        let inverse = inverse(skip);
        for next in [0, 1, 2, 255, 256, 32_768, 65_534, 65_535, 65_536] {
            let (distance, mut bucket) = (Distance::new(next, inverse), next);
            for steps in 1..BUCKETS {
                bucket = (bucket + skip) % BUCKETS;
                if let Ok(bucket) = u16::try_from(bucket) {
                    let found = u32::from(distance.less_one(bucket)) + 1;
                    assert_eq!(found, steps, "from {next} by {skip} to {bucket}");
                }
            }
        }
    }
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    let weight = prop_oneof![4 => Just(100_u32), 1 => 0_u32..300, 1 => Just(40)];
    prop::collection::vec(weight, 1..300).prop_filter("some weight", |all| all.iter().any(|&one| one > 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_fill_is_the_papers(seed in any::<u32>(), weights in weights()) {
        check(seed, &weights);
    }
}
