//! A port of a Service of ours: its transport, and what the proxy speaks on it.

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

use crate::model::{ListenerProtocol, ObjectRef, Problem, Protocol, Severity};

/// A port of a Service of ours.
pub(super) struct Port<'a> {
    /// The Service.
    pub(super) service: &'a ObjectRef,
    /// All that it says.
    pub(super) spec: &'a ServiceSpec,
    /// The port.
    pub(super) port: &'a ServicePort,
    /// Where it stands: `spec.ports[0]`.
    pub(super) field: String,
}

impl Port<'_> {
    /// What is wrong with the field below it; `""` for the port itself.
    pub(super) fn error(&self, field: &str, message: impl Into<String>) -> Box<Problem> {
        Box::new(Problem::error(self.service, format!("{}{field}", self.field), message))
    }

    /// Number and transport protocol.
    pub(super) fn transport(&self) -> Result<(u16, Protocol), Box<Problem>> {
        let number = u16::try_from(self.port.port).ok().filter(|&number| number != 0);
        let number =
            number.ok_or_else(|| self.error(".port", format!("{} is not a port", self.port.port)))?;
        match self.port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => Ok((number, Protocol::Tcp)),
            "UDP" => Ok((number, Protocol::Udp)),
            other => Err(self.error(".protocol", format!("{other} is not supported: the port is ignored"))),
        }
    }

    /// What the proxy speaks on it, or why it does not listen.
    pub(super) fn listener(&self, number: u16, protocol: Protocol) -> Result<ListenerProtocol, Box<Problem>> {
        if self.spec.selector.as_ref().is_some_and(|selector| !selector.is_empty()) {
            let message = "a Service with a selector asks for its own pods behind the VIP, which is not built yet: \
                           nothing answers on its ports; without the selector, the proxy does";
            return Err(Box::new(Problem::error(self.service, "spec.selector", message)));
        }
        if protocol == Protocol::Udp {
            let problem =
                self.error("", "UDP is not served yet: packets to this port are counted and dropped");
            return Err(Box::new(Problem { severity: Severity::Warning, ..*problem }));
        }
        self.application(number)
    }

    /// By `appProtocol`, then by the port's name, then by its number.
    fn application(&self, number: u16) -> Result<ListenerProtocol, Box<Problem>> {
        use ListenerProtocol::{Http, Https};
        let name = self.port.name.as_deref().unwrap_or_default();
        match (self.port.app_protocol.as_deref(), number) {
            (Some("http" | "kubernetes.io/h2c" | "kubernetes.io/ws"), _) => Ok(Http),
            (Some("https" | "kubernetes.io/wss"), _) => Ok(Https),
            (Some(other), _) => {
                let message = format!("{other:?} is neither http nor https: nothing answers on this port");
                Err(self.error(".appProtocol", message))
            }
            (None, _) if name.starts_with("https") || name.starts_with("tls") => Ok(Https),
            (None, _) if name.starts_with("http") => Ok(Http),
            (None, 80) => Ok(Http),
            (None, 443) => Ok(Https),
            (None, _) => {
                let message = "neither appProtocol, nor name, nor number says whether this is http or https: \
                               nothing answers on this port; set `appProtocol`";
                Err(self.error("", message))
            }
        }
    }
}
