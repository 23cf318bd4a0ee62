//! Which watches run: one task each, all telling one channel.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::Client;
use kube::api::{Api, Resource};
use kube::core::PartialObjectMeta;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::Connect;
use super::failure::Failure;
use super::feed::{Feed, FlowSecret, Item, Message, News};
use super::follow::{Follower, in_time};
use crate::api::{EdgeMembership, IngressParameters};
use crate::model::{Kind, ObjectRef};
use crate::source::{Object, names};

/// Secrets read by name at one time: thousands of new hosts are not thousands of requests at once.
const READS: usize = 8;

/// A Secret that could not be read is asked for again after this, and after twice that the next time, up to `MOST`.
const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(30);

/// Secrets that share a connection: kube-apiserver takes 100 requests on one at a time.
const CROWD: usize = 64;

/// The Namespace that every cluster has, and only once: its uid stands for the cluster's.
const CLUSTER: &str = "kube-system";

/// The tasks that talk with the API server. Dropped, they end.
pub(super) struct Watches {
    connect: Connect,
    client: Client,
    /// For single Secrets, and how many each has: a server takes only so many requests on one connection.
    crowds: Vec<(Client, usize)>,
    namespace: String,
    news: Sender<Message>,
    tasks: JoinSet<()>,
    /// The watches of single Secrets, each with the place of its client.
    secrets: BTreeMap<ObjectRef, (AbortHandle, usize)>,
    reads: Arc<Semaphore>,
}

impl Watches {
    /// Those of the kinds that do not depend on others; `namespace` is our own.
    pub(super) fn start(
        connect: Connect,
        namespace: String,
        news: Sender<Message>,
    ) -> Result<Self, kube::Error> {
        let mut this = Self {
            client: connect()?,
            connect,
            crowds: Vec::new(),
            namespace,
            news,
            tasks: JoinSet::new(),
            secrets: BTreeMap::new(),
            reads: Arc::new(Semaphore::new(READS)),
        };
        this.all::<Node>(Kind::Node, None, object);
        this.all::<Service>(Kind::Service, None, object);
        this.all::<EndpointSlice>(Kind::EndpointSlice, None, object);
        this.all::<IngressClass>(Kind::IngressClass, None, object);
        this.all::<Ingress>(Kind::Ingress, None, object);
        this.all::<PartialObjectMeta<ConfigMap>>(Kind::ConfigMap, None, config_map);
        this.all::<IngressParameters>(Kind::IngressParameters, None, object);
        this.all::<EdgeMembership>(Kind::EdgeMembership, None, object);
        let namespaces = Api::<PartialObjectMeta<Namespace>>::all(this.client.clone());
        this.spawn(namespaces, Some(format!("metadata.name={CLUSTER}")), Feed::Cluster, cluster);
        let keys = Api::namespaced(this.client.clone(), &this.namespace);
        this.spawn(keys, Some(format!("metadata.name={}", names::KEYS)), Feed::FlowKey, flow_key);
        Ok(this)
    }

    /// All Secrets that hold a certificate.
    pub(super) fn start_secrets(&mut self) {
        self.all::<Secret>(Kind::Secret, Some(format!("type={}", names::TLS_TYPE)), object);
    }

    /// One Secret.
    pub(super) fn start_secret(&mut self, secret: &ObjectRef) {
        let at = self.place();
        let client = self.crowds.get_mut(at).map_or(&self.client, |(client, watches)| {
            *watches += 1;
            client
        });
        let api = Api::<Secret>::namespaced(client.clone(), &secret.namespace);
        let fields = Some(format!("metadata.name={}", secret.name));
        let task = self.spawn(api, fields, Feed::Secret(secret.clone()), object);
        self.secrets.insert(secret.clone(), (task, at));
    }

    /// No longer.
    pub(super) fn stop_secret(&mut self, secret: &ObjectRef) {
        let Some((task, at)) = self.secrets.remove(secret) else { return };
        task.abort();
        if let Some((_, watches)) = self.crowds.get_mut(at) {
            *watches -= 1;
        }
    }

    /// The client that has room for a Secret; a new one if there is none.
    fn place(&mut self) -> usize {
        let found = self.crowds.iter().position(|(_, watches)| *watches < CROWD);
        found.unwrap_or_else(|| {
            // It worked when the source began; if not now, the common one has to do.
            self.crowds.extend((self.connect)().ok().map(|client| (client, 0)));
            self.crowds.len().saturating_sub(1)
        })
    }

    /// Reads one Secret; after `failures` in a row not at once.
    pub(super) fn read_secret(&mut self, secret: ObjectRef, ticket: u64, failures: u32) {
        let api = Api::<Secret>::namespaced(self.client.clone(), &secret.namespace);
        let (reads, news) = (Arc::clone(&self.reads), self.news.clone());
        self.tasks.spawn(async move {
            if let Some(again) = failures.checked_sub(1) {
                sleep(FIRST.saturating_mul(1 << again.min(16)).min(MOST)).await;
            }
            let Ok(_permit) = reads.acquire().await else { return };
            let found = in_time(api.get_opt(&secret.name)).await;
            let answer =
                found.map(|found| found.map(Object::from)).map_err(|failure: Failure| failure.message);
            let news_of = News::Read { secret, ticket, answer, failures };
            // Fails when nobody listens any more.
            let _ = news.send(Message { feed: Feed::Kind(Kind::Secret), news: news_of }).await;
        });
        while self.tasks.try_join_next().is_some() {}
    }

    fn all<K>(&mut self, kind: Kind, fields: Option<String>, convert: fn(K) -> Item)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.spawn(Api::all(self.client.clone()), fields, Feed::Kind(kind), convert);
    }

    fn spawn<K>(
        &mut self,
        api: Api<K>,
        fields: Option<String>,
        feed: Feed,
        convert: fn(K) -> Item,
    ) -> AbortHandle
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.tasks.spawn(Follower { api, fields, feed, convert, news: self.news.clone() }.run())
    }
}

fn object<K: Into<Object>>(object: K) -> Item {
    Item::Object(object.into())
}

/// Nothing of its content is read, nor asked for.
fn config_map(map: PartialObjectMeta<ConfigMap>) -> Item {
    object(ConfigMap { metadata: map.metadata, ..ConfigMap::default() })
}

fn cluster(namespace: PartialObjectMeta<Namespace>) -> Item {
    Item::Cluster(namespace.metadata.uid.unwrap_or_default())
}

fn flow_key(secret: Secret) -> Item {
    let key = secret.data.and_then(|mut data| data.remove(names::FLOW_KEY));
    Item::FlowKey(key.filter(|key| !key.0.is_empty()).map(|key| FlowSecret(key.0.into())))
}
