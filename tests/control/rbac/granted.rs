//! What the server says that the accounts of `deploy` may do, in full.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::{Profile, ship};
use crate::shipped::{DEMO, NAMESPACE, Shipped};

/// What an agent may do in every namespace, and with what has none.
const EVERYWHERE: [&str; 9] = [
    "configmaps,namespaces,nodes,services: get,list,watch",
    "endpointslices.discovery.k8s.io: get,list,watch",
    "edgememberships,ingressparameters.edgelb.dev: get,list,watch",
    "edgememberships.edgelb.dev: create",
    "edgememberships[edgelb].edgelb.dev: update",
    "events.events.k8s.io: create,patch",
    "ingressclasses,ingresses.networking.k8s.io: get,list,watch",
    "ingresses/status.networking.k8s.io: patch",
    "services/status: patch",
];

/// Besides, in its own namespace.
const AT_HOME: [&str; 2] = [
    "leases.coordination.k8s.io: create,delete,get,list,update,watch",
    "secrets[edgelb-keys]: get,list,update,watch",
];

/// Besides, with profile `cluster`.
const ALL_SECRETS: &str = "secrets: get,list,watch";

/// Besides, with profile `named`, where somebody wishes so.
const NAMED_SECRET: &str = "secrets[shop-tls]: get,list,watch";

/// What the uninstaller may do everywhere, and at home.
const UNINSTALL: [&str; 5] = [
    "edgememberships[edgelb].edgelb.dev: delete",
    "ingresses.networking.k8s.io: list",
    "ingresses/status.networking.k8s.io: patch",
    "services: list",
    "services/status: patch",
];
const UNINSTALL_AT_HOME: &str = "leases.coordination.k8s.io: delete,list";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_may_do_what_is_listed_and_nothing_else() -> Result<()> {
    for profile in [Profile::Cluster, Profile::Named] {
        let shipped = tokio::task::block_in_place(|| ship(profile))?;
        let nobody = account(&shipped, "nobody").await?;
        let (agent, uninstall) =
            (account(&shipped, "edgelb").await?, account(&shipped, "edgelb-uninstall").await?);
        for namespace in [NAMESPACE, "default", "kube-system", DEMO] {
            let all = rules(&nobody, namespace).await?;
            let own = async |client| anyhow::Ok(&rules(client, namespace).await? - &all);
            let expected = expected(profile, namespace);
            assert_eq!(own(&agent).await?, expected, "profile {profile}, namespace {namespace}");
            let mut expected = set(&UNINSTALL);
            expected.extend((namespace == NAMESPACE).then(|| UNINSTALL_AT_HOME.to_owned()));
            assert_eq!(own(&uninstall).await?, expected, "uninstall, namespace {namespace}");
        }
        answers(&agent, profile).await?;
    }
    Ok(())
}

fn expected(profile: Profile, namespace: &str) -> BTreeSet<String> {
    let mut expected = set(&EVERYWHERE);
    expected.extend(set(if namespace == NAMESPACE { &AT_HOME } else { &[] }));
    match profile {
        Profile::Cluster => _ = expected.insert(ALL_SECRETS.to_owned()),
        Profile::Named => expected.extend((namespace == DEMO).then(|| NAMED_SECRET.to_owned())),
    }
    expected
}

/// Single questions, as the server decides each request: the lists above are what they are asked of.
async fn answers(agent: &Client, profile: Profile) -> Result<()> {
    let is_cluster = profile == Profile::Cluster;
    for (allowed, verb, (group, resource, subresource), namespace, name) in [
        (true, "watch", ("networking.k8s.io", "ingresses", ""), "", ""),
        (true, "update", ("edgelb.dev", "edgememberships", ""), "", "edgelb"),
        (true, "patch", ("", "services", "status"), DEMO, "web"),
        (true, "update", ("", "secrets", ""), NAMESPACE, "edgelb-keys"),
        (true, "watch", ("", "secrets", ""), DEMO, "shop-tls"),
        (is_cluster, "watch", ("", "secrets", ""), "", ""),
        (is_cluster, "get", ("", "secrets", ""), DEMO, "other"),
        (is_cluster, "list", ("", "secrets", ""), NAMESPACE, ""),
        (false, "create", ("", "secrets", ""), NAMESPACE, ""),
        (false, "update", ("", "secrets", ""), DEMO, "shop-tls"),
        (false, "delete", ("", "secrets", ""), NAMESPACE, "edgelb-keys"),
        (false, "update", ("", "services", ""), DEMO, "web"),
        (false, "patch", ("networking.k8s.io", "ingresses", ""), DEMO, "shop"),
        (false, "update", ("edgelb.dev", "edgememberships", ""), "", "other"),
        (false, "delete", ("edgelb.dev", "edgememberships", ""), "", "edgelb"),
        (false, "patch", ("", "nodes", ""), "", "node-1"),
        (false, "create", ("", "pods", ""), NAMESPACE, ""),
        (false, "create", ("", "pods", "exec"), NAMESPACE, "edgelb-1"),
        (false, "get", ("", "pods", ""), DEMO, "web-1"),
        (false, "update", ("coordination.k8s.io", "leases", ""), "kube-system", "kube-scheduler"),
        (false, "create", ("", "serviceaccounts", "token"), NAMESPACE, "edgelb"),
        (false, "bind", ("rbac.authorization.k8s.io", "clusterroles", ""), "", "cluster-admin"),
        (false, "impersonate", ("", "users", ""), "", "admin"),
    ] {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let attributes = ResourceAttributes {
            verb: text(verb),
            group: text(group),
            resource: text(resource),
            subresource: text(subresource),
            namespace: text(namespace),
            name: text(name),
            ..ResourceAttributes::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let answer = Api::all(agent.clone()).create(&PostParams::default(), &review).await?;
        let said = answer.status.unwrap_or_default();
        ensure!(
            said.allowed == allowed,
            "profile {profile}: {verb} {resource}/{subresource} {namespace}/{name}: {said:?}"
        );
    }
    Ok(())
}

async fn account(shipped: &Shipped, name: &str) -> Result<Client> {
    let user = format!("system:serviceaccount:{NAMESPACE}:{name}");
    let groups =
        ["system:serviceaccounts", &format!("system:serviceaccounts:{NAMESPACE}"), "system:authenticated"];
    shipped.control_plane.client_as(&user, &groups).await
}

/// `resource.group[names]: verbs`, each in order.
async fn rules(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = answer.status.unwrap_or_default();
    let rest = status.non_resource_rules.into_iter().map(|rule| {
        let paths = rule.non_resource_urls.unwrap_or_default().join(",");
        format!("{paths}: {}", rule.verbs.join(","))
    });
    Ok(status.resource_rules.into_iter().map(line).chain(rest).collect())
}

fn line(rule: ResourceRule) -> String {
    let sorted = |listed: Option<Vec<String>>| {
        let mut listed = listed.unwrap_or_default();
        listed.sort_unstable();
        listed.join(",")
    };
    let ResourceRule { api_groups, resource_names, resources, verbs } = rule;
    let (group, names) = (sorted(api_groups), sorted(resource_names));
    let group = if group.is_empty() { group } else { format!(".{group}") };
    let names = if names.is_empty() { names } else { format!("[{names}]") };
    format!("{}{names}{group}: {}", sorted(resources), sorted(Some(verbs)))
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}
