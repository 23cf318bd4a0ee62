//! The control plane itself: it serves, keeps what it was given, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use lb_tests::cluster::{ControlPlane, Options, kubernetes_version};
use lb_tests::lab::{exists, program, wait::until};
use serde_json::json;

/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

fn config_map(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object
}

#[tokio::test]
async fn objects_are_served_and_survive_the_api_server() -> Result<()> {
    let mut control_plane = ControlPlane::start()?;
    let client = control_plane.client().await?;
    assert_eq!(client.apiserver_version().await?.git_version, kubernetes_version());

    let objects: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    objects.create(&PostParams::default(), &config_map("kept")).await?;
    let data = json!({ "data": { "a": "b" } });
    objects.patch("kept", &PatchParams::default(), &Patch::Merge(data)).await?;

    control_plane.kill_api_server()?;
    ensure!(objects.get("kept").await.is_err(), "nobody should answer");
    control_plane.start_api_server()?;
    let kept = objects.get("kept").await?;
    assert_eq!(kept.data.context("it has data")?["a"], "b");
    objects.delete("kept", &kube::api::DeleteParams::default()).await?;
    assert_eq!(objects.get_opt("kept").await?, None);
    Ok(())
}

#[tokio::test]
async fn writes_are_counted_by_who_made_them() -> Result<()> {
    let control_plane = ControlPlane::start()?;
    let user = "system:serviceaccount:default:someone";
    let nobody = control_plane.client_as(user, &["system:serviceaccounts"]).await?;
    let objects: Api<ConfigMap> = Api::namespaced(control_plane.client().await?, "default");
    objects.create(&PostParams::default(), &config_map("a")).await?;
    let refused = Api::<ConfigMap>::namespaced(nobody, "default");
    let error = refused.create(&PostParams::default(), &config_map("b")).await.expect_err("no role");
    ensure!(error.to_string().contains("forbidden"), "{error}");

    let writes = control_plane.writes()?;
    let ours: Vec<_> = writes
        .iter()
        .filter(|write| write.resource == "configmaps" && write.namespace == "default")
        .map(|write| (write.user.as_str(), write.verb.as_str(), write.name.as_str(), write.code))
        .collect();
    // The audit log has the impersonator; the object of a refused creation has no name yet.
    assert_eq!(ours, [("admin", "create", "a", 201), ("admin", "create", "", 403)]);
    Ok(())
}

#[tokio::test]
async fn controllers_act_on_objects() -> Result<()> {
    let options = Options { controllers: true, ..Options::default() };
    let control_plane = ControlPlane::start_with(options)?;
    let client = control_plane.client().await?;
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("fresh".to_owned());
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "fresh");
    let start = Instant::now();
    while accounts.get_opt("default").await?.is_none() {
        ensure!(start.elapsed() < PATIENCE, "no service account within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(accounts.get("default").await?.name_any() == "default");
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let mut control_plane = ControlPlane::start()?;
    let folder = control_plane.folder().to_owned();
    let processes = [control_plane.etcd().id(), control_plane.api_server().id()];
    assert!(folder.exists() && processes.into_iter().all(exists));
    drop(control_plane);
    assert!(!folder.exists() && !processes.into_iter().any(exists));
    Ok(())
}

/// Killed, a process cannot clean up: its children die with it, and the next start removes its folder.
#[test]
fn nothing_is_left_behind_by_a_killed_process() -> Result<()> {
    let mut holder = Command::new(program("lb-lab", "LB_LAB")?)
        .arg("control-plane")
        .stdout(Stdio::piped())
        .spawn()
        .context("starting lb-lab")?;
    let mut line = String::new();
    let mut output = std::io::BufReader::new(holder.stdout.take().context("its output is ours")?);
    std::io::BufRead::read_line(&mut output, &mut line)?;
    let folder = Path::new(line.trim());
    ensure!(folder.is_dir(), "no folder {}", folder.display());
    let server = processes_of(folder)?;
    assert_eq!(server.len(), 2, "etcd and the API server");
    holder.kill()?;
    holder.wait()?;
    until("the end of the processes", PATIENCE, || !server.iter().any(|&pid| exists(pid)))?;
    drop(ControlPlane::start()?);
    assert!(!folder.exists());
    Ok(())
}

/// The processes that have the folder in their command line.
fn processes_of(folder: &Path) -> Result<Vec<u32>> {
    let folder = folder.display().to_string();
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let names_it = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&folder))
    };
    Ok(pids.filter(names_it).collect())
}

/// Frozen, the API server answers nobody; thawed, it goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_api_server_goes_on_where_it_was() -> Result<()> {
    let mut control_plane = ControlPlane::start()?;
    let client = control_plane.client().await?;
    let objects: Api<ConfigMap> = Api::namespaced(client, "default");
    control_plane.api_server().freeze()?;
    let mut asked =
        tokio::spawn(async move { objects.create(&PostParams::default(), &config_map("late")).await });
    let answered = tokio::time::timeout(Duration::from_millis(300), &mut asked).await;
    ensure!(answered.is_err(), "nobody should have answered");
    control_plane.api_server().thaw()?;
    asked.await??;
    Ok(())
}
