//! The name under which edgelb writes, by which what it wrote is told from what others wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The field manager of all that is applied: one for all nodes and all times, so that a new leader owns what the
/// one before it wrote.
pub const MANAGER: &str = "edgelb";

/// Whether something in the object's status is ours: the server's own account of who wrote it, and nobody since.
#[must_use]
pub fn owns_status(metadata: &ObjectMeta) -> bool {
    metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.subresource.as_deref() == Some("status")
    })
}
