//! What the operator decides about translation; everything else stands in the objects.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::ListenerProtocol;

/// The choices of the command line that change what objects mean.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Namespace and name of the Secret for host names that no TLS section names.
    pub default_certificate: Option<(String, String)>,
    /// Whether an Ingress that names no class is ours although no default class of ours exists.
    pub watch_without_class: bool,
    /// Whether routes may lead to Services of type ExternalName, in classes whose IngressParameters do not say.
    pub allow_external_name: bool,
    /// Listeners that no Service names, by the address of their socket: with all of our classes.
    pub standalone: BTreeMap<SocketAddr, ListenerProtocol>,
    /// Listeners beside those of VIPs, by the address of their socket on the node: with those of our classes that
    /// name no Services.
    pub host_ports: BTreeMap<SocketAddr, ListenerProtocol>,
    /// Who says which nodes are members.
    pub membership: Membership,
    /// The name of this node, whose zone says which endpoints are near.
    pub node: Option<String>,
    /// Its zone, whatever its Node object says.
    pub zone: Option<String>,
}

/// Who says which nodes are members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Membership {
    /// The Nodes with the edge label, whatever their agents do: there is no cluster that could say more.
    #[default]
    Nodes,
    /// The history that the leader writes; without one there are no members yet.
    History,
}
