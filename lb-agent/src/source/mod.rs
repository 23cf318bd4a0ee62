//! Objects -> state: the manifests folder, the cluster, one `Index` for both, translation. Knows `model` and
//! `api` only.

pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
pub mod kube;

mod certificate;
mod changes;
mod index;
mod last_good;
mod names;
mod object;
mod publish;
mod resolver;
mod secret;
mod settings;
mod staple;
mod strip;
mod translate;

pub use changes::Changes;
pub use files::check;
pub use index::Index;
pub use object::Object;
pub use resolver::{Answer, Answers};
pub use secret::CertificateSecret;
pub use settings::{Membership, Settings};
pub use translate::{Translator, translate};
