//! The faulty proxy: every fault is one that a client sees, and it ends when it is healed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, Config, Error};
use lb_tests::cluster::{ControlPlane, Fault, Login, Matching};

async fn through(fault: &Fault, control_plane: &ControlPlane) -> Result<Api<ConfigMap>> {
    let login = Login::Token(control_plane.admin_token()?);
    let file = control_plane.write_kubeconfig("fault", &fault.url(), &login)?;
    let file = kube::config::Kubeconfig::read_from(file)?;
    let mut config =
        Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Api::namespaced(Client::try_from(config)?, "default"))
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        _ => 0,
    }
}

#[tokio::test]
async fn faults_are_seen_until_they_are_healed() -> Result<()> {
    let control_plane = ControlPlane::start()?;
    let fault = Fault::before(&control_plane)?;
    let objects = through(&fault, &control_plane).await?;
    let list = ListParams::default();
    objects.list(&list).await?;

    for status in [401, 403, 410, 429, 500] {
        fault.answer(Matching::path("/configmaps").methods(&[http::Method::GET]), status);
        let error = objects.list(&list).await.expect_err("it must not pass");
        assert_eq!(code(&error), status, "{error}");
        let created = ConfigMap { metadata: named(&format!("n{status}")), ..ConfigMap::default() };
        objects.create(&PostParams::default(), &created).await.context("only reading is forbidden")?;
        fault.heal();
    }
    assert_eq!(objects.list(&list).await?.items.len(), 5);

    let delay = Duration::from_millis(200);
    fault.delay(delay);
    let start = Instant::now();
    objects.list(&list).await?;
    ensure!(start.elapsed() >= delay, "it came after {:?}", start.elapsed());
    fault.heal();

    fault.forget();
    objects.list(&list).await?;
    assert_eq!(fault.count(&Matching::path("/configmaps")), 1);
    assert_eq!(fault.count(&Matching::all().writes()), 0);
    assert_eq!(fault.seen()[0].status, 200);
    Ok(())
}

#[tokio::test]
async fn watches_break_and_expire() -> Result<()> {
    let control_plane = ControlPlane::start()?;
    let fault = Fault::before(&control_plane)?;
    let objects = through(&fault, &control_plane).await?;
    let params = WatchParams::default();

    let mut events = objects.watch(&params, "0").await?.boxed();
    objects
        .create(&PostParams::default(), &ConfigMap { metadata: named("a"), ..ConfigMap::default() })
        .await?;
    while !matches!(events.try_next().await?, Some(WatchEvent::Added(it)) if it.metadata.name.as_deref() == Some("a"))
    {
    }
    fault.refuse();
    fault.cut();
    // A break is an error or an end, as the client sees fit.
    while let Some(Ok(_)) = events.next().await {}
    ensure!(objects.list(&ListParams::default()).await.is_err(), "nobody should listen");
    fault.heal();
    objects.list(&ListParams::default()).await?;

    fault.expire(Matching::path("/configmaps").watches(true));
    let mut events = objects.watch(&params, "1").await?.boxed();
    match events.try_next().await? {
        Some(WatchEvent::Error(status)) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
    Ok(())
}

fn named(name: &str) -> kube::api::ObjectMeta {
    kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() }
}
