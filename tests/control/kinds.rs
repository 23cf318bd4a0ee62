//! The kinds of `deploy/crds`, on an API server that serves them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use lb_agent::api::{EdgeMembership, IngressParameters};
use tokio::time::sleep;

/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes them, and waits until they are served.
pub(crate) async fn create_kinds(client: &Client) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for name in ["edgememberships.yaml", "ingressparameters.yaml"] {
        let text = std::fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())?;
        let kind: CustomResourceDefinition = serde_saphyr::from_str(&text)?;
        kinds.create(&PostParams::default(), &kind).await?;
    }
    let (histories, parameters) =
        (Api::<EdgeMembership>::all(client.clone()), Api::<IngressParameters>::all(client.clone()));
    let (list, start) = (ListParams::default(), Instant::now());
    loop {
        let answers = (histories.list(&list).await.map(drop), parameters.list(&list).await.map(drop));
        match answers {
            (Ok(()), Ok(())) => return Ok(()),
            (Err(error), _) | (_, Err(error)) => {
                ensure!(start.elapsed() < PATIENCE, "our kinds are not served: {error}");
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}
