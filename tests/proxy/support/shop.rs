//! A Service `shop` with the annotations of a test, an Ingress that sends everything there, and pods that the test has.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::backend::Backend;
use super::site::Site;

/// What a test says of the shop.
#[derive(Default)]
pub(crate) struct Shop {
    /// Of the Service.
    pub(crate) service: Value,
    /// Of the Ingress.
    pub(crate) ingress: Value,
}

impl Shop {
    /// With these annotations of the Service.
    pub(crate) fn of(service: Value) -> Self {
        Self { service, ..Self::default() }
    }

    /// Serves it with these pods.
    pub(crate) async fn open(&self, pods: &[&Backend]) -> Site {
        let mut site = Site::start("", &[]).await;
        self.tell(&mut site, pods);
        site
    }

    /// The same with other pods.
    pub(crate) fn tell(&self, site: &mut Site, pods: &[&Backend]) {
        self.tell_of(site, &pods.iter().map(|pod| pod.address).collect::<Vec<_>>());
    }

    /// The same with pods at these addresses.
    pub(crate) fn tell_of(&self, site: &mut Site, pods: &[SocketAddr]) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "annotations": self.service},
            "spec": {"ports": [{"port": 80}]},
        });
        let to_shop = json!({"service": {"name": "shop", "port": {"number": 80}}});
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "shop", "annotations": self.ingress}, "spec": {"defaultBackend": to_shop},
        });
        let items: Vec<_> = [service, ingress].into_iter().chain(pods.iter().map(slice)).collect();
        site.change("shop.json", &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    }
}

fn slice(pod: &SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("shop-{}", pod.port()),
            "labels": {"kubernetes.io/service-name": "shop"},
        },
        "ports": [{"name": "", "port": pod.port()}],
        "endpoints": [{"addresses": [pod.ip().to_string()]}],
    })
}
