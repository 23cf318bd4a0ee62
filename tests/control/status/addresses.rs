//! `status.loadBalancer`: who writes it, how often, and what others find there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use lb_agent::model::{Kind, ObjectRef, Published, Report};
use lb_tests::cluster::{Matching, Write};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::cluster::{Cluster, PATIENCE};

const VIP: &str = "203.0.113.10";

/// The source of a test: follows all Ingresses, and wants the same addresses for each.
struct Source {
    store: reflector::Store<Ingress>,
    running: JoinHandle<()>,
}

impl Source {
    async fn start(client: Client) -> Result<Self> {
        let (store, writer) = reflector::store();
        let events = watcher(Api::<Ingress>::all(client), watcher::Config::default());
        let following = reflector(writer, events).default_backoff();
        let running = tokio::spawn(following.for_each(|_| std::future::ready(())));
        store.wait_until_ready().await?;
        Ok(Self { store, running })
    }

    fn report(&self, wanted: &Arc<[IpAddr]>) -> Report {
        let addresses = self.store.state().into_iter().map(|ingress| {
            let object =
                ObjectRef::new(Kind::Ingress, ingress.namespace().unwrap_or_default(), ingress.name_any());
            let is_current =
                addresses_of(&ingress) == wanted.iter().map(ToString::to_string).collect::<Vec<_>>();
            (object, Published { wanted: Some(Arc::clone(wanted)), is_current })
        });
        Report { addresses: addresses.collect(), ..Report::default() }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn addresses_of(ingress: &Ingress) -> Vec<String> {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let listed = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    listed.filter_map(|address| address.ip.clone()).collect()
}

fn ingress(name: &str) -> Ingress {
    let spec = json!({ "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } } });
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": name }, "spec": spec,
    });
    serde_json::from_value(object).expect("an Ingress")
}

async fn create(client: &Client, count: usize) -> Result<()> {
    let api: Api<Ingress> = Api::namespaced(client.clone(), "default");
    let create = |at| {
        let api = api.clone();
        async move { api.create(&PostParams::default(), &ingress(&format!("web-{at:05}"))).await.map(drop) }
    };
    stream::iter(0..count).map(create).buffer_unordered(16).try_collect::<()>().await?;
    Ok(())
}

fn vip(last: u8) -> Arc<[IpAddr]> {
    Arc::from([IpAddr::from([203, 0, 113, last])])
}

/// Keeps the report that agents see up to date for as long as it is polled.
async fn publish(cluster: &Cluster, source: &Source, wanted: &Arc<[IpAddr]>) -> ! {
    loop {
        let report = source.report(wanted);
        cluster.report.publish(report);
        sleep(Duration::from_millis(50)).await;
    }
}

async fn all_have(source: &Source, wanted: &Arc<[IpAddr]>, patience: Duration) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let left = source.report(wanted).addresses.values().filter(|published| !published.is_current).count();
        if left == 0 {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < patience, "{left} are not written after {patience:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn status_writes(cluster: &Cluster) -> Result<usize> {
    Ok(of_status(&cluster.control_plane.writes()?))
}

fn of_status(writes: &[Write]) -> usize {
    writes.iter().filter(|write| write.resource == "ingresses/status").count()
}

/// The bound of the design: at most one write for each and one in a hundred, and none on a second start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_ingress_is_written_once() -> Result<()> {
    const COUNT: usize = 1000;
    let cluster = Cluster::start(&[]).await?;
    create(&cluster.client, COUNT).await?;
    let source = Source::start(cluster.client.clone()).await?;
    let wanted = vip(10);
    let agent = cluster.agent("edge-1").await?;
    cluster.led_by(&["edge-1"]).await?;
    assert_eq!(status_writes(&cluster)?, 0, "nothing is written before the first report");
    let took = tokio::select! {
        took = all_have(&source, &wanted, PATIENCE * 10) => took?,
        never = publish(&cluster, &source, &wanted) => never,
    };
    let first = status_writes(&cluster)?;
    println!("{COUNT} Ingresses: {first} writes within {took:?}");
    ensure!((COUNT..=COUNT + COUNT / 100).contains(&first), "{first} writes");

    agent.stop().await?;
    // As the second one's own source has it once it has read everything.
    cluster.report.publish(source.report(&wanted));
    let _second = cluster.agent("edge-2").await?;
    cluster.led_by(&["edge-2"]).await?;
    tokio::select! {
        () = sleep(Duration::from_secs(5)) => {}
        never = publish(&cluster, &source, &wanted) => never,
    }
    assert_eq!(status_writes(&cluster)?, first, "a second start writes nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_changes_does_not_wait_for_the_rest() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    create(&cluster.client, 1000).await?;
    let source = Source::start(cluster.client.clone()).await?;
    let wanted = vip(10);
    let agent = cluster.agent("edge-1").await?;
    agent.fault.delay(Duration::from_millis(100));
    cluster.led_by(&["edge-1"]).await?;
    let api: Api<Ingress> = Api::namespaced(cluster.client.clone(), "default");
    let late = async {
        while of_status(&cluster.control_plane.writes_so_far()?) < 50 {
            sleep(Duration::from_millis(20)).await;
        }
        api.create(&PostParams::default(), &ingress("zoo")).await?;
        let start = Instant::now();
        while addresses_of(&api.get("zoo").await?) != [VIP] {
            ensure!(start.elapsed() < PATIENCE, "zoo has no address");
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        result = late => result?,
        never = publish(&cluster, &source, &wanted) => never,
    }
    let left = source.report(&wanted).addresses.values().filter(|published| !published.is_current).count();
    ensure!(left > 300, "{left} left: it waited for the rest");
    Ok(())
}

/// Conflicts, refusals and an overloaded server cost time, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    create(&cluster.client, 100).await?;
    let source = Source::start(cluster.client.clone()).await?;
    let agent = cluster.agent("edge-1").await?;
    cluster.led_by(&["edge-1"]).await?;
    for (last, code) in [(11, 429), (12, 500), (13, 409), (14, 503)] {
        agent.fault.answer(Matching::path("/ingresses/").writes(), code);
        let wanted = vip(last);
        tokio::select! {
            () = sleep(Duration::from_millis(1500)) => {}
            never = publish(&cluster, &source, &wanted) => never,
        }
        let asked = agent.fault.count(&Matching::path("/ingresses/").writes());
        ensure!(asked < 600, "{asked} requests to a server that says {code}");
        agent.fault.heal();
        agent.fault.forget();
        tokio::select! {
            took = all_have(&source, &wanted, PATIENCE) => drop(took?),
            never = publish(&cluster, &source, &wanted) => never,
        }
    }
    Ok(())
}

/// Services say that a proxy answers, what others wrote is taken over, and nothing is emptied when agents stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_for_a_proxy_and_stay_when_agents_go() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    let service: Service = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "edge" },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "edgelb.dev/ingress", "ports": [{ "port": 80 }],
            "allocateLoadBalancerNodePorts": false,
        },
    }))?;
    services.create(&PostParams::default(), &service).await?;
    let theirs =
        json!({ "status": { "loadBalancer": { "ingress": [{ "hostname": "elsewhere.example.org" }] } } });
    services.patch_status("edge", &PatchParams::default(), &Patch::Merge(theirs)).await?;

    let object = ObjectRef::new(Kind::Service, "default", "edge");
    let gone = [Kind::Service, Kind::Ingress].map(|kind| ObjectRef::new(kind, "default", "gone"));
    let wanted: Arc<[IpAddr]> = Arc::from([VIP.parse()?, "2001:db8:10::10".parse()?]);
    let published = Published { wanted: Some(wanted), is_current: false };
    let addresses = gone.into_iter().chain([object]).map(|object| (object, published.clone())).collect();
    cluster.report.publish(Report { addresses, ..Report::default() });
    let agent = cluster.agent("edge-1").await?;
    let expected = json!([{ "ip": VIP, "ipMode": "Proxy" }, { "ip": "2001:db8:10::10", "ipMode": "Proxy" }]);
    let found = async || {
        let service = services.get("edge").await?;
        let balancer = service.status.and_then(|status| status.load_balancer).context("it has a status")?;
        anyhow::Ok(serde_json::to_value(balancer.ingress)?)
    };
    let start = Instant::now();
    while found().await? != expected {
        ensure!(start.elapsed() < PATIENCE, "{}", found().await?);
        sleep(Duration::from_millis(20)).await;
    }
    agent.stop().await?;
    assert_eq!(found().await?, expected);
    let writes = cluster.control_plane.writes()?;
    let mut missing: Vec<_> = writes
        .iter()
        .filter(|write| write.name == "gone")
        .map(|write| (&write.resource, write.code))
        .collect();
    missing.sort();
    assert_eq!(missing.len(), 2, "what does not exist is not asked for again and again: {missing:?}");
    assert_eq!(services.get_opt("gone").await?, None);
    assert_eq!(Api::<Ingress>::namespaced(cluster.client.clone(), "default").get_opt("gone").await?, None);
    Ok(())
}
