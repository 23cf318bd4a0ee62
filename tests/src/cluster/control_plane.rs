//! etcd and the API server, and on request the controllers and the scheduler.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::audit::{self, POLICY, Write};
use super::credentials::Credentials;
use super::daemon::Daemon;
use super::ground::Ground;
use super::kubeconfig::{self, Login};
use super::place::Place;
use super::programs::program;
use super::starter::tied;
use crate::lab::certificates::Authority;
use crate::lab::namespace::in_thread;

/// How long the API server may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// How often it is asked.
const STEP: Duration = Duration::from_millis(50);

/// Those that a test can tell the absence of.
const CONTROLLERS: &str = "endpointslice-controller,endpointslice-mirroring-controller,deployment-controller,\
    replicaset-controller,daemonset-controller,statefulset-controller,job-controller,namespace-controller,\
    serviceaccount-controller,root-ca-certificate-publisher-controller,node-lifecycle-controller,\
    taint-eviction-controller,garbage-collector-controller,pod-garbage-collector-controller,disruption-controller,\
    clusterrole-aggregation-controller";

/// What a control plane has.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Flags for the API server besides ours; of a flag that is given twice the last counts.
    pub api_server_flags: Vec<String>,
    /// Whether kube-controller-manager runs.
    pub controllers: bool,
    /// Whether kube-scheduler runs.
    pub scheduler: bool,
}

/// A control plane; it ends with this value, and with this process.
#[derive(Debug)]
pub struct ControlPlane {
    pub(super) scheduler: Option<Daemon>,
    pub(super) controllers: Option<Daemon>,
    api_server: Daemon,
    etcd: Daemon,
    options: Options,
    pub(crate) credentials: Credentials,
    pub(crate) ground: Ground,
    // The last field: the folder goes when nobody writes to it any more.
    place: Place,
}

impl ControlPlane {
    /// etcd and the API server on loopback, ready to serve.
    ///
    /// # Errors
    /// Shows the end of the log of what does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    /// With controllers, or with other flags.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with(options: Options) -> Result<Self> {
        let place = Place::new()?;
        let ground = Ground::loopback(place.number())?;
        Self::start_on(place, ground, options)
    }

    pub(crate) fn start_on(place: Place, ground: Ground, options: Options) -> Result<Self> {
        let folder = place.folder();
        fs::write(folder.join("audit-policy.json"), POLICY)?;
        let credentials = Credentials::new(&folder.join("secrets"), &ground.names())?;
        let etcd = start_etcd(folder, &ground)?;
        let api_server = start_api_server(folder, &ground, &credentials, &options)?;
        let mut this = Self {
            scheduler: None,
            controllers: None,
            api_server,
            etcd,
            options,
            credentials,
            ground,
            place,
        };
        this.write_kubeconfig("admin", &this.url(), &Login::Token(this.admin_token()?))?;
        for user in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
            this.write_inner_kubeconfig(user, user)?;
        }
        this.await_ready()?;
        this.start_clients()?;
        Ok(this)
    }

    /// Where the API server is: `https://127.1.2.3:6443`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.ground.outside())
    }

    /// Where this process reaches it.
    pub(crate) fn reachable_at(&self) -> SocketAddr {
        self.ground.outside()
    }

    /// Everything that it writes: `log/` has what its programs say.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.place.folder()
    }

    /// The kubeconfig of `admin`, who may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("admin.kubeconfig")
    }

    /// The PEM file of the authority that signed the API server's certificate.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.credentials.file("ca.pem")
    }

    /// That authority, which also signs what a test serves.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.credentials.authority
    }

    /// Runs kubectl as `admin`: what it said on standard output.
    ///
    /// # Errors
    /// What it said on standard error, if it did not succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = Command::new(program("kubectl")?);
        let output = kubectl.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments).output()?;
        ensure!(
            output.status.success(),
            "kubectl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Makes a Secret with a certificate of `authority` for a host.
    ///
    /// # Errors
    /// Those of kubectl.
    pub fn create_tls_secret(&self, namespace: &str, name: &str, host: &str) -> Result<()> {
        let made = self.authority().sign(&[host])?;
        let [chain, key] = ["crt", "key"].map(|end| self.folder().join(format!("secrets/{name}.{end}")));
        fs::write(&chain, made.chain)?;
        fs::write(&key, made.key)?;
        let [chain, key] = [flag("cert", &chain), flag("key", &key)];
        self.kubectl(&["create", "secret", "tls", name, "--namespace", namespace, &chain, &key]).map(drop)
    }

    /// The token of `admin`.
    ///
    /// # Errors
    /// None in practice: every control plane has an admin.
    pub fn admin_token(&self) -> Result<String> {
        Ok(self.credentials.token("admin")?.to_owned())
    }

    /// Writes `<name>.kubeconfig` for a server at `url`: this one's, or that of a `Fault` before it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_kubeconfig(&self, name: &str, url: &str, login: &Login) -> Result<PathBuf> {
        let file = self.folder().join(format!("{name}.kubeconfig"));
        kubeconfig::write(&file, url, &self.authority_file(), login)?;
        Ok(file)
    }

    /// Writes `<name>.kubeconfig` for a program that runs where the API server does, or on a node.
    pub(crate) fn write_inner_kubeconfig(&self, name: &str, user: &str) -> Result<PathBuf> {
        let login = Login::Token(self.credentials.token(user)?.to_owned());
        self.write_kubeconfig(name, &format!("https://{}", self.ground.api()), &login)
    }

    /// A client that may do everything, for the runtime that it is made in.
    ///
    /// # Errors
    /// Those of reading the kubeconfig.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(config(&self.kubeconfig()).await?)?)
    }

    /// A client that impersonates a user of some groups: `system:serviceaccount:edgelb-system:edgelb`, say, with
    /// `system:serviceaccounts`.
    ///
    /// # Errors
    /// If one of the names cannot be a header's value.
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> Result<Client> {
        let mut config = config(&self.kubeconfig()).await?;
        let headers = groups.iter().map(|group| ("impersonate-group", *group));
        for (name, value) in headers.chain([("impersonate-user", user)]) {
            config.headers.push((http::HeaderName::from_static(name), value.parse()?));
        }
        Ok(Client::try_from(config)?)
    }

    /// What was written since the start, by the API server's own account. It has what was answered.
    ///
    /// # Errors
    /// If the audit log cannot be read.
    pub fn writes(&self) -> Result<Vec<Write>> {
        audit::all_writes(&self.audit_log())
    }

    /// The same at this moment: the last ones may be on their way.
    ///
    /// # Errors
    /// If the audit log cannot be read.
    pub fn writes_so_far(&self) -> Result<Vec<Write>> {
        audit::writes(&self.audit_log())
    }

    fn audit_log(&self) -> PathBuf {
        self.folder().join("log/audit.log")
    }

    /// The API server's process: to freeze it, or to stop it gently.
    pub fn api_server(&mut self) -> &mut Daemon {
        &mut self.api_server
    }

    /// etcd's process.
    pub fn etcd(&mut self) -> &mut Daemon {
        &mut self.etcd
    }

    /// Ends the API server at once (SIGKILL).
    ///
    /// # Errors
    /// Those of `kill`.
    pub fn kill_api_server(&mut self) -> Result<()> {
        self.api_server.kill()
    }

    /// Starts the API server that was ended, at the same address and with the same etcd, and waits until it is ready.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_api_server(&mut self) -> Result<()> {
        self.api_server =
            start_api_server(self.place.folder(), &self.ground, &self.credentials, &self.options)?;
        self.await_ready()
    }

    fn await_ready(&mut self) -> Result<()> {
        let kubeconfig = self.kubeconfig();
        let watched = [&mut self.etcd, &mut self.api_server];
        wait_for(ready(&kubeconfig, watched))
    }

    /// Controllers and scheduler, where there are to be any.
    pub(super) fn start_clients(&mut self) -> Result<()> {
        if self.options.controllers {
            self.controllers = Some(self.start_controllers()?);
        }
        if self.options.scheduler {
            self.scheduler = Some(self.start_scheduler()?);
        }
        Ok(())
    }

    fn start_controllers(&self) -> Result<Daemon> {
        let mut command = self.client_command("kube-controller-manager")?;
        command
            .args(["--use-service-account-credentials=false", "--node-monitor-period=1s"])
            .args(["--node-monitor-grace-period=10s", &format!("--controllers={CONTROLLERS}")])
            .arg(flag("service-account-private-key-file", &self.credentials.file("sa.key")))
            .arg(flag("root-ca-file", &self.authority_file()));
        self.start_client("kube-controller-manager", command)
    }

    fn start_scheduler(&self) -> Result<Daemon> {
        let command = self.client_command("kube-scheduler")?;
        self.start_client("kube-scheduler", command)
    }

    fn client_command(&self, name: &str) -> Result<Command> {
        let mut command = tied(&program(name)?)?;
        command
            .arg(flag("kubeconfig", &self.folder().join(format!("{name}.kubeconfig"))))
            .args(["--leader-elect=false", "--secure-port=0"]);
        Ok(command)
    }

    fn start_client(&self, name: &str, command: Command) -> Result<Daemon> {
        Daemon::start(name, &self.ground.starter, command, &log(self.folder(), name))
    }
}

/// A kube configuration of a kubeconfig file.
pub(crate) async fn config(kubeconfig: &Path) -> Result<Config> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
}

/// Waits for what is asynchronous, also where a runtime is at work already.
pub(crate) fn wait_for<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    in_thread(|| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}

/// Asks until the API server says that it is ready.
async fn ready(kubeconfig: &Path, mut needed: [&mut Daemon; 2]) -> Result<()> {
    let client = Client::try_from(config(kubeconfig).await?)?;
    let start = Instant::now();
    loop {
        for daemon in &mut needed {
            daemon.expect_alive()?;
        }
        let asked = client.request_text(http::Request::get("/readyz").body(Vec::new())?);
        match tokio::time::timeout(READY, asked).await? {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() > READY => {
                return Err(error).with_context(|| format!("the API server is not ready within {READY:?}"));
            }
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}

fn start_etcd(folder: &Path, ground: &Ground) -> Result<Daemon> {
    let mut command = tied(&program("etcd")?)?;
    let [clients, peers] = ground.etcd();
    command
        .arg(flag("data-dir", &folder.join("etcd")))
        .args(["--unsafe-no-fsync", "--logger=zap", "--log-level=warn"])
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--listen-peer-urls={peers}"))
        .arg(format!("--initial-advertise-peer-urls={peers}"))
        .arg(format!("--initial-cluster=default={peers}"));
    Daemon::start("etcd", &ground.starter, command, &log(folder, "etcd"))
}

fn start_api_server(
    folder: &Path,
    ground: &Ground,
    credentials: &Credentials,
    options: &Options,
) -> Result<Daemon> {
    let mut command = tied(&program("kube-apiserver")?)?;
    let reconciler = if ground.has_pods { "lease" } else { "none" };
    command
        .arg(format!("--etcd-servers={}", ground.etcd()[0]))
        .arg(format!("--bind-address={}", ground.api().ip()))
        .arg(format!("--advertise-address={}", ground.api().ip()))
        .arg(format!("--secure-port={}", ground.api().port()))
        .arg(format!("--service-cluster-ip-range={}", ground.service_ranges))
        .arg(format!("--endpoint-reconciler-type={reconciler}"))
        .args(["--authorization-mode=Node,RBAC", "--allow-privileged", "--profiling=false"])
        .args(["--service-account-issuer=https://kubernetes.default.svc", "--audit-log-mode=blocking"])
        .arg("--kubelet-preferred-address-types=InternalIP")
        .arg(flag("tls-cert-file", &credentials.file("api.pem")))
        .arg(flag("tls-private-key-file", &credentials.file("api.key")))
        .arg(flag("token-auth-file", &credentials.file("tokens.csv")))
        .arg(flag("service-account-key-file", &credentials.file("sa.pub")))
        .arg(flag("service-account-signing-key-file", &credentials.file("sa.key")))
        .arg(flag("audit-policy-file", &folder.join("audit-policy.json")))
        .arg(flag("audit-log-path", &folder.join("log/audit.log")))
        .args(&options.api_server_flags);
    Daemon::start("kube-apiserver", &ground.starter, command, &log(folder, "kube-apiserver"))
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join("log").join(format!("{name}.log"))
}
