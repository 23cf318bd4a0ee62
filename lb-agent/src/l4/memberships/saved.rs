//! A node's own history, and who was away, across agents: what was in force when one ends is so when the next begins.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::NO_MEMBER;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::absences::{Absence, Absences};
use super::former::Former;
use super::own_history::OwnHistory;
use crate::model::{Generation, Member, Step};

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Kept {
    /// None where a history is told.
    pub(super) own: Option<OwnHistory>,
    pub(super) absences: Absences,
}

impl Kept {
    /// Whether the file would say the same: what waits, and who needs what, is found anew.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        let own = |kept: &Self| kept.own.as_ref().map(OwnHistory::generations);
        let over = |kept: &Self| {
            let one = |Absence { former, is_weighty }: &Absence| {
                (Arc::clone(&former.generation), former.since, *is_weighty)
            };
            kept.absences.over.iter().map(one).collect::<Vec<_>>()
        };
        let down = |kept: &Self| (kept.absences.since, kept.absences.down.clone());
        down(self) == down(other) && over(self) == over(other) && own(self) == own(other)
    }
}

/// The file. Times are seconds of the clock that runs while the machine does.
#[derive(Serialize, Deserialize)]
struct File {
    former: Vec<Membership>,
    in_force: Option<Membership>,
    learned: Option<Membership>,
    /// What was in force while members were down. An agent of before did not keep it.
    #[serde(default)]
    absences: Vec<Membership>,
    #[serde(default)]
    down: BTreeSet<u16>,
    #[serde(default)]
    down_since: f64,
}

#[derive(Serialize, Deserialize)]
struct Membership {
    number: u64,
    since: f64,
    members: Vec<Entry>,
    /// An agent of before named no member that was absent.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    absent: BTreeSet<u16>,
    /// Of an absence: whether flows came in here meanwhile, for more than a moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    weighty: bool,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    id: u16,
    address: IpAddr,
    weight: u32,
}

/// Nothing if there is none, or it makes no sense: then the first membership is in force at once.
pub(super) fn read(file: &Path, now: Duration) -> Kept {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Kept::default(),
        Err(error) => {
            warn!(file = %file.display(), %error, "who was a member before this start is not known");
            return Kept::default();
        }
    };
    let saved = serde_json::from_slice(&text).map_err(|error| error.to_string());
    match saved.and_then(|saved: File| saved.check().map(|()| saved)) {
        Ok(saved) => kept(saved, now),
        Err(error) => {
            warn!(file = %file.display(), error, "who was a member before this start is not known");
            Kept::default()
        }
    }
}

impl File {
    /// People can edit it. What does not fit together would fill rows with it.
    fn check(&self) -> Result<(), String> {
        let mut last = 0;
        for membership in self.former.iter().chain(&self.in_force).chain(&self.learned) {
            let number = membership.number;
            if number <= last {
                return Err(format!("membership {number} follows {last}"));
            }
            last = number;
            membership.check()?;
        }
        self.absences.iter().try_for_each(Membership::check)
    }
}

impl Membership {
    fn check(&self) -> Result<(), String> {
        let Self { number, members, .. } = self;
        let ids: BTreeSet<_> = members.iter().map(|member| member.id).collect();
        let names: BTreeSet<_> = members.iter().map(|member| &member.name).collect();
        if ids.contains(&NO_MEMBER) {
            return Err(format!("membership {number} has a member without an id"));
        }
        if [ids.len(), names.len()] != [members.len(); 2] {
            return Err(format!("membership {number} has two members with one name or id"));
        }
        Ok(())
    }
}

/// In one step; what cannot be saved is lost for the next agent only.
pub(super) fn write(file: &Path, kept: &Kept) {
    let draft = file.with_extension("new");
    let text = serde_json::to_vec(&saved(kept)).expect("plain data has a JSON form");
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(&draft, text)).and_then(|()| fs::rename(&draft, file));
    if let Err(error) = written {
        warn!(file = %file.display(), %error, "the next agent will not know who was a member before");
    }
}

fn kept(saved: File, now: Duration) -> Kept {
    // Another start of the machine had another clock.
    let time = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(now).min(now);
    let read = |membership: Membership, step| {
        let since = time(membership.since);
        let member =
            |Entry { name, id, address, weight }| (name.clone(), Member { name, id, address, weight });
        let members: BTreeMap<_, _> = membership.members.into_iter().map(member).collect();
        let Membership { number, absent, .. } = membership;
        (Arc::new(Generation { absent, ..Generation::new(number, step, members) }), since)
    };
    let settled = |saved: Vec<Membership>| -> Vec<_> {
        let all = saved.into_iter().map(|membership| read(membership, Step::Settled));
        all.map(|(generation, since)| Former::new(generation, since)).collect()
    };
    let weights: Vec<bool> = saved.absences.iter().map(|absence| absence.weighty).collect();
    let over = settled(saved.absences).into_iter().zip(weights);
    let over = over.map(|(former, is_weighty)| Absence { former, is_weighty }).collect();
    let absences = Absences { down: saved.down, over, since: time(saved.down_since) };
    let former = settled(saved.former);
    let step = if former.is_empty() { Step::Settled } else { Step::Switch };
    let own = saved.in_force.map(|in_force| OwnHistory {
        former,
        in_force: Some(read(in_force, step).0),
        learned: saved.learned.map(|learned| read(learned, Step::Learn)),
        ..OwnHistory::default()
    });
    Kept { own, absences }
}

fn saved(Kept { own, absences }: &Kept) -> File {
    let membership = |generation: &Generation, since: Duration| Membership {
        number: generation.number,
        since: since.as_secs_f64(),
        members: generation.members.values().map(entry).collect(),
        absent: generation.absent.clone(),
        weighty: false,
    };
    let former = |all: &[Former]| all.iter().map(|one| membership(&one.generation, one.since)).collect();
    let absence = |Absence { former, is_weighty }: &Absence| Membership {
        weighty: *is_weighty,
        ..membership(&former.generation, former.since)
    };
    let in_force = own.as_ref().and_then(|own| own.in_force.as_deref());
    let learned = own.as_ref().and_then(|own| own.learned.as_ref());
    File {
        former: own.as_ref().map_or_else(Vec::new, |own| former(&own.former)),
        in_force: in_force.map(|in_force| membership(in_force, Duration::ZERO)),
        learned: learned.map(|(learned, since)| membership(learned, *since)),
        absences: absences.over.iter().map(absence).collect(),
        down: absences.down.clone(),
        down_since: absences.since.as_secs_f64(),
    }
}

fn entry(member: &Member) -> Entry {
    let Member { name, id, address, weight } = member.clone();
    Entry { name, id, address, weight }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn generation(number: u64, step: Step, ids: &[u16]) -> Arc<Generation> {
        let member = |&id: &u16| {
            let name = format!("edge-{id}");
            let address = Ipv4Addr::new(198, 51, 100, id as u8).into();
            (name.clone(), Member { name, id, address, weight: 100 })
        };
        Arc::new(Generation::new(number, step, ids.iter().map(member).collect()))
    }

    /// The file as people could edit it.
    fn of(former: &str, in_force: &str) -> String {
        format!(r#"{{"former":{former},"in_force":{in_force},"learned":null}}"#)
    }

    /// With members of these ids and addresses.
    fn membership(number: u64, members: &[(u16, u8)]) -> String {
        let member = |(id, host): &(u16, u8)| {
            format!(r#"{{"name":"edge-{id}-{host}","id":{id},"address":"198.51.100.{host}","weight":1}}"#)
        };
        let members: Vec<_> = members.iter().map(member).collect();
        format!(r#"{{"number":{number},"since":1.0,"members":[{}]}}"#, members.join(","))
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("state/memberships.json");
        let now = Duration::from_secs(100);
        assert_eq!(read(&file, now), Kept::default());
        let own = OwnHistory {
            former: vec![Former::new(generation(1, Step::Settled, &[1]), now / 2)],
            in_force: Some(generation(2, Step::Switch, &[1, 2])),
            learned: Some((generation(3, Step::Learn, &[1, 2, 3]), now)),
            ..OwnHistory::default()
        };
        let absence = Generation {
            absent: BTreeSet::from([2]),
            ..Generation::clone(&generation(2, Step::Settled, &[1, 2]))
        };
        let former = Former::new(Arc::new(absence), now / 2);
        let over = vec![Absence { former, is_weighty: true }];
        let absences = Absences { down: BTreeSet::from([2]), over, since: now / 4 };
        let of_a_cluster = Kept { own: None, absences: absences.clone() };
        let kept = Kept { own: Some(own), absences };
        for kept in [of_a_cluster, kept] {
            write(&file, &kept);
            assert_eq!(read(&file, now), kept);
        }
        let rebooted = read(&file, Duration::from_secs(10)).own.expect("it is there");
        assert_eq!(rebooted.former[0].since, Duration::from_secs(10), "no time in the future");
        let absent = format!(r#"null,"absences":[{}]"#, membership(1, &[(0, 1)]));
        for edited in [
            "{".to_owned(),
            of("[]", &membership(1, &[(1, 1)])).replace("null", &absent),
            of("[]", &membership(1, &[(1, 1), (1, 2)])),
            of("[]", &membership(1, &[(0, 1)])),
            of("[]", &membership(0, &[(1, 1)])),
            of(&format!("[{0},{0}]", membership(1, &[(1, 1)])), &membership(2, &[(1, 1)])),
            of(&format!("[{}]", membership(2, &[(1, 1)])), &membership(1, &[(1, 1)])),
        ] {
            fs::write(&file, &edited).expect("writable");
            assert_eq!(read(&file, now), Kept::default(), "what makes no sense is not there: {edited}");
        }
        fs::write(&file, of("[]", &membership(1, &[(1, 1), (2, 2)]))).expect("writable");
        assert!(read(&file, now).own.is_some(), "of an agent that kept no absences");
    }
}
