//! The cluster itself: pods run, endpoints say how they are, a lost node is noticed, and nothing stays.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use lb_tests::cluster::{APP_IMAGE, Cluster, Settings, is_ready, run};
use lb_tests::lab::LABS;
use serde_json::json;

/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the app goes on to answer after SIGTERM.
const DRAIN: Duration = Duration::from_secs(3);

#[test]
fn a_cluster_runs_pods_and_notices_what_happens_to_them() -> Result<()> {
    let before = leftovers()?;
    let mut folder = PathBuf::new();
    run("cluster", &Settings::default(), |cluster| {
        folder = cluster.folder().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(cluster.control_plane.client())?;
        runtime.block_on(deploy(&client))?;
        runtime.block_on(pods_answer(cluster, &client))?;
        runtime.block_on(a_deleted_pod_serves_until_it_is_gone(&client))?;

        cluster.power_cut("node-3")?;
        runtime.block_on(node(&client, "node-3", false))?;
        cluster.switch_on("node-3")?;
        cluster.add_node()?;
        runtime.block_on(node(&client, "node-4", true))
    })?;
    ensure!(!folder.exists(), "{} is still there", folder.display());
    assert_eq!(leftovers()?, before);
    Ok(())
}

async fn deploy(client: &Client) -> Result<()> {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "terminationGracePeriodSeconds": 20,
                    "containers": [{
                        "name": "web",
                        "image": APP_IMAGE,
                        "imagePullPolicy": "Never",
                        "args": ["web"],
                        "env": [{ "name": "DRAIN", "value": format!("{}s", DRAIN.as_secs()) }],
                        "ports": [{ "containerPort": 8080 }],
                        "readinessProbe": {
                            "httpGet": { "path": "/ready", "port": 8080 }, "periodSeconds": 1,
                        },
                    }],
                },
            },
        },
    }))?;
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": "web" },
        "spec": {
            "selector": { "app": "web" },
            "ports": [{ "port": 80, "targetPort": 8080 }],
            "ipFamilyPolicy": "RequireDualStack",
        },
    }))?;
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &service).await?;
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment).await?;
    eventually("the app is available", async || {
        let status = deployments.get("web").await?.status.unwrap_or_default();
        ensure!(status.available_replicas == Some(2), "{status:?}");
        Ok(())
    })
    .await
}

/// Each pod by its own addresses from the client behind the router, and the Service by kube-proxy from a node.
async fn pods_answer(cluster: &Cluster, client: &Client) -> Result<()> {
    let pods =
        Api::<Pod>::default_namespaced(client.clone()).list(&ListParams::default().labels("app=web")).await?;
    for pod in &pods {
        let addresses = pod.status.as_ref().and_then(|status| status.pod_ips.clone()).unwrap_or_default();
        assert_eq!(addresses.len(), 2, "both families");
        for address in addresses {
            let to = format!("{}:8080", bracketed(&address.ip)).parse()?;
            cluster.client.connect(to, Duration::from_secs(5)).with_context(|| format!("{to}"))?;
        }
    }
    let service = Api::<Service>::default_namespaced(client.clone()).get("web").await?;
    let addresses = service.spec.and_then(|spec| spec.cluster_ips).unwrap_or_default();
    assert_eq!(addresses.len(), 2, "both families");
    for address in addresses {
        let to = format!("{}:80", bracketed(&address)).parse()?;
        let node = cluster.node("node-1")?.namespace()?;
        eventually("kube-proxy knows the service", async || {
            node.connect(to, Duration::from_secs(5)).map(drop).with_context(|| format!("{to}"))
        })
        .await?;
    }
    let (there, said) = cluster.node("node-2")?.output(&["mount"])?;
    ensure!(there && said.contains("bpf on /sys/fs/bpf"), "{said}");
    Ok(())
}

async fn a_deleted_pod_serves_until_it_is_gone(client: &Client) -> Result<()> {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let first = pods.list(&ListParams::default().labels("app=web")).await?.into_iter().next();
    let name = first.context("the app has pods")?.name_any();
    pods.delete(&name, &DeleteParams::default()).await?;
    let is = |ready, serving| EndpointConditions {
        ready: Some(ready),
        serving: Some(serving),
        terminating: Some(!ready),
    };
    for conditions in [is(false, true), is(false, false)] {
        eventually("the endpoint's conditions", async || {
            let found = endpoint(client, &name).await?;
            ensure!(found.as_ref() == Some(&conditions), "{name} is {found:?}");
            Ok(())
        })
        .await?;
    }
    eventually("the endpoint's end", async || {
        let found = endpoint(client, &name).await?;
        ensure!(found.is_none(), "{name} is {found:?}");
        Ok(())
    })
    .await
}

async fn endpoint(client: &Client, pod: &str) -> Result<Option<EndpointConditions>> {
    let slices = Api::<EndpointSlice>::default_namespaced(client.clone());
    let slices = slices.list(&ListParams::default().labels("kubernetes.io/service-name=web")).await?;
    let endpoints = slices.into_iter().filter_map(|slice| slice.endpoints).flatten();
    let of_pod = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref()) == Some(pod)
    };
    Ok(endpoints.into_iter().find(|endpoint| of_pod(endpoint)).and_then(|endpoint| endpoint.conditions))
}

async fn node(client: &Client, name: &str, ready: bool) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    eventually("the node's condition", async || {
        ensure!(is_ready(&nodes.get(name).await?) == ready, "{name} is not");
        Ok(())
    })
    .await
}

async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > PATIENCE => bail!("{what}: not within {PATIENCE:?}: {error:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// What a cluster could leave: control groups, mounts of labs, processes of containers.
fn leftovers() -> Result<Vec<String>> {
    let mut found = Vec::new();
    let ours = format!("edgelb-{}-", std::process::id());
    for hierarchy in fs::read_dir("/sys/fs/cgroup")? {
        let hierarchy = hierarchy?.path();
        found.extend(
            fs::read_dir(&hierarchy)
                .into_iter()
                .flatten()
                .filter_map(Result::ok)
                .map(|entry| entry.path().display().to_string())
                .filter(|path| path.contains(&ours)),
        );
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let place = format!("{LABS}/{}-", std::process::id());
    found.extend(mounts.lines().filter(|line| line.contains(&place)).map(str::to_owned));
    Ok(found)
}
