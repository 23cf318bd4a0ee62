//! Random histories, and what counts as a change.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;
use crate::model::Snapshot;
use crate::source::files::parse_text;
use crate::source::{Settings, Translator, translate};

/// Kinds of objects that `object` makes.
const OBJECTS: usize = 13;

/// Of those, the Secrets that hold no certificate.
const BAD_SECRET: usize = 12;

/// Chain and key of a certificate for `x0.org`, one for `*.org` that ends in 2026, and one for `x1.org` that begins
/// then.
static CERTIFICATES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let certificate = |(name, begin, end): (&str, i32, i32)| {
        let mut params = CertificateParams::new([name.to_owned()]).expect("names");
        (params.not_before, params.not_after) = (date_time_ymd(begin, 6, 1), date_time_ymd(end, 6, 1));
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    };
    [("x0.org", 2020, 2090), ("*.org", 2020, 2026), ("x1.org", 2026, 2090)]
        .into_iter()
        .map(certificate)
        .collect()
});

/// Times before and after 2026-06-01, seconds since the Unix epoch.
const TIMES: [i64; 3] = [1_767_225_600, 1_798_761_600, 1_801_440_000];

/// One version of one of a few objects, most of which refer to each other.
fn object(which: usize, version: usize) -> Object {
    let name = version % 3;
    let half = version % 2;
    let status = format!("status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.{half}}}]}}}}");
    let backend = format!("{{service: {{name: b{name}, port: {{number: 80}}}}}}");
    let path = format!("{{path: /{}, pathType: Prefix, backend: {backend}}}", version % 4);
    let text = match which % OBJECTS {
        0 => {
            let controller =
                if version.is_multiple_of(5) { "example.org/other" } else { "edgelb.dev/ingress" };
            let default = if half == 0 { "true" } else { "false" };
            format!(
                "{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: edgelb, annotations: {{ingressclass.kubernetes.io/is-default-class: '{default}'}}}}, spec: {{controller: {controller}}}}}"
            )
        }
        1 => format!(
            "{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: private}}, spec: {{controller: edgelb.dev/ingress, parameters: {{apiGroup: edgelb.dev, kind: IngressParameters, name: p{half}}}}}}}"
        ),
        2 => {
            let services = if version.is_multiple_of(4) {
                String::new()
            } else {
                format!("services: [{{namespace: default, name: s{name}}}],")
            };
            let certificate = format!("defaultCertificate: {{namespace: default, name: t{name}}}");
            let backend =
                format!("defaultBackend: {{namespace: default, name: b{name}, port: {{number: 8{half}}}}}");
            format!(
                "{{apiVersion: edgelb.dev/v1alpha1, kind: IngressParameters, metadata: {{name: p0}}, spec: {{{services} {certificate}, {backend}, allowExternalName: {}}}}}",
                version > 6
            )
        }
        3 | 4 => format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{name}, annotations: {{edgelb.dev/vips: 203.0.113.{name}}}}}, spec: {{type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{{port: 80}}, {{port: {version}}}]}}, {status}}}"
        ),
        5 => {
            let kind = if version.is_multiple_of(7) { "ExternalName" } else { "ClusterIP" };
            format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: b{name}}}, spec: {{type: {kind}, clusterIP: 203.0.113.{version}, ports: [{{port: {}}}]}}}}",
                80 + half
            )
        }
        6 => {
            let label = if version.is_multiple_of(6) {
                String::new()
            } else {
                format!("kubernetes.io/service-name: b{name}")
            };
            let more = if version.is_multiple_of(4) { "{addresses: [nonsense]}" } else { "" };
            format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{name: e{half}, labels: {{{label}}}}}, ports: [{{port: 8080}}], endpoints: [{{addresses: [192.0.2.{version}]}}, {more}]}}"
            )
        }
        7 => format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: n{name}, labels: {{edgelb.dev/edge: 'true'}}}}, status: {{addresses: [{{type: InternalIP, address: 198.51.100.{}}}]}}}}",
            version % 5
        ),
        8 => format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: i{name}, creationTimestamp: '202{half}-01-01T00:00:00Z'}}, spec: {{ingressClassName: edgelb, rules: [{{host: x{half}.org, http: {{paths: [{path}]}}}}], tls: [{{secretName: t{name}, hosts: [x{half}.org]}}]}}, {status}}}"
        ),
        9 => format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: j{name}}}, spec: {{ingressClassName: private, defaultBackend: {backend}, tls: [{{secretName: t{half}}}]}}}}"
        ),
        10 => format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: k{half}}}, spec: {{rules: [{{http: {{paths: [{path}, {path}]}}}}, {{host: '*.org'}}, {{host: x{half}.org}}], defaultBackend: {backend}, tls: [{{secretName: t{name}, hosts: [x0.org, bad_host]}}, {{secretName: t1}}]}}}}"
        ),
        11 | BAD_SECRET => {
            let (chain, key) = &CERTIFICATES[version % CERTIFICATES.len()];
            let key = if which % OBJECTS == BAD_SECRET { "" } else { key };
            let data = serde_json::json!({"tls.crt": chain, "tls.key": key});
            format!(
                "{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: t{half}}}, stringData: {data}}}"
            )
        }
        _ => unreachable!("all are listed"),
    };
    let (mut objects, problems) = parse_text(Path::new("test.yaml"), &text);
    assert!(problems.is_empty(), "{problems:?}");
    objects.remove(0).0
}

fn origin(line: usize) -> Origin {
    Origin::File { path: PathBuf::from("test.yaml"), line }
}

#[derive(Clone, Debug)]
enum Step {
    Apply(usize, usize),
    Delete(usize, usize),
    Reset(Kind, Vec<(usize, usize)>),
    Translate(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let object = || (0..OBJECTS, 1..12_usize);
    let step = prop_oneof![
        12 => object().prop_map(|(which, version)| Step::Apply(which, version)),
        3 => object().prop_map(|(which, version)| Step::Delete(which, version)),
        1 => (proptest::sample::select(&Kind::ALL), proptest::collection::vec(object(), 0..12))
            .prop_map(|(kind, objects)| Step::Reset(kind, objects)),
        6 => (0..TIMES.len()).prop_map(Step::Translate),
    ];
    proptest::collection::vec(step, 0..60)
}

/// An index under way, and what it should hold.
struct History {
    index: Index,
    translator: Translator,
    settings: Settings,
    expected: BTreeMap<ObjectRef, (Object, Origin)>,
    /// Whether a Secret held no certificate once: an index remembers its last good one, a new index cannot.
    remembers: bool,
}

impl History {
    fn new() -> Self {
        let settings = Settings {
            watch_without_class: true,
            default_certificate: Some(("default".to_owned(), "t0".to_owned())),
            ..Settings::default()
        };
        Self {
            index: Index::default(),
            translator: Translator::new(settings.clone()),
            settings,
            expected: BTreeMap::new(),
            remembers: false,
        }
    }

    /// Takes a step; gives the snapshots that should be equal.
    fn step(&mut self, line: usize, step: Step) -> Vec<Snapshot> {
        match step {
            Step::Apply(which, version) => {
                let object = object(which, version);
                self.remembers |= which % OBJECTS == BAD_SECRET;
                self.expected.insert(object.reference(), (object.clone(), origin(line)));
                self.index.apply(object, origin(line));
            }
            Step::Delete(which, version) => {
                let name = object(which, version).reference();
                assert_eq!(self.expected.remove(&name).is_some(), self.index.delete(&name));
            }
            Step::Reset(kind, objects) => {
                self.expected.retain(|name, _| name.kind != kind);
                self.remembers |= objects.iter().any(|(which, _)| which % OBJECTS == BAD_SECRET);
                let objects: Vec<_> =
                    objects.into_iter().map(|(which, version)| object(which, version)).collect();
                for object in objects.iter().filter(|object| object.kind() == kind) {
                    self.expected.insert(object.reference(), (object.clone(), origin(line)));
                }
                self.index.reset(kind, objects.into_iter().map(|object| (object, origin(line))));
            }
            Step::Translate(time) => return self.translate(TIMES[time]),
        }
        Vec::new()
    }

    fn translate(&mut self, now: i64) -> Vec<Snapshot> {
        let mut snapshots = vec![
            self.translator.translate(&mut self.index, now),
            translate(&self.index, &self.settings, now),
        ];
        if !self.remembers {
            let mut rebuilt = Index::default();
            for (object, origin) in self.expected.values() {
                rebuilt.apply(object.clone(), origin.clone());
            }
            snapshots.push(translate(&rebuilt, &self.settings, now));
        }
        snapshots
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happened before, and whenever somebody looked, the state is that of the objects that are left:
    /// nothing of others stays, and nothing is missing.
    #[test]
    fn a_history_leads_where_its_end_leads(steps in steps(), end in 0..TIMES.len()) {
        let mut history = History::new();
        for (line, step) in steps.into_iter().chain([Step::Translate(end)]).enumerate() {
            let snapshots = history.step(line, step);
            for (one, other) in snapshots.iter().zip(snapshots.iter().skip(1)) {
                prop_assert_eq!(one, other);
            }
        }
    }
}

#[test]
fn what_changes_nothing_is_no_change() {
    let mut index = Index::default();
    assert!(index.apply(object(0, 1), origin(1)));
    assert!(!index.apply(object(0, 1), origin(1)));
    assert!(index.apply(object(0, 1), origin(2)), "problems name the place");
    assert!(!index.reset(Kind::IngressClass, [(object(0, 1), origin(2))]));
    assert!(!index.reset(Kind::Node, []));
    assert!(
        index.reset(Kind::IngressClass, [(object(7, 1), origin(3))]),
        "a Node is not taken, the class is gone"
    );
    assert_eq!((index.count(Kind::IngressClass), index.count(Kind::Node)), (0, 0));
    assert!(!index.delete(&object(0, 1).reference()));
}
