//! Objects -> state: the manifests folder, one `Index` for every source, translation. Knows `model` only.

pub mod files;

mod certificate;
mod index;
mod names;
mod object;
mod parameters;
mod publish;
mod settings;
mod strip;
mod translate;

pub use files::check;
pub use index::Index;
pub use object::Object;
pub use parameters::{IngressParameters, IngressParametersSpec, ServiceRef};
pub use settings::Settings;
pub use translate::translate;
