//! What answers where no Ingress says who does: certificates and backends of whole classes, and the operator's
//! certificate for classes without one. And what handshakes of whole classes may agree on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::age::Age;
use super::asked::Asked;
use super::backends::{Backends, User};
use super::certificates;
use super::classes::Classes;
use super::register::Register;
use crate::model::{Backend, BackendId, Cause, Certificate, DefaultBackend, ObjectRef, Problem, TlsPolicy};
use crate::source::{Index, Settings};

/// The defaults of all classes.
#[derive(PartialEq, Debug, Default)]
pub(super) struct Defaults {
    /// Of those that have any, the oldest first.
    classes: Vec<OfClass>,
    /// For all others.
    operator: Option<Arc<Certificate>>,
}

#[derive(PartialEq, Debug)]
struct OfClass {
    class: String,
    age: Age,
    /// The IngressParameters.
    by: Arc<ObjectRef>,
    certificate: Option<Arc<Certificate>>,
    backend: Option<Arc<Backend>>,
    tls: Option<TlsPolicy>,
}

/// A default certificate, and whose it is: of IngressParameters, or the operator's.
pub(super) type Fallback<'a> = (&'a Arc<Certificate>, Option<&'a ObjectRef>);

impl Defaults {
    /// Those of now. Backends that were of use `before` and are not any more are released.
    pub(super) fn translate(
        index: &Index,
        settings: &Settings,
        classes: &Classes,
        now: i64,
        backends: &mut Backends,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let operator = certificates::default(index, settings, now, problems);
        let mut made = Vec::new();
        for (name, class) in classes.ours() {
            let Some(by) = &class.parameters.name else { continue };
            let certificate = class.parameters.certificate.as_ref();
            let certificate = certificate.and_then(|secret| {
                certificates::load(by, "spec.defaultCertificate", secret, index, now, problems)
            });
            let backend = class.parameters.backend.clone();
            let allows_external_name = classes.allow_external_name(name);
            let asked = Arc::<Asked>::default();
            let user = User { name: by, index, asked: &asked, allows_external_name };
            let backend = backend.map(|id| backends.of_class(user, id, problems));
            let tls = class.parameters.tls;
            if certificate.is_some() || backend.is_some() || tls.is_some() {
                let (class, age, by) = (name.to_owned(), class.age.clone(), Arc::clone(by));
                made.push(OfClass { class, age, by, certificate, backend, tls });
            }
        }
        made.sort_by(|one, other| one.age.cmp(&other.age));
        Self { classes: made, operator }
    }

    /// Gives back the backends that `now` does not name any more.
    pub(super) fn release(self, now: &Self, backends: &mut Backends, register: &mut Register) {
        for (by, id) in self.backends().collect::<BTreeSet<_>>().difference(&now.backends().collect()) {
            backends.release(by, id, register);
        }
    }

    fn backends(&self) -> impl Iterator<Item = (&ObjectRef, &BackendId)> {
        self.classes.iter().filter_map(|class| Some((class.by.as_ref(), &class.backend.as_ref()?.id)))
    }

    /// The certificates for hosts without one, on listeners of these classes.
    pub(super) fn certificates<'a>(
        &'a self,
        classes: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = Fallback<'a>> {
        let of_classes =
            self.of(classes).filter_map(|class| class.certificate.as_ref().map(|own| (own, class)));
        let own: BTreeSet<&str> = of_classes.clone().map(|(_, class)| class.class.as_str()).collect();
        let is_left = classes.is_empty() || classes.iter().any(|class| !own.contains(class.as_str()));
        let of_classes = of_classes.map(|(certificate, class)| (certificate, Some(class.by.as_ref())));
        of_classes.chain(self.operator.iter().filter(move |_| is_left).map(|certificate| (certificate, None)))
    }

    /// Where requests go that nothing matches, on listeners of these classes; a class that loses hears of it.
    pub(super) fn backend(
        &self,
        classes: &BTreeSet<String>,
        problems: &mut Vec<Problem>,
    ) -> Option<DefaultBackend> {
        let backends = self.of(classes).filter_map(|class| Some((class.backend.as_ref()?, class)));
        let (backend, class) = oldest(backends, ("default backend", "spec.defaultBackend"), problems)?;
        Some(DefaultBackend { backend: Arc::clone(backend), object: Arc::clone(&class.by) })
    }

    /// What handshakes may agree on, on listeners of these classes; a class that loses hears of it.
    pub(super) fn tls(&self, classes: &BTreeSet<String>, problems: &mut Vec<Problem>) -> TlsPolicy {
        let policies = self.of(classes).filter_map(|class| Some((class.tls?, class)));
        oldest(policies, ("TLS policy", "spec.tls"), problems)
            .map_or_else(TlsPolicy::default, |(policy, _)| policy)
    }

    fn of<'a>(&'a self, classes: &'a BTreeSet<String>) -> impl Iterator<Item = &'a OfClass> + Clone {
        self.classes.iter().filter(|class| classes.contains(&class.class))
    }
}

/// Whose class is the oldest counts; those that ask for something else hear of it.
fn oldest<'a, T: PartialEq>(
    mut wishes: impl Iterator<Item = (T, &'a OfClass)>,
    (what, field): (&str, &str),
    problems: &mut Vec<Problem>,
) -> Option<(T, &'a OfClass)> {
    let (wish, winner) = wishes.next()?;
    for (_, class) in wishes.filter(|(other, class)| *other != wish && class.by != winner.by) {
        let message = format!(
            "IngressClass {} has listeners in common with {}, which is older or first by name: there, the \
             {what} of {} counts",
            class.class, winner.class, winner.by
        );
        problems.push(Problem::warning(&class.by, field, message).because(Cause::Conflict));
    }
    Some((wish, winner))
}

#[cfg(test)]
mod tests;
