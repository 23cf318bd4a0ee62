//! What clients of the lab ask for: `deploy/examples` as it stands, its Secret, and a second host with a
//! certificate of its own.

use anyhow::Result;

use super::Lab;
use super::certificates::Certificate;
use super::manifests::ingress;

/// The host of the examples with two apps and a certificate: `/api` goes to `api`, everything else to `shop`.
pub const SHOP: &str = "shop.example.org";

/// The host of the examples without a certificate: all goes to `api`.
pub const API: &str = "api.example.org";

/// The host that is not in the examples: all goes to `shop`, and it has a certificate.
pub const DOCS: &str = "docs.example.org";

/// The files of `deploy/examples` that are the same for every lab.
const EXAMPLES: [(&str, &str); 4] = [
    ("edge.yaml", include_str!("../../../deploy/examples/edge.yaml")),
    ("shop.yaml", include_str!("../../../deploy/examples/shop.yaml")),
    ("api.yaml", include_str!("../../../deploy/examples/api.yaml")),
    ("ingress.yaml", INGRESS),
];

/// `deploy/examples/ingress.yaml`: the Ingress of `SHOP`, then that of `API`.
pub const INGRESS: &str = include_str!("../../../deploy/examples/ingress.yaml");

/// The site's certificates.
#[derive(Clone, Debug)]
pub struct Site {
    /// Of `SHOP`.
    pub shop: Certificate,
    /// Of `DOCS`.
    pub docs: Certificate,
}

impl Site {
    /// Writes all of it into the lab's manifests.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn publish(lab: &Lab) -> Result<Self> {
        let site = Self { shop: lab.authority.sign(&[SHOP])?, docs: lab.authority.sign(&[DOCS])? };
        for (name, text) in EXAMPLES {
            lab.manifests.write(name, text)?;
        }
        lab.write_nodes(&[])?;
        lab.manifests.write_secret("shop-tls", &site.shop)?;
        lab.manifests.write_secret("docs-tls", &site.docs)?;
        lab.manifests.write("docs.yaml", &ingress("docs", &[(DOCS, "/", "shop")], &[(DOCS, "docs-tls")]))?;
        Ok(site)
    }

    /// `ingress.yaml` with other apps behind `SHOP`.
    #[must_use]
    pub fn shop_routes(root: &str, api: &str) -> String {
        let shop = ingress("shop", &[(SHOP, "/", root), (SHOP, "/api", api)], &[(SHOP, "shop-tls")]);
        let others = INGRESS.split("---\n").skip(1);
        [shop.as_str()].into_iter().chain(others).collect::<Vec<_>>().join("---\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::address::{Link, VIP};
    use crate::lab::manifests;

    /// The file of an example that is about this.
    fn example(name: &str) -> &'static str {
        EXAMPLES.iter().find(|(file, _)| *file == name).expect("one of the examples").1
    }

    #[test]
    fn examples_name_the_labs_addresses() {
        for pod in 1..=2 {
            assert!(example("shop.yaml").contains(&format!("\"{}\"", Link::pod(1, pod).host.v4)));
            assert!(example("api.yaml").contains(&format!("\"{}\"", Link::pod(2, pod).host.v4)));
        }
        assert!(example("edge.yaml").contains(&format!("{},{}", VIP.v4, VIP.v6)));
        let nodes = [("edge-1", 1), ("edge-2", 2), ("edge-3", 3)];
        let nodes = nodes.map(|(name, n)| (name, Link::edge(n).host.v4.into()));
        assert_eq!(manifests::nodes(&nodes, &[]), manifests::EXAMPLE_NODES);
    }
}
