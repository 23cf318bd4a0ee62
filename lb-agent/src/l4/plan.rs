//! From what the kernel holds to what it should hold: an ordered list of writes, pure. The order keeps every
//! moment in between consistent: what is pointed at is there before what points at it, and goes after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::map::{Config, MAX_SERVICES, Member, Service, TABLE_SLOTS, TableHead, config};
use lb_common::row::MemberId;

use super::L4Error;
use super::maglev::Table;
use super::wanted::{Key, Wanted};

/// What the kernel holds now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Installed {
    /// The configuration.
    pub config: Config,
    /// Services and VIPs with their slots.
    pub services: BTreeMap<Key, Service>,
    /// Known members.
    pub members: BTreeMap<MemberId, Member>,
    /// The heads of the tables that are in force.
    pub tables: BTreeMap<u32, TableHead>,
}

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Adds or changes a member.
    SetMember(MemberId, Member),
    /// Writes rows into a slot that is not in force.
    WriteRows(u32, Arc<Table>),
    /// Puts a slot in force.
    SetTable(u32, TableHead),
    /// Changes the configuration.
    SetConfig(Config),
    /// Zeroes the counters of a slot before a new service uses it.
    ClearTraffic(u32),
    /// Adds or changes a service or VIP.
    SetService(Key, Service),
    /// Removes a service or VIP.
    RemoveService(Key),
    /// Removes a member.
    RemoveMember(MemberId),
}

/// The writes that lead from `installed` to `wanted`; none if they agree.
///
/// # Errors
/// `L4Error::TooManyServices` if the maps are too small.
pub fn plan(installed: &Installed, wanted: &Wanted) -> Result<Vec<Operation>, L4Error> {
    let mut operations = Vec::new();
    set_members(installed, wanted, &mut operations);
    write_tables(installed, wanted, &mut operations);
    set_config(&installed.config, &wanted.config, &mut operations);
    set_services(installed, wanted, &mut operations)?;
    for &id in installed.members.keys().filter(|id| !wanted.members.contains_key(id)) {
        operations.push(Operation::RemoveMember(id));
    }
    Ok(operations)
}

/// A packet that went by one half of a key and one half of another could be refused by a node that does not have its
/// flow: while the key in force is written, nothing is decided.
fn set_config(installed: &Config, wanted: &Config, operations: &mut Vec<Operation>) {
    if installed == wanted {
        return;
    }
    if installed.flags & config::READY != 0 && installed.key != wanted.key {
        let stopped = |found: &Config| Config { flags: found.flags & !config::READY, ..*found };
        operations.extend([installed, wanted].map(stopped).map(Operation::SetConfig));
    }
    operations.push(Operation::SetConfig(*wanted));
}

fn set_members(installed: &Installed, wanted: &Wanted, operations: &mut Vec<Operation>) {
    for (&id, member) in &wanted.members {
        if installed.members.get(&id) != Some(member) {
            operations.push(Operation::SetMember(id, *member));
        }
    }
}

fn write_tables(installed: &Installed, wanted: &Wanted, operations: &mut Vec<Operation>) {
    for (&number, table) in &wanted.tables {
        let slot = match installed.tables.get(&number) {
            Some(head) if head.digest == table.digest => continue,
            Some(head) => other_slot(number, head.slot),
            None => number * TABLE_SLOTS,
        };
        operations.push(Operation::WriteRows(slot, Arc::clone(table)));
        let head = TableHead { slot, generation: wanted.generation as u32, digest: table.digest };
        operations.push(Operation::SetTable(number, head));
    }
}

fn other_slot(table: u32, slot: u32) -> u32 {
    let first = table * TABLE_SLOTS;
    if slot == first { first + 1 } else { first }
}

/// The source leaves out what would not fit: one Service too many must not keep all others from changing.
const _: () = assert!(crate::model::MOST_SERVICES == MAX_SERVICES as usize);

/// Services go before others come, so that a change at full maps finds room.
fn set_services(
    installed: &Installed,
    wanted: &Wanted,
    operations: &mut Vec<Operation>,
) -> Result<(), L4Error> {
    let limit = MAX_SERVICES as usize;
    if wanted.services.len() > limit {
        return Err(L4Error::TooManyServices { wanted: wanted.services.len(), limit });
    }
    for &key in installed.services.keys().filter(|key| !wanted.services.contains_key(key)) {
        operations.push(Operation::RemoveService(key));
    }
    let kept = installed.services.iter().filter(|(key, _)| wanted.services.contains_key(key));
    let mut taken = vec![false; limit];
    for (_, service) in kept {
        taken[service.index as usize] = true;
    }
    let mut free = (0..MAX_SERVICES).filter(|&index| !taken[index as usize]);
    for (&key, target) in &wanted.services {
        let old = installed.services.get(&key);
        let index = match old {
            Some(service) => service.index,
            None => free.next().ok_or(L4Error::TooManyServices { wanted: limit + 1, limit })?,
        };
        let service = Service { index, table: target.table, flags: target.flags, zero: 0 };
        if old.is_none() {
            operations.push(Operation::ClearTraffic(index));
        }
        if old != Some(&service) {
            operations.push(Operation::SetService(key, service));
        }
    }
    Ok(())
}

/// Has each operation written, and keeps `installed` beside it. Those services for which there is no place are left
/// out, and told: the others need not suffer for them.
///
/// # Errors
/// The first other error; what was written before it is in `installed`.
pub fn carry_out(
    operations: &[Operation],
    installed: &mut Installed,
    mut write: impl FnMut(&Operation) -> Result<(), L4Error>,
) -> Result<BTreeSet<Key>, L4Error> {
    let mut left_out = BTreeSet::new();
    for operation in operations {
        match (write(operation), operation) {
            (Ok(()), _) => installed.apply(operation),
            (Err(L4Error::ServiceTableCrowded), Operation::SetService(key, _)) => {
                left_out.insert(*key);
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(left_out)
}

impl Installed {
    /// What the kernel holds after an operation: kept beside the kernel's maps, so that they need not be read back.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::SetMember(id, member) => {
                self.members.insert(*id, *member);
            }
            Operation::RemoveMember(id) => {
                self.members.remove(id);
            }
            Operation::SetConfig(config) => self.config = *config,
            Operation::SetService(key, service) => {
                self.services.insert(*key, *service);
            }
            Operation::RemoveService(key) => {
                self.services.remove(key);
            }
            Operation::SetTable(table, head) => {
                self.tables.insert(*table, *head);
            }
            // Rows count once a head points at them.
            Operation::WriteRows(..) | Operation::ClearTraffic(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use lb_common::hash::{FlowKey, KEY_WORDS};
    use lb_common::map::member;
    use proptest::prelude::*;

    use super::*;
    use crate::l4::wanted::Target;
    use crate::model::{Protocol, ServiceAddress};

    fn wanted(members: &[(u16, u32)], ports: &[(u16, u32)], rows: u64) -> Wanted {
        let vip = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
        let service = |port| Key::Service(ServiceAddress { vip, port, protocol: Protocol::Tcp });
        Wanted {
            config: Config { member: members.first().map_or(0, |m| m.0), ..Config::default() },
            services: ports
                .iter()
                .map(|&(port, flags)| (service(port), Target { table: 0, flags }))
                .collect(),
            members: members
                .iter()
                .map(|&(id, ifindex)| (id, Member { ifindex, flags: member::KNOWN, ..Member::default() }))
                .collect(),
            tables: BTreeMap::from([(0, Arc::new(Table::new(vec![rows; 4].into())))]),
            generation: rows,
        }
    }

    fn agrees(installed: &Installed, wanted: &Wanted) -> bool {
        let services: BTreeMap<_, _> = installed
            .services
            .iter()
            .map(|(&key, service)| (key, Target { table: service.table, flags: service.flags }))
            .collect();
        let digests = installed.tables.iter().map(|(&table, head)| (table, head.digest));
        installed.config == wanted.config
            && services == wanted.services
            && installed.members == wanted.members
            && digests.eq(wanted.tables.iter().map(|(&table, wanted)| (table, wanted.digest)))
    }

    fn reach(installed: &mut Installed, wanted: &Wanted) -> Vec<Operation> {
        let operations = plan(installed, wanted).expect("fits");
        assert_eq!(carry_out(&operations, installed, |_| Ok(())).expect("written"), BTreeSet::new());
        operations
    }

    #[test]
    fn what_is_pointed_at_comes_first_and_goes_last() {
        let mut installed = Installed::default();
        reach(&mut installed, &wanted(&[(1, 1), (2, 1)], &[(80, 1)], 1));
        let operations = reach(&mut installed, &wanted(&[(2, 1), (3, 1)], &[(443, 1)], 2));
        let place = |wanted: fn(&Operation) -> bool| operations.iter().position(wanted).expect("planned");
        let added = place(|op| matches!(op, Operation::SetMember(3, _)));
        let written = place(|op| matches!(op, Operation::WriteRows(..)));
        let switched = place(|op| matches!(op, Operation::SetTable(..)));
        let removed = place(|op| matches!(op, Operation::RemoveMember(1)));
        assert!(added < written && written < switched && switched < removed, "{operations:?}");
    }

    #[test]
    fn nothing_is_decided_while_the_key_in_force_is_written() {
        let mut installed = Installed::default();
        let [first, second] = [1, 2].map(|word| FlowKey::new([word; KEY_WORDS]));
        let mut writes = |key, other, flags| {
            let wanted =
                Wanted { config: Config { key, other, flags, ..Config::default() }, ..wanted(&[], &[], 1) };
            let configs =
                reach(&mut installed, &wanted).into_iter().filter_map(|operation| match operation {
                    Operation::SetConfig(Config { key, other, flags, .. }) => Some((key, other, flags)),
                    _ => None,
                });
            configs.collect::<Vec<_>>()
        };
        const BOTH: u32 = config::READY | config::TWO_KEYS;
        let none = FlowKey::default();
        assert_eq!(writes(first, none, config::READY), [(first, none, config::READY)]);
        assert_eq!(writes(first, second, BOTH), [(first, second, BOTH)]);
        assert_eq!(
            writes(second, first, BOTH),
            [(first, second, config::TWO_KEYS), (second, first, config::TWO_KEYS), (second, first, BOTH)]
        );
        assert_eq!(writes(second, none, config::READY), [(second, none, config::READY)]);
    }

    #[test]
    fn rows_go_to_the_slot_that_is_not_in_force() {
        let mut installed = Installed::default();
        let mut slots = Vec::new();
        for rows in 1..4 {
            for operation in reach(&mut installed, &wanted(&[(1, 1)], &[], rows)) {
                if let Operation::WriteRows(slot, _) = operation {
                    slots.push(slot);
                }
            }
        }
        assert_eq!(slots, [0, 1, 0]);
    }

    #[test]
    fn a_service_without_a_place_does_not_keep_others_out() {
        let mut installed = Installed::default();
        let wanted = wanted(&[(1, 1)], &[(80, 1), (443, 1), (8443, 1)], 1);
        let is_crowded = |key: &Key| matches!(key, Key::Service(ServiceAddress { port: 443, .. }));
        for _ in 0..2 {
            let operations = plan(&installed, &wanted).expect("fits");
            let left_out = carry_out(&operations, &mut installed, |operation| match operation {
                Operation::SetService(key, _) if is_crowded(key) => Err(L4Error::ServiceTableCrowded),
                _ => Ok(()),
            });
            let left_out = left_out.expect("the others are written");
            assert!(left_out.len() == 1 && left_out.iter().all(is_crowded), "{left_out:?}");
            assert_eq!(installed.services.len(), 2);
        }
        // As soon as there is room again.
        reach(&mut installed, &wanted);
        assert!(agrees(&installed, &wanted));
    }

    #[test]
    fn another_error_ends_it() {
        let mut installed = Installed::default();
        let operations = plan(&installed, &wanted(&[(1, 1)], &[], 1)).expect("fits");
        let error = carry_out(&operations, &mut installed, |operation| match operation {
            Operation::SetMember(..) => Ok(()),
            _ => Err(L4Error::TooManyServices { wanted: 2, limit: 1 }),
        });
        assert!(error.is_err());
        assert_eq!((installed.members.len(), installed.tables.len()), (1, 0), "as far as it came");
    }

    #[test]
    fn too_many_services_are_refused_before_anything_is_written() {
        let ports: Vec<_> = (0..=MAX_SERVICES).map(|port| (port as u16, port)).collect();
        let many = wanted(&[], &ports, 1);
        assert!(many.services.len() > MAX_SERVICES as usize);
        let error = plan(&Installed::default(), &many).expect_err("too many");
        assert!(error.to_string().contains("8193"), "{error}");
    }

    type Members = Vec<(u16, u32)>;

    fn state() -> impl Strategy<Value = (Members, Members, u64)> {
        let list = || prop::collection::vec((1_u16..6, 0_u32..3), 0..6);
        (list(), list(), 0_u64..3)
    }

    proptest! {
        #[test]
        fn plans_arrive_and_are_empty_when_there(history in prop::collection::vec(state(), 1..8)) {
            let mut installed = Installed::default();
            for (members, ports, rows) in history {
                let wanted = wanted(&members, &ports, rows);
                let kept = installed.services.clone();
                reach(&mut installed, &wanted);
                prop_assert!(agrees(&installed, &wanted));
                prop_assert_eq!(plan(&installed, &wanted).expect("fits"), vec![]);
                let mut indices: Vec<_> = installed.services.values().map(|service| service.index).collect();
                indices.sort_unstable();
                indices.dedup();
                prop_assert_eq!(indices.len(), installed.services.len(), "each service has its own counters");
                for (key, service) in &installed.services {
                    if let Some(old) = kept.get(key) {
                        prop_assert_eq!(old.index, service.index, "counters go on");
                    }
                }
            }
        }
    }
}
