//! The agent under load, its folder and its pods; and what changes all the time.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::bench::l7::free_port;
use crate::lab::certificates::Authority;
use crate::lab::manifests::{Manifests, NAMESPACE, ingress};
use crate::lab::site::SHOP;
use crate::lab::{program, server, tls};

/// Pods behind the Service; as many as two of them are left out now and then.
const PODS: usize = 4;
/// Hosts beside the shop's that come and go.
const HOSTS: u64 = 20;

const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: edgelb}\n\
                     spec: {controller: edgelb.dev/ingress}\n";

/// Where clients go.
#[derive(Clone)]
pub(super) struct Targets {
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    /// Trusts the site's authority.
    pub(super) tls: Arc<ClientConfig>,
}

pub(super) struct Site {
    agent: Child,
    targets: Targets,
    pods: Vec<SocketAddr>,
    authority: Authority,
    manifests: Manifests,
    _folder: TempDir,
}

impl Site {
    pub(super) fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let objects = folder.path().join("objects");
        std::fs::create_dir(&objects)?;
        let authority = Authority::new(&folder.path().join("ca.pem"))?;
        let manifests = Manifests::new(objects);
        let pods = start_pods()?;
        manifests.write("class.yaml", CLASS)?;
        manifests.write("service.yaml", &service())?;
        manifests.write("slice.yaml", &slice(&pods))?;
        manifests.write("shop.yaml", &ingress("shop", &[(SHOP, "/", "shop")], &[(SHOP, "shop-tls")]))?;
        manifests.write_secret("shop-tls", &authority.sign(&[SHOP])?)?;
        let targets = Targets { http: free_port()?, https: free_port()?, tls: tls::trust(&authority)? };
        let agent = start_agent(&manifests, &folder, &targets)?;
        let mut site = Self { agent, targets, pods, authority, manifests, _folder: folder };
        site.await_start()?;
        Ok(site)
    }

    /// The agent's process id.
    pub(super) fn agent(&self) -> u32 {
        self.agent.id()
    }

    pub(super) fn is_alive(&mut self) -> Result<bool> {
        Ok(self.agent.try_wait()?.is_none())
    }

    pub(super) fn targets(&self) -> Targets {
        self.targets.clone()
    }

    pub(super) fn pods(&self) -> Vec<SocketAddr> {
        self.pods.clone()
    }

    /// The next change of many. Pods that are left out go on: what is under way at them may end.
    pub(super) fn change(&self, number: u64) -> Result<()> {
        match number % 4 {
            0 => {
                let first = number as usize / 4 % PODS;
                let left: Vec<_> =
                    (first..first + PODS - 1 - first % 2).map(|n| self.pods[n % PODS]).collect();
                self.manifests.write("slice.yaml", &slice(&left)).map(drop)
            }
            1 | 2 => self.come_or_go(number / 2 % HOSTS),
            _ => self.manifests.write_secret("shop-tls", &self.authority.sign(&[SHOP])?).map(drop),
        }
    }

    fn come_or_go(&self, number: u64) -> Result<()> {
        let file = format!("other-{number}.yaml");
        if self.manifests.folder().join(&file).exists() {
            return self.manifests.remove(&file);
        }
        let host = format!("other-{number}.example.org");
        let text = ingress(&format!("other-{number}"), &[(&host, "/", "shop")], &[]);
        self.manifests.write(&file, &text).map(drop)
    }

    fn await_start(&mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let start = Instant::now();
        while std::net::TcpStream::connect(self.targets.https).is_err() {
            ensure!(self.is_alive()?, "the agent ended at its start");
            ensure!(start.elapsed() < PATIENCE, "the agent does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.agent.kill());
        drop(self.agent.wait());
    }
}

fn start_agent(manifests: &Manifests, folder: &TempDir, targets: &Targets) -> Result<Child> {
    let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
    command.args(["--log", "error", "run", "--no-xdp", "--admin", "", "--workers", "2"]);
    command.args(["--http", &targets.http.to_string(), "--https", &targets.https.to_string()]);
    command.arg("--manifests").arg(manifests.folder());
    command.arg("--admin-socket").arg(folder.path().join("admin"));
    command.arg("--state").arg(folder.path().join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting lb-agent")
}

/// On a thread of their own, for as long as the process lives.
fn start_pods() -> Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for number in 1..=PODS {
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        addresses.push(listener.local_addr()?);
        runtime.spawn(async move { server::serve_at(listener, &format!("shop-{number}")).await.map(drop) });
    }
    let forever = move || runtime.block_on(std::future::pending::<()>());
    thread::Builder::new().name("pods".into()).spawn(forever)?;
    Ok(addresses)
}

fn service() -> String {
    // Each pod has a port of its own, which is that of its slice.
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: shop, namespace: {NAMESPACE}}}\n\
         spec: {{ports: [{{name: http, port: 80}}]}}\n"
    )
}

fn slice(pods: &[SocketAddr]) -> String {
    let slices = pods.iter().map(|pod| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: shop-{port}, namespace: {NAMESPACE}, \
             labels: {{kubernetes.io/service-name: shop}}}}\naddressType: IPv4\n\
             ports: [{{name: http, port: {port}}}]\n\
             endpoints: [{{addresses: [{ip}], conditions: {{ready: true}}}}]\n",
            port = pod.port(),
            ip = pod.ip(),
        )
    });
    slices.collect::<Vec<_>>().join("---\n")
}
