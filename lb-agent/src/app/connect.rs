//! The way to the API server: one connection for everything, and soon known to be dead.
//!
//! kube's own client speaks HTTP/1.1, so that each watch is a connection, and one that a lost server or a firewall left
//! hanging is noticed when the watch should have ended, after five minutes. Over HTTP/2 all of them share a connection,
//! and pings tell within seconds that nobody is there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceExt};
use tracing::info;

use crate::source::kube::Connect;

/// To connect may take so long.
const CONNECT: Duration = Duration::from_secs(5);

/// Whether a connection lives.
#[derive(Clone, Copy)]
struct Liveness {
    /// It is asked this often.
    ask: Duration,
    /// It has so long to answer.
    answer: Duration,
}

/// Of watches.
const PING: Liveness = Liveness { ask: Duration::from_secs(15), answer: Duration::from_secs(10) };

/// What makes clients, each with a connection of its own.
///
/// # Errors
/// If there is no configuration, or one that is of no use. The API server is not asked for anything.
pub(super) async fn connector(kubeconfig: Option<&Path>) -> Result<Connect> {
    let config = config(kubeconfig).await?;
    info!(server = %config.cluster_url, "following a cluster");
    client(&config, PING)?;
    Ok(Box::new(move || client(&config, PING)))
}

/// A client for those who write: a Lease runs out within seconds, so that a dead connection must be known sooner.
///
/// # Errors
/// As `connector`.
pub(super) async fn writer(kubeconfig: Option<&Path>) -> Result<Client> {
    Ok(client(
        &config(kubeconfig).await?,
        Liveness { ask: Duration::from_secs(2), answer: Duration::from_secs(2) },
    )?)
}

async fn config(kubeconfig: Option<&Path>) -> Result<Config> {
    let config = match kubeconfig {
        Some(file) => {
            let read = Kubeconfig::read_from(file);
            let config = read.with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
            let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
            config.with_context(|| format!("the kubeconfig {} is of no use", file.display()))?
        }
        None => Config::infer().await.context(
            "there is neither a kubeconfig nor a pod's service account: name one with --kubeconfig FILE, or a \
             folder with --manifests DIR",
        )?,
    };
    anyhow::ensure!(config.proxy_url.is_none(), "a proxy before the API server (proxy-url) is not supported");
    Ok(config)
}

/// Nothing is tried again here: the source does that, and tells of it.
fn client(config: &Config, liveness: Liveness) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    // For a server that speaks HTTP/1.1 only.
    tcp.set_keepalive(Some(liveness.ask));
    let tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    let name = config.tls_server_name.as_ref().and_then(|name| name.clone().try_into().ok());
    let tls = match name {
        Some(name) => tls.with_server_name_resolver(FixedServerNameResolver::new(name)),
        None => tls,
    };
    let http = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(liveness.ask)
        .http2_keep_alive_timeout(liveness.answer)
        .build(tls.enable_all_versions().wrap_connector(tcp));
    let http = http.map_err(BoxError::from);
    let client = ClientBuilder::new(http, config.default_namespace.as_str());
    let client = client.with_layer(&config.extra_headers_layer()?);
    Ok(match config.auth_layer()? {
        Some(auth) => client.with_layer(&auth).with_layer(&config.base_uri_layer()).build(),
        None => client.with_layer(&config.base_uri_layer()).build(),
    })
}
