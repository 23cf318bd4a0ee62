//! Maglev (Eisenbud et al., NSDI 2016): which member opens the flows of which bucket. Deterministic: every
//! node, and every release, computes the same table from the same names and weights.

mod search;
mod turns;
mod walk;

use std::hash::Hasher;

use lb_common::row::{BUCKETS, MemberId, NO_MEMBER, Row};
use twox_hash::XxHash3_64;

use self::search::{LAST, Remaining, inverse};
use self::turns::Turns;
use self::walk::Free;
use crate::model::Member;

/// So many free buckets at most are searched for the one that comes first. Measured.
const SEARCHED: u32 = 500;

/// Rows that are digested at once: word by word takes much longer.
const DIGESTED: usize = 512;

/// A filled table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// The row of each bucket, packed.
    pub rows: Box<[u64]>,
    /// XXH3 of the rows: nodes that agree have the same. It tells mistakes, not attacks: who could choose rows needs
    /// no collision.
    pub digest: u64,
}

/// The table of some members that never were others. All rows are empty if none has weight.
#[must_use]
pub fn fill<'a>(members: impl IntoIterator<Item = &'a Member>) -> Table {
    Table::new(openers(members).iter().map(|&opener| Row::of(opener).bits()).collect())
}

/// The opener of each bucket. `NO_MEMBER` everywhere if no member has weight.
///
/// Members take turns in order of their names; in each turn a member takes the next bucket of its own
/// permutation that is still free. A member of less weight than the heaviest sits out turns in proportion.
#[must_use]
pub fn openers<'a>(members: impl IntoIterator<Item = &'a Member>) -> Box<[MemberId]> {
    let mut table = vec![NO_MEMBER; BUCKETS as usize].into_boxed_slice();
    let Some(mut turns) = Turns::new(members) else { return table };
    let free = walk(&mut turns, &mut table);
    search(&mut turns, Remaining::new(free), &mut table);
    table
}

/// Fills all but the last few buckets, which are still free then.
fn walk(turns: &mut Turns, table: &mut [MemberId]) -> Free {
    let (mut free, mut left) = (Free::new(), BUCKETS);
    while left > SEARCHED || free.has(LAST) {
        let at = turns.next();
        let turn = &mut turns.all()[at];
        let bucket = free.next(turn, left);
        free.take(bucket);
        turn.open(bucket, table);
        left -= 1;
    }
    free
}

/// Fills the others.
fn search(turns: &mut Turns, mut remaining: Remaining, table: &mut [MemberId]) {
    let inverses: Vec<_> = turns.all().iter().map(|turn| inverse(turn.skip)).collect();
    while !remaining.is_empty() {
        let at = turns.next();
        let turn = &mut turns.all()[at];
        let bucket = remaining.next(turn, inverses[at]);
        remaining.take(bucket);
        turn.open(bucket, table);
    }
}

impl Table {
    /// The table with these rows.
    #[must_use]
    pub fn new(rows: Box<[u64]>) -> Self {
        let mut hasher = XxHash3_64::new();
        let mut bytes = [0; DIGESTED * 8];
        for some in rows.chunks(DIGESTED) {
            for (bytes, row) in bytes.chunks_exact_mut(8).zip(some) {
                bytes.copy_from_slice(&row.to_le_bytes());
            }
            hasher.write(&bytes[..some.len() * 8]);
        }
        Self { digest: hasher.finish(), rows }
    }

    /// The same without those that opened before.
    #[must_use]
    pub fn openers_only(&self) -> Self {
        Self::new(self.rows.iter().map(|&row| Row::of(Row::from_bits(row).opener()).bits()).collect())
    }
}

#[cfg(test)]
mod as_the_paper;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn members(names: &[(&str, u32)]) -> Vec<Member> {
        names
            .iter()
            .enumerate()
            .map(|(index, &(name, weight))| Member {
                name: name.to_owned(),
                id: index as u16 + 1,
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                weight,
            })
            .collect()
    }

    fn shares(members: &[Member]) -> BTreeMap<MemberId, f64> {
        let mut counts = BTreeMap::new();
        for &row in fill(members).rows.iter() {
            *counts.entry(Row::from_bits(row).opener()).or_insert(0_u32) += 1;
        }
        counts.into_iter().map(|(id, count)| (id, f64::from(count) / f64::from(BUCKETS))).collect()
    }

    #[test]
    fn equal_weights_share_equally() {
        let shares = shares(&members(&[("a", 100), ("b", 100), ("c", 100)]));
        assert_eq!(shares.len(), 3);
        assert!(shares.values().all(|share| (share - 1.0 / 3.0).abs() < 0.001), "{shares:?}");
    }

    #[test]
    fn shares_follow_weights() {
        let shares = shares(&members(&[("a", 100), ("b", 50), ("c", 0)]));
        assert!((shares[&1] - 2.0 / 3.0).abs() < 0.001, "{shares:?}");
        assert!((shares[&2] - 1.0 / 3.0).abs() < 0.001, "{shares:?}");
        assert!(!shares.contains_key(&3), "weight 0 takes nothing");
    }

    #[test]
    fn nobody_leaves_empty_rows() {
        assert!(fill(&[]).rows.iter().all(|&row| row == Row::EMPTY.bits()));
        assert!(fill(&members(&[("a", 0)])).rows.iter().all(|&row| row == Row::EMPTY.bits()));
    }

    #[test]
    fn order_of_the_input_does_not_matter() {
        let mut list = members(&[("a", 100), ("b", 100), ("c", 30)]);
        let table = fill(&list);
        list.reverse();
        assert_eq!(fill(&list), table);
    }

    /// Share of the buckets that may move beside those that have to.
    const MOST_BESIDE: f64 = 0.002;

    #[test]
    fn one_member_less_moves_little_else() {
        let before = fill(&members(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]));
        let after = fill(&members(&[("a", 1), ("b", 1), ("c", 1)]));
        let others = before.rows.iter().zip(&after.rows).filter(|(b, _)| Row::from_bits(**b).opener() != 4);
        let (moved, all) = others.fold((0, 0), |(moved, all), (b, a)| (moved + i32::from(a != b), all + 1));
        assert!(f64::from(moved) / f64::from(all) < MOST_BESIDE, "{moved} of {all}");
    }

    /// New flows go elsewhere only as the shares have it, but for a few: a weight's change resets nobody, yet each flow that
    /// opens elsewhere is one more for whom rows have two members.
    #[test]
    fn another_weight_moves_little_more_than_it_has_to() {
        for (before, after) in [
            ([100, 100, 100, 100], [100, 100, 100, 50]),
            ([100, 100, 100, 100], [100, 100, 100, 0]),
            ([100, 100, 100, 100], [100, 100, 100, 300]),
            ([100, 0, 100, 100], [100, 1, 100, 100]),
            ([100, 50, 20, 10], [100, 50, 20, 20]),
            ([1000, 1, 500, 10], [1000, 1, 400, 10]),
        ] {
            let members = |weights: [u32; 4]| {
                let names = ["edge-1", "edge-2", "edge-3", "edge-4"];
                members(&names.into_iter().zip(weights).collect::<Vec<_>>())
            };
            let [old, new] = [before, after].map(|weights| fill(&members(weights)).rows);
            let moved = old.iter().zip(new.iter()).filter(|(one, other)| one != other).count();
            let [old, new] = [before, after].map(|weights| shares(&members(weights)));
            let gains = new.iter().map(|(id, share)| (share - old.get(id).unwrap_or(&0.0)).max(0.0));
            let beside = moved as f64 / f64::from(BUCKETS) - gains.sum::<f64>();
            assert!(beside < MOST_BESIDE, "{before:?} to {after:?}: {beside}");
        }
    }

    /// A release that changes a table breaks connections on every rolling update.
    #[test]
    fn tables_are_golden() {
        const MIXED: [u32; 5] = [100, 50, 0, 300, 1];
        for (count, weights, digest) in [
            (3, [100, 100, 50].as_slice(), 0x62e3_37fd_0eaf_6b7c),
            (1, &[100], 0x4dbb_286e_4451_87b0),
            (2, &[100], 0x488f_e5fa_275b_d37f),
            (3, &[100], 0xda1c_561f_da94_816d),
            (7, &[100], 0xe6e0_1e4d_f1fe_1161),
            (64, &[100], 0x875d_e48f_6604_9cdc),
            (256, &[100], 0xfd39_b878_8e8d_e2f8),
            (2, &MIXED, 0x4c20_7294_02ff_cdcc),
            (7, &MIXED, 0xbab0_f020_c831_c5df),
            (64, &MIXED, 0x8dec_c6a3_45df_bb86),
            (256, &MIXED, 0x50a3_4270_76a4_1964),
        ] {
            let names: Vec<_> = (1..=count).map(|number| format!("edge-{number}")).collect();
            let weights = weights.iter().copied().cycle();
            let list: Vec<_> = names.iter().map(String::as_str).zip(weights).collect();
            let table = fill(&members(&list));
            assert_eq!(table.digest, digest, "{list:?}: {:#x}", table.digest);
        }
    }
}
