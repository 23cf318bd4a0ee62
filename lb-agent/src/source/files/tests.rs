//! Folders that change, each in its own way: what is published, and that nothing half done ever is.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{FolderError, check, run};
use crate::model::{Severity, Snapshot};
use crate::source::Settings;

const DEADLINE: Duration = Duration::from_secs(10);

/// A folder that is followed; members stand for all objects, as the cheapest to see.
struct Lab {
    temporary: TempDir,
    latest: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The members of every snapshot so far, the last with its generation.
    history: watch::Sender<(u64, Vec<String>)>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Lab {
    /// Follows a folder `manifests` with these files, once all of it is published.
    async fn start(files: &[(&str, &str)]) -> Self {
        let temporary = TempDir::new().expect("a temporary folder");
        let (sender, latest) = watch::channel(None);
        let mut lab = Self { temporary, latest, history: watch::Sender::default(), tasks: Vec::new() };
        fs::create_dir(lab.path("")).expect("a folder");
        files.iter().for_each(|(path, text)| lab.write(path, text));
        lab.record();
        // By a relative path, as people give it.
        let depth = std::env::current_dir().expect("a folder").components().count() - 1;
        let folder =
            PathBuf::from("../".repeat(depth)).join(lab.path("").strip_prefix("/").expect("absolute"));
        lab.tasks.push(tokio::spawn(async move {
            run(folder, Settings::default(), sender).await.expect("the folder can be followed");
        }));
        lab.until(|_| true).await;
        lab
    }

    fn record(&mut self) {
        let (mut snapshots, history) = (self.latest.clone(), self.history.clone());
        self.tasks.push(tokio::spawn(async move {
            while snapshots.changed().await.is_ok() {
                let snapshot = snapshots.borrow_and_update().clone().expect("never taken back");
                history.send_modify(|(generation, all)| {
                    *generation = snapshot.generation;
                    all.push(members(&snapshot));
                });
            }
        }));
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.temporary.path().join("manifests").join(relative)
    }

    fn write(&self, relative: &str, text: &str) {
        fs::write(self.path(relative), text).expect("a file");
    }

    async fn until(&self, mut is_expected: impl FnMut(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut latest = self.latest.clone();
        let wait = latest.wait_for(|snapshot| snapshot.as_deref().is_some_and(&mut is_expected));
        let result = timeout(DEADLINE, wait).await.map(|found| found.expect("still followed").clone());
        match result {
            Ok(found) => found.expect("a snapshot"),
            Err(_) => panic!("not reached; latest: {:#?}", self.latest.borrow()),
        }
    }

    async fn until_members(&self, expected: &str) -> Arc<Snapshot> {
        self.until(|snapshot| members(snapshot) == expected).await
    }

    /// The members of all snapshots, in order.
    async fn history(&self) -> Vec<String> {
        let latest = self.latest.borrow().as_ref().map_or(0, |snapshot| snapshot.generation);
        let mut history = self.history.subscribe();
        let wait = timeout(DEADLINE, history.wait_for(|(generation, _)| *generation >= latest));
        wait.await.expect("in time").expect("still recorded").1.clone()
    }
}

fn members(snapshot: &Snapshot) -> String {
    snapshot.members.keys().cloned().collect::<Vec<_>>().join(" ")
}

fn problems(snapshot: &Snapshot) -> Vec<String> {
    snapshot.problems.iter().map(ToString::to_string).collect()
}

/// A Node with the label; its name ends in its address.
fn node(number: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}, labels: {{edgelb.dev/edge: 'true'}}}}\n\
         status: {{addresses: [{{type: InternalIP, address: 198.51.100.{number}}}]}}\n---\n"
    )
}

#[tokio::test]
async fn the_first_sync_goes_on_without_bad_files() {
    let lab =
        Lab::start(&[("a.yaml", &node(1)), ("b.yaml", "a: [\n"), ("c.yaml", "\u{0}"), ("d.json", "{}")])
            .await;
    let snapshot = lab.until_members("n1").await;
    assert_eq!(snapshot.generation, 1);
    let problems = problems(&snapshot);
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems[0].starts_with("error: b.yaml:"), "{problems:#?}");
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_an_error_at_the_start() {
    let (sender, receiver) = watch::channel(None);
    let error = run(PathBuf::from("/nonexistent/manifests"), Settings::default(), sender).await;
    assert!(matches!(error, Err(FolderError::Unreadable { .. })), "{error:?}");
    assert!(receiver.borrow().is_none());
}

#[tokio::test]
async fn files_are_created_changed_renamed_and_deleted() {
    let lab = Lab::start(&[("a.yaml", &node(1))]).await;
    lab.write("b.yml", &node(2));
    lab.until_members("n1 n2").await;
    lab.write("b.yml", &node(3));
    lab.until_members("n1 n3").await;
    lab.write("c.tmp", &node(4));
    fs::rename(lab.path("c.tmp"), lab.path("b.yml")).expect("renamed");
    lab.until_members("n1 n4").await;
    fs::remove_file(lab.path("a.yaml")).expect("deleted");
    let snapshot = lab.until_members("n4").await;
    assert_eq!(snapshot.generation, 5);
    assert_eq!(lab.history().await, ["n1", "n1 n2", "n1 n3", "n1 n4", "n4"]);
}

#[tokio::test]
async fn subfolders_lists_and_json_are_read_and_hidden_names_are_not() {
    let lab = Lab::start(&[("a.yaml", &node(1))]).await;
    fs::create_dir_all(lab.path("deep/er")).expect("folders");
    lab.write("deep/er/b.yaml", &node(2));
    lab.until_members("n1 n2").await;
    lab.write("deep/er/b.yaml", &node(3));
    lab.until_members("n1 n3").await;
    lab.write(".hidden.yaml", &node(9));
    lab.write("notes.txt", &node(9));
    lab.write(
        "c.json",
        "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"List\",\n\t\"items\": [{\"apiVersion\": \"v1\", \"kind\": \"Node\", \
         \"metadata\": {\"name\": \"n4\", \"labels\": {\"edgelb.dev/edge\": \"true\"}}, \
         \"status\": {\"addresses\": [{\"type\": \"InternalIP\", \"address\": \"198.51.100.4\"}]}}]\n}\n",
    );
    lab.until_members("n1 n3 n4").await;
    fs::remove_dir_all(lab.path("deep")).expect("deleted");
    lab.until_members("n1 n4").await;
}

#[tokio::test]
async fn links_in_a_circle_hide_nothing() {
    let lab = Lab::start(&[("a.yaml", &node(1))]).await;
    fs::create_dir(lab.path("deep")).expect("a folder");
    symlink("..", lab.path("deep/up")).expect("a link");
    lab.write("z.yaml", &node(2));
    let snapshot = lab.until_members("n1 n2").await;
    assert_eq!(
        problems(&snapshot),
        ["error: deep/up:1: cannot be read: a link leads back to its own folder"]
    );
}

#[tokio::test]
async fn a_file_is_not_read_while_it_is_written() {
    let lab = Lab::start(&[("a.yaml", &(node(1) + &node(2))), ("b.yaml", &node(5))]).await;
    let mut file = File::create(lab.path("a.yaml")).expect("opened, and emptied");
    lab.write("b.yaml", &node(6));
    lab.until_members("n1 n2 n6").await;
    file.write_all(node(3).as_bytes()).expect("half of it");
    lab.write("b.yaml", &node(7));
    lab.until_members("n1 n2 n7").await;
    file.write_all(node(4).as_bytes()).expect("the rest");
    drop(file);
    lab.until_members("n3 n4 n7").await;
    assert_eq!(lab.history().await, ["n1 n2 n5", "n1 n2 n6", "n1 n2 n7", "n3 n4 n7"]);
}

#[tokio::test]
async fn a_file_that_is_never_closed_is_read_in_the_end() {
    let lab = Lab::start(&[("a.yaml", &node(1))]).await;
    let mut file = File::create(lab.path("a.yaml")).expect("opened, and emptied");
    file.write_all(node(2).as_bytes()).expect("all of it");
    lab.until_members("n2").await;
    assert_eq!(lab.history().await, ["n1", "n2"]);
}

#[tokio::test]
async fn a_file_that_does_not_parse_keeps_its_last_good_objects() {
    let lab = Lab::start(&[("a.yaml", &(node(1) + &node(2))), ("b.yaml", &node(3))]).await;
    lab.write("a.yaml", &(node(4) + "kind: [\n"));
    let snapshot = lab.until(|snapshot| !snapshot.problems.is_empty()).await;
    assert_eq!(members(&snapshot), "n1 n2 n3");
    assert!(problems(&snapshot)[0].starts_with("error: a.yaml:"), "{:#?}", problems(&snapshot));
    lab.write("a.yaml", &node(4));
    let snapshot = lab.until_members("n3 n4").await;
    assert!(snapshot.problems.is_empty());
    assert_eq!(lab.history().await, ["n1 n2 n3", "n1 n2 n3", "n3 n4"]);
}

#[tokio::test]
async fn an_object_with_a_wrong_field_stays_as_it_was() {
    let lab = Lab::start(&[("a.yaml", &(node(1) + &node(2)))]).await;
    let wrong = node(2).replace("198.51.100.2", "[]");
    lab.write("a.yaml", &(wrong + &node(3)));
    let snapshot = lab.until(|snapshot| !snapshot.problems.is_empty()).await;
    assert_eq!(members(&snapshot), "n2 n3");
    let problems = problems(&snapshot);
    let expected =
        "error: a.yaml:1: Node n2: status.addresses[0].address: invalid type: sequence, expected a string";
    assert_eq!(problems, [expected]);
}

#[tokio::test]
async fn a_folder_that_vanishes_keeps_its_state() {
    let lab = Lab::start(&[("a.yaml", &node(1))]).await;
    fs::rename(lab.path(""), lab.temporary.path().join("elsewhere")).expect("gone");
    let snapshot = lab.until(|snapshot| !snapshot.problems.is_empty()).await;
    assert_eq!(members(&snapshot), "n1");
    fs::create_dir(lab.path("")).expect("back, and empty");
    lab.until(|snapshot| problems(snapshot).iter().any(|problem| problem.contains("came back empty"))).await;
    lab.write("a.yaml", &node(2));
    let snapshot = lab.until_members("n2").await;
    assert!(snapshot.problems.is_empty());
    lab.write("b.yaml", &node(3));
    lab.until_members("n2 n3").await;
    let history = lab.history().await;
    assert!(history.iter().all(|members| !members.is_empty()), "{history:?}");
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_followed() {
    let lab = Lab::start(&[]).await;
    fs::remove_dir(lab.path("")).expect("empty");
    for (version, number) in [("one", 1), ("two", 2)] {
        let folder = lab.temporary.path().join(version);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("a.yaml"), node(number)).expect("a file");
        symlink(version, lab.temporary.path().join("link")).expect("a link");
        fs::rename(lab.temporary.path().join("link"), lab.temporary.path().join("manifests"))
            .expect("swapped");
        lab.until_members(&format!("n{number}")).await;
        lab.write("b.yaml", &node(number + 2));
        lab.until_members(&format!("n{number} n{}", number + 2)).await;
    }
}

#[tokio::test]
async fn a_folder_may_be_emptied_file_by_file() {
    let lab = Lab::start(&[("a.yaml", &node(1))]).await;
    fs::remove_file(lab.path("a.yaml")).expect("deleted");
    lab.until_members("").await;
}

/// What the kubelet does: all files are links through `..data`, which is replaced by rename.
#[tokio::test]
async fn a_config_map_volume_changes_at_once() {
    let lab = Lab::start(&[("z.yaml", &node(9))]).await;
    let publish = |version: &str, nodes: [u8; 2]| {
        fs::create_dir(lab.path(version)).expect("a version");
        lab.write(&format!("{version}/a.yaml"), &node(nodes[0]));
        lab.write(&format!("{version}/b.yaml"), &node(nodes[1]));
        symlink(version, lab.path("..data_tmp")).expect("a link");
        fs::rename(lab.path("..data_tmp"), lab.path("..data")).expect("swapped");
    };
    publish("..v1", [1, 2]);
    symlink("..data/a.yaml", lab.path("a.yaml")).expect("a link");
    symlink("..data/b.yaml", lab.path("b.yaml")).expect("a link");
    lab.until_members("n1 n2 n9").await;
    publish("..v2", [3, 4]);
    fs::remove_dir_all(lab.path("..v1")).expect("deleted");
    lab.until_members("n3 n4 n9").await;
    publish("..v3", [5, 6]);
    lab.until_members("n5 n6 n9").await;
    // The two links come one by one, the versions behind them as a whole.
    let whole = ["n9", "n1 n9", "n1 n2 n9", "n3 n4 n9", "n5 n6 n9"];
    let history = lab.history().await;
    assert!(history.iter().all(|members| whole.contains(&members.as_str())), "{history:?}");
}

#[tokio::test]
async fn of_duplicates_the_first_file_counts() {
    let other = node(1).replace("198.51.100.1", "198.51.100.77");
    let lab = Lab::start(&[("a.yaml", &node(1)), ("b.yaml", &other)]).await;
    let snapshot = lab.until_members("n1").await;
    assert_eq!(snapshot.members["n1"].address.to_string(), "198.51.100.1");
    assert_eq!(
        problems(&snapshot),
        ["error: b.yaml:1: Node n1: is already defined at a.yaml:1, which counts"]
    );
    fs::remove_file(lab.path("a.yaml")).expect("deleted");
    let snapshot = lab.until(|snapshot| snapshot.problems.is_empty()).await;
    assert_eq!(snapshot.members["n1"].address.to_string(), "198.51.100.77");
}

#[tokio::test]
async fn what_changes_nothing_is_not_published() {
    let lab = Lab::start(&[("a.yaml", &node(1))]).await;
    lab.write("a.yaml", &format!("# the same, otherwise spelt\n{}", node(1)));
    lab.write("empty.yaml", "# nothing\n");
    lab.write("b.yaml", &node(2));
    let snapshot = lab.until_members("n1 n2").await;
    assert_eq!(snapshot.generation, 2);
}

#[tokio::test]
async fn names_of_external_services_are_resolved() {
    let text = "
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: edgelb}, spec: {controller: edgelb.dev/ingress, parameters: {apiGroup: edgelb.dev, kind: IngressParameters, name: all}}}
---
{apiVersion: edgelb.dev/v1alpha1, kind: IngressParameters, metadata: {name: all}, spec: {allowExternalName: true}}
---
{apiVersion: v1, kind: Service, metadata: {name: outside}, spec: {type: ExternalName, externalName: localhost}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web}, spec: {ingressClassName: edgelb, defaultBackend: {service: {name: outside, port: {number: 80}}}}}
";
    let lab = Lab::start(&[("a.yaml", text)]).await;
    let is_refused = |problem: String| problem.contains("stands for localhost, which must not lead to");
    lab.until(|snapshot| problems(snapshot).into_iter().any(is_refused)).await;
}

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let folder = TempDir::new().expect("a folder");
    let (sender, receiver) = watch::channel(None);
    let running = tokio::spawn(run(folder.path().to_owned(), Settings::default(), sender));
    drop(receiver);
    timeout(DEADLINE, running).await.expect("in time").expect("no panic").expect("no error");
}

#[test]
fn a_check_tells_of_all_problems() {
    let folder = TempDir::new().expect("a folder");
    let empty = check(folder.path(), &Settings::default());
    assert!(empty.len() == 1 && empty[0].to_string().starts_with("warning: no objects found"), "{empty:?}");
    fs::write(
        folder.path().join("a.yaml"),
        node(1).replace("InternalIP", "Other") + "kind: Pod\napiVersion: v1\n",
    )
    .expect("a file");
    let problems: Vec<String> =
        check(folder.path(), &Settings::default()).iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "error: a.yaml:1: Node n1: status.addresses: the edge node has no InternalIP; it is not a member",
            "warning: a.yaml:6: edgelb does not read Pod of v1",
        ]
    );
    let missing = check(&folder.path().join("missing"), &Settings::default());
    assert_eq!((missing.len(), missing[0].severity), (1, Severity::Error));
}

/// What we ship as an example, with a Secret as its README makes it.
#[test]
fn the_examples_are_right() {
    let folder = TempDir::new().expect("a folder");
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");
    for file in fs::read_dir(examples).expect("the examples").map(|file| file.expect("a file")) {
        if file.file_name() != "secret.yaml" {
            fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
        }
    }
    let without = check(folder.path(), &Settings::default());
    let texts: Vec<String> = without.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert!(
        texts[0].contains("Ingress demo/shop: spec.tls[0].secretName: Secret demo/shop-tls does not exist"),
        "{texts:?}"
    );

    let pair = rcgen::generate_simple_self_signed(["shop.example.org".to_owned()]).expect("a certificate");
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "shop-tls", "namespace": "demo"},
        "stringData": {"tls.crt": pair.cert.pem(), "tls.key": pair.signing_key.serialize_pem()},
    });
    fs::write(folder.path().join("secret.json"), secret.to_string()).expect("a file");
    let snapshot = super::read(folder.path(), &Settings::default()).expect("a folder");
    assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
    assert_eq!((snapshot.members.len(), snapshot.vips.len(), snapshot.listeners.len()), (3, 2, 4));
    let table = &snapshot.listeners.values().next().expect("a listener").routes;
    assert_eq!((table.hosts.len(), table.certificates.len()), (2, 1));
    let backends = table.hosts.values().flat_map(|host| &host.rules).map(|rule| &rule.backend.endpoints);
    assert!(
        backends.clone().count() == 3
            && backends.clone().all(|endpoints| endpoints.as_ref().is_ok_and(|all| all.len() == 2))
    );
}
