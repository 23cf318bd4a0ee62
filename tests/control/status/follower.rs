//! What goes into the kernel of a node that has none, by the history.

use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client};
use lb_agent::api::{EdgeMembership, MembershipGeneration};
use lb_agent::model::{FlowKeys, Generation, Loaded, Mark, Step};
use tokio::sync::watch;
use tokio::time::sleep;

/// The packet path of a test: what the history says is in the kernel at once, with rows that depend on it alone. What a
/// test says of connections stays.
pub(super) async fn follow(client: Client, loaded: watch::Sender<Loaded>, keys: watch::Sender<FlowKeys>) {
    let histories: Api<EdgeMembership> = Api::all(client);
    loop {
        if let Ok(Some(history)) = histories.get_opt(EdgeMembership::NAME).await
            && let Some(membership) = followed(&keys, &history)
        {
            let generations = history.spec.generations.iter();
            let members =
                generations.flat_map(|generation| generation.members.iter().map(|member| member.id));
            let marks = [membership.number, membership.step as u64, membership.oldest].into_iter();
            let parts = members.map(u64::from).chain(marks);
            let rows = parts.fold(7, |digest: u64, part| digest.wrapping_mul(31).wrapping_add(part));
            loaded.send_if_modified(|before| {
                let now = Loaded { generation: 1, membership, rows: Some(rows), ..*before };
                std::mem::replace(before, now) != now
            });
        }
        sleep(Duration::from_millis(30)).await;
    }
}

/// Goes by the keys that a history names; what the node acknowledges then.
fn followed(keys: &watch::Sender<FlowKeys>, history: &EdgeMembership) -> Option<Mark> {
    let generation = |generation: &MembershipGeneration| {
        let step = [Step::Learn, Step::Switch, Step::Settled][generation.step as usize];
        let key = generation.flow_key.map(|key| key.0);
        Arc::new(Generation { number: generation.number, step, key, ..Generation::default() })
    };
    let generations: Vec<_> = history.spec.generations.iter().map(generation).collect();
    let now = keys.borrow().clone();
    let followed = now.keys?.follow(&generations, now.given);
    let now = FlowKeys { keys: Some(followed.keys), lacks: followed.lacks, ..now };
    keys.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
    (followed.lacks.is_none() && !generations.is_empty()).then(|| Mark::of(&followed.known))
}
