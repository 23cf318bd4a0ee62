//! The text of a document -> objects, as the API server would take them: YAML to JSON to types, with the defaults
//! that admission fills in. What cannot be taken is told with its field.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::yaml::{self, SyntaxError};
use crate::api::{EdgeMembership, IngressParameters};
use crate::model::{Kind, ObjectRef, Severity};
use crate::source::{Object, object};

/// The namespace of objects that name none, as with `kubectl apply`.
const DEFAULT_NAMESPACE: &str = "default";

/// What a document holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Decoded {
    /// Its objects: one, or those of a `List`.
    pub(super) items: Vec<Item>,
    /// What is wrong with them.
    pub(super) notes: Vec<Note>,
}

/// An object, or the name of one whose fields are wrong.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Item {
    Good(Object),
    Bad(ObjectRef),
}

/// A problem whose place in the folder is known to the file alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Note {
    pub(super) severity: Severity,
    pub(super) object: Option<ObjectRef>,
    pub(super) field: String,
    pub(super) message: String,
}

/// The objects of a document.
///
/// # Errors
/// `SyntaxError` if the text is no YAML: then nothing can be told of its objects.
pub(super) fn decode(text: &str) -> Result<Decoded, SyntaxError> {
    let mut decoded = Decoded::default();
    match yaml::parse(text)? {
        Value::Null => {}
        Value::Object(object) => decoded.add(object),
        _ => decoded.complain(
            Severity::Error,
            None,
            "",
            "is no Kubernetes object: a mapping with kind is expected",
        ),
    }
    Ok(decoded)
}

impl Decoded {
    fn add(&mut self, mut object: Map<String, Value>) {
        let (api_version, kind) = (text(&object, "apiVersion"), text(&object, "kind"));
        if kind.is_empty() || api_version.is_empty() {
            let message = "is no Kubernetes object: apiVersion or kind is missing";
            return self.complain(Severity::Error, None, "", message);
        }
        if let (Some(kind), Some(Value::Array(items))) = (kind.strip_suffix("List"), object.get_mut("items"))
        {
            return std::mem::take(items)
                .into_iter()
                .for_each(|item| self.add_listed(item, &api_version, kind));
        }
        match Kind::ALL.into_iter().find(|known| known.as_str() == kind) {
            Some(known) if object::api_version(known) == api_version => self.add_known(known, object),
            Some(known) if is_other_version(known, &api_version) => {
                fill_namespace(known, &mut object);
                let message = format!("{api_version} is not read: write {}", object::api_version(known));
                self.complain(Severity::Error, Some(name(known, &object)), "apiVersion", message);
            }
            _ => self.complain(
                Severity::Warning,
                None,
                "",
                format!("edgelb does not read {kind} of {api_version}"),
            ),
        }
    }

    /// An item of a list; those of a typed list may leave out what the list says of all.
    fn add_listed(&mut self, item: Value, api_version: &str, kind: &str) {
        let Value::Object(mut item) = item else {
            return self.complain(Severity::Error, None, "items", "an item is no Kubernetes object");
        };
        if !kind.is_empty() {
            item.entry("apiVersion").or_insert_with(|| api_version.into());
            item.entry("kind").or_insert_with(|| kind.into());
        }
        self.add(item);
    }

    fn add_known(&mut self, kind: Kind, mut object: Map<String, Value>) {
        fill_namespace(kind, &mut object);
        if kind == Kind::Secret {
            unfold_data(&mut object);
        }
        let name = name(kind, &object);
        if name.name.is_empty() {
            let message = format!("the {} has no name", kind.as_str());
            return self.complain(Severity::Error, None, "metadata.name", message);
        }
        let mut unknown = Vec::new();
        let result = typed(kind, object, &mut unknown);
        for field in unknown {
            self.complain(
                Severity::Warning,
                Some(name.clone()),
                field,
                "unknown field, ignored: is it misspelt?",
            );
        }
        match result {
            Ok(object) => self.items.push(Item::Good(object)),
            Err((field, message)) => {
                let message = without_secrets(kind, &field, message);
                self.complain(Severity::Error, Some(name.clone()), field, message);
                self.items.push(Item::Bad(name));
            }
        }
    }

    fn complain(
        &mut self,
        severity: Severity,
        object: Option<ObjectRef>,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.notes.push(Note { severity, object, field: field.into(), message: message.into() });
    }
}

/// Whether it is another version of the kind's own group, or no group where one belongs, and not another kind of
/// that name.
fn is_other_version(kind: Kind, api_version: &str) -> bool {
    let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
    let found = group(api_version);
    found.is_none()
        || found == group(object::api_version(kind))
        || (kind == Kind::Ingress && found.as_deref() == Some("extensions"))
}

fn typed(
    kind: Kind,
    object: Map<String, Value>,
    unknown: &mut Vec<String>,
) -> Result<Object, (String, String)> {
    match kind {
        Kind::Node => from::<Node>(object, unknown).map(Object::from),
        Kind::Service => from::<Service>(object, unknown).map(Object::from),
        Kind::EndpointSlice => from::<EndpointSlice>(object, unknown).map(Object::from),
        Kind::IngressClass => from::<IngressClass>(object, unknown).map(Object::from),
        Kind::Ingress => from::<Ingress>(object, unknown).map(Object::from),
        Kind::Secret => from::<Secret>(object, unknown).map(with_string_data).map(Object::from),
        Kind::ConfigMap => from::<ConfigMap>(object, unknown).map(Object::from),
        Kind::IngressParameters => from::<IngressParameters>(own(object), unknown).map(Object::from),
        Kind::EdgeMembership => from::<EdgeMembership>(own(object), unknown).map(Object::from),
    }
}

/// Of our own kinds, what the type has: `apiVersion` and `kind` are no part of it, as they are of the types of
/// Kubernetes.
fn own(object: Map<String, Value>) -> Map<String, Value> {
    object.into_iter().filter(|(key, _)| key != "apiVersion" && key != "kind").collect()
}

/// The typed object, or the field that is wrong and why. Fields that the type does not have go to `unknown`.
fn from<T: DeserializeOwned>(
    object: Map<String, Value>,
    unknown: &mut Vec<String>,
) -> Result<T, (String, String)> {
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(Value::Object(object), &mut track);
    let result = serde_ignored::deserialize(deserializer, |path| unknown.push(field(&path)));
    result.map_err(|error: serde_json::Error| (track.path().to_string(), error.to_string()))
}

/// The message, which quotes the wrong value, unless that value is a secret.
fn without_secrets(kind: Kind, field: &str, message: String) -> String {
    let is_secret = kind == Kind::Secret && (field.starts_with("data") || field.starts_with("stringData"));
    if is_secret {
        "is not what it has to be: base64 in data, text in stringData".to_owned()
    } else {
        message
    }
}

/// A path as `Problem` spells it: `spec.rules[0].host`.
fn field(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field(parent)),
        Path::Map { parent, key } => match field(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            field(parent)
        }
    }
}

/// As the API server's base64 decoder does: line breaks in `data` do not count, as in `tls.crt: |`.
fn unfold_data(secret: &mut Map<String, Value>) {
    let Some(Value::Object(data)) = secret.get_mut("data") else { return };
    for value in data.values_mut() {
        if let Value::String(text) = value {
            text.retain(|char| char != '\n' && char != '\r');
        }
    }
}

/// As the API server does: `stringData` is written over `data`.
fn with_string_data(mut secret: Secret) -> Secret {
    let plain = secret.string_data.take().into_iter().flatten();
    secret
        .data
        .get_or_insert_default()
        .extend(plain.map(|(key, value)| (key, ByteString(value.into_bytes()))));
    secret
}

fn text(object: &Map<String, Value>, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn name(kind: Kind, object: &Map<String, Value>) -> ObjectRef {
    let empty = Map::new();
    let metadata = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let namespace = if kind.is_namespaced() { text(metadata, "namespace") } else { String::new() };
    ObjectRef::new(kind, namespace, text(metadata, "name"))
}

fn fill_namespace(kind: Kind, object: &mut Map<String, Value>) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
    if kind.is_namespaced()
        && metadata.get("namespace").is_none_or(|namespace| namespace.is_null() || namespace == "")
    {
        metadata.insert("namespace".to_owned(), DEFAULT_NAMESPACE.into());
    }
}

#[cfg(test)]
mod tests;
