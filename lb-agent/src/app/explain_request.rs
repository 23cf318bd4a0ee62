//! `lb-agent explain --host`: what becomes of a request, by a running agent's state or by a folder.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::commands::CANNOT_TELL;
use super::meaning;
use super::say::say;
use crate::admin::explain::{ExplainRequest, is_forwarded};
use crate::admin::{self, Live};
use crate::cli::Explain;
use crate::l7::{self, Limits, Observer, Trust};
use crate::model::{ListenerProtocol, RequestAsked, RequestExplained, Snapshot};
use crate::source::{Settings, files};

/// Explains requests by the snapshot that the proxy serves, with what its workers know of endpoints.
pub(super) fn by(live: Live, observer: Observer, trust: Trust, limits: Limits) -> ExplainRequest {
    ExplainRequest::new(move |asked| {
        let (snapshot, observer, trust) = (live.snapshot(), observer.clone(), trust.clone());
        async move {
            let snapshot = snapshot.unwrap_or_default();
            // A table with thousands of hosts takes a while: not on the thread that answers probes.
            let explain = move || l7::explain(&snapshot, &asked, (&trust, &limits));
            let explained = tokio::task::spawn_blocking(explain).await.map_err(|error| error.to_string())?;
            let mut explained = explained.map_err(|error| error.to_string())?;
            fill_in(&mut explained, &observer).await;
            Ok(explained)
        }
    })
}

async fn fill_in(explained: &mut RequestExplained, observer: &Observer) {
    let backends = explained.listeners.iter_mut().filter_map(|listener| listener.backend.as_mut());
    let mut endpoints: Vec<_> = backends.flat_map(|backend| &mut backend.endpoints).collect();
    let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
    let known = observer.endpoints(&addresses).await;
    for endpoint in &mut endpoints {
        endpoint.state = Some(known.get(&endpoint.address).copied().unwrap_or_default());
    }
}

/// Prints it. The exit code says whether a listener forwards the request; 2 is "cannot tell".
pub(super) async fn explain_request(explain: &Explain, host: &str) -> Result<ExitCode> {
    Ok(match explained(explain, host).await {
        Ok(explained) => {
            match explain.json {
                true => say(format_args!("{:#}\n", serde_json::json!(explained)))?,
                false => say(&explained)?,
            }
            if is_forwarded(&explained) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(CANNOT_TELL)
        }
    })
}

async fn explained(explain: &Explain, host: &str) -> Result<RequestExplained> {
    let request = &explain.request;
    let asked = RequestAsked {
        host: host.to_owned(),
        path: request.path.clone(),
        method: request.method.clone(),
        headers: request.headers.clone(),
        sni: request.sni.clone(),
        from: explain.from.map(|from| from.address),
        to: explain.to,
    };
    match &request.manifests {
        Some(folder) => {
            let snapshot = read(folder, &meaning(&request.meaning))?;
            Ok(l7::explain(&snapshot, &asked, (&Trust::default(), &Limits::default()))?)
        }
        None => Ok(admin::explain_request(&explain.admin_socket.admin_socket, &asked).await?),
    }
}

/// A folder whose Services make no listener is meant for an agent that answers on ports of its own.
fn read(folder: &Path, settings: &Settings) -> Result<Snapshot> {
    let read = |settings: &Settings| {
        files::read(folder, settings).with_context(|| format!("reading {}", folder.display()))
    };
    let snapshot = read(settings)?;
    if !snapshot.listeners.is_empty() {
        return Ok(snapshot);
    }
    let at = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let standalone = BTreeMap::from([(at(80), ListenerProtocol::Http), (at(443), ListenerProtocol::Https)]);
    read(&Settings { standalone, ..settings.clone() })
}
