//! `lb-agent explain`: what the packet path does with a packet, with the names that the agent has for it.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::commands::CANNOT_TELL;
use super::explain_request::explain_request;
use super::say::say;
use crate::admin::explain::{Explanation, FlowFound, Kind, Place, SentTo, ServiceFound};
use crate::admin::{self, Overview};
use crate::cli::{Explain, ExplainedProtocol};
use crate::l4::pins::Pins;
use crate::l4::trial::{ALL_BUCKETS, Flow, Packet, Sent, Trial};
use crate::model::{Protocol, ServiceAddress};

/// Prints it. The exit code says whether the packet gets to a socket; 2 is "cannot tell".
pub(super) async fn explain(explain: &Explain) -> Result<ExitCode> {
    if let Some(host) = &explain.request.host {
        return explain_request(explain, host).await;
    }
    Ok(match found(explain).await {
        Ok(explanation) => {
            match explain.json {
                true => say(format_args!("{:#}\n", serde_json::json!(explanation)))?,
                false => say(&explanation)?,
            }
            if explanation.arrives() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(CANNOT_TELL)
        }
    })
}

async fn found(explain: &Explain) -> Result<Explanation> {
    let (from, to) = explain.ends().context("--from and --to name the packet's ends")?;
    let protocol = match explain.proto {
        ExplainedProtocol::Tcp => Protocol::Tcp,
        ExplainedProtocol::Udp => Protocol::Udp,
    };
    let packet = Packet { from, to, protocol, opens: explain.syn };
    let trial = Trial::of(packet, &Pins::new(explain.bpffs.clone())).await?;
    let (overview, agent_silent) = match admin::overview(&explain.admin_socket.admin_socket).await {
        Ok(overview) => (Some(overview), None),
        Err(error) => (None, Some(error.to_string())),
    };
    // Of UDP no kernel knows connections.
    let is_asked = trial.flow.is_some() && protocol == Protocol::Tcp && overview.is_some();
    // Who cannot be asked has said nothing: then the words say where to ask.
    let asked = match is_asked {
        true => admin::ask_members(&explain.admin_socket.admin_socket, packet.from, packet.to).await,
        false => Ok(Vec::new()),
    };
    let asked = asked.unwrap_or_default();
    let explanation = Explanation { asked, agent_silent, ..told(packet, &trial, overview.as_ref()) };
    Ok(explanation.concluded())
}

fn told(packet: Packet, trial: &Trial, overview: Option<&Overview>) -> Explanation {
    let kind = match (packet.protocol, packet.opens) {
        (Protocol::Tcp, true) => Kind::TcpSyn,
        (Protocol::Tcp, false) => Kind::TcpSegment,
        (Protocol::Udp, _) => Kind::UdpDatagram,
    };
    let Packet { from, to, protocol, .. } = packet;
    let address = ServiceAddress { vip: to.ip(), port: to.port(), protocol }.to_string();
    let object = overview.and_then(|overview| overview.services.get(&address)).cloned();
    let service = trial.service.map(|service| ServiceFound {
        object,
        has_listener: service.flags & lb_common::map::service::LISTENER != 0,
    });
    let down = |overview: &Overview| {
        let down = overview.members.iter().filter(|member| member.state == "down");
        down.map(|member| member.words.clone()).collect()
    };
    Explanation {
        node: overview.map(|overview| overview.node.clone()),
        member: trial.this,
        interfaces: trial.interfaces.clone(),
        same_program: trial.is_same_program,
        vip: trial.is_vip,
        flow: trial.flow.as_ref().map(|flow| flow_found(flow, trial, overview)),
        service,
        memberships: overview.map(|overview| overview.memberships.clone()).unwrap_or_default(),
        alone: overview.is_some_and(|overview| overview.alone),
        down: overview.map(down).unwrap_or_default(),
        sent: trial.sent.as_ref().map(|sent| sent_to(sent, trial, overview)),
        ..Explanation::new(from, to, kind, trial.verdict)
    }
}

fn flow_found(flow: &Flow, trial: &Trial, overview: Option<&Overview>) -> FlowFound {
    let place = |(id, way): &(u16, crate::l4::trial::Way)| {
        let here = Some(*id) == trial.this;
        let member = overview.and_then(|overview| overview.member(*id)).filter(|_| !here);
        Place {
            name: name(*id, overview),
            id: *id,
            address: way.address,
            interface: way.interface.clone(),
            here,
            state: member.map(|member| member.state.clone()),
            words: member.map(|member| member.words.clone()),
            has_connection: trial.is_held.filter(|_| here),
        }
    };
    let keys = overview.map(|overview| &overview.flow_keys);
    FlowFound {
        table: trial.service.map_or(0, |service| service.table),
        bucket: flow.bucket,
        other_bucket: flow.other_bucket,
        flow_key: keys.and_then(|keys| keys.in_force.clone()),
        other_flow_key: keys.and_then(|keys| keys.other.clone()),
        buckets: ALL_BUCKETS,
        generation: flow.head.generation,
        digest: format!("{:016x}", flow.head.digest),
        row: flow.row.iter().map(place).collect(),
    }
}

fn sent_to(sent: &Sent, trial: &Trial, overview: Option<&Overview>) -> SentTo {
    let row = trial.flow.iter().flat_map(|flow| &flow.row);
    let way = row.filter(|(id, _)| *id == sent.to).find_map(|(_, way)| way.interface.clone());
    SentTo {
        to: name(sent.to, overview),
        then: sent.then.iter().map(|&id| name(id, overview)).collect(),
        place: sent.place,
        direction: if sent.is_towards_opener { "to_opener" } else { "from_opener" },
        interface: way,
        next_hop: sent.next_hop.map(|byte| format!("{byte:02x}")).join(":"),
        outer_source: sent.source,
        outer_destination: sent.destination,
        bytes: sent.bytes,
        tag_ok: sent.is_tagged,
    }
}

fn name(id: u16, overview: Option<&Overview>) -> String {
    let known = overview.and_then(|overview| overview.member(id));
    known.map_or_else(|| format!("member {id}"), |member| member.name.clone())
}
