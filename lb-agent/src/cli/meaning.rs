//! `lb-agent check`: its flags, and those that change what objects mean, which `run` has, too.

use std::path::PathBuf;

use clap::Args;

/// `lb-agent check`
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The folder.
    #[arg(value_name = "DIR")]
    pub manifests: PathBuf,
    /// Warnings count as errors.
    #[arg(long)]
    pub strict: bool,
    /// As `run` has it.
    #[command(flatten)]
    pub meaning: Meaning,
}

/// The flags that change what objects mean.
#[derive(Clone, Debug, Args)]
pub struct Meaning {
    /// Secret with the certificate for hosts that have none of their own.
    #[arg(long, env = "EDGELB_DEFAULT_CERTIFICATE", value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    pub default_certificate: Option<(String, String)>,
    /// Take Ingresses that name no class too.
    #[arg(long, env = "EDGELB_WATCH_WITHOUT_CLASS")]
    pub watch_without_class: bool,
    /// Let routes lead to Services of type ExternalName, in classes whose IngressParameters do not say. Whoever may
    /// write Services then chooses where this node sends requests.
    #[arg(long, env = "EDGELB_ALLOW_EXTERNAL_NAME")]
    pub allow_external_name: bool,
    /// The zone of this node, for Services whose requests are to stay in one. [default: the label
    /// `topology.kubernetes.io/zone` of its Node object]
    #[arg(long, env = "EDGELB_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,
}

fn namespaced(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("expected NAMESPACE/NAME".to_owned()),
    }
}
