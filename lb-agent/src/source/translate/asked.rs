//! What an Ingress asks for of its backends: it has one of its own of each, but for others that ask for the same.

use k8s_openapi::api::networking::v1::Ingress;

use super::backend_tls::TlsChoice;
use super::protocol::{self, Choice};
use super::treatment::Wishes;
use crate::model::{ObjectRef, Problem};
use crate::source::Index;

/// By default, what the Service says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Asked {
    /// What is spoken with endpoints: it stands above what the Service says.
    pub(super) spoken: Choice,
    /// What goes for TLS below it.
    pub(super) tls: TlsChoice,
    /// How they get requests: as far as the Service says nothing of it.
    pub(super) wishes: Wishes,
}

impl Asked {
    /// By the annotations of an Ingress.
    pub(super) fn by(
        name: &ObjectRef,
        ingress: &Ingress,
        index: &Index,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let tls = TlsChoice::by(name, ingress, index, problems);
        let spoken = protocol::choice(name, ingress, problems);
        Self { spoken, tls, wishes: Wishes::of_ingress(name, ingress, problems) }
    }
}
