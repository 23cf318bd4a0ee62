//! The explanation for people.

use std::fmt;

use lb_common::verdict::Verdict;

use super::{Asked, Explanation, FlowFound, Kind, Outcome, Place, SentTo};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.headline())?;
        let mut line = |about: &str, what: &str| writeln!(f, "{about:<9} {what}");
        if let Some(why) = &self.agent_silent {
            line("agent", &format!("silent, so there are no names: {why}"))?;
        }
        if self.same_program == Some(false) {
            line("program", "another version is attached than was asked here: what it does may differ")?;
        } else if self.same_program.is_none() {
            line("program", "attached nowhere: packets do not come by it")?;
        }
        line("service", &self.service_words())?;
        if let Some(flow) = &self.flow {
            line("bucket", &self.bucket_words(flow))?;
            for (at, place) in flow.row.iter().enumerate() {
                let about = if at == 0 { "row" } else { "" };
                line(about, &format!("{}. {}", at + 1, self.place_words(place, at)))?;
            }
            if flow.row.is_empty() {
                line("row", "empty: there is no member")?;
            }
            for down in &self.down {
                line("down", down)?;
            }
            if self.alone {
                line(
                    "alone",
                    "no member answers, and this node's own link, routes or gateway are to blame: its rows pass over nobody",
                )?;
            }
            for (at, asked) in self.asked.iter().enumerate() {
                line(if at == 0 { "asked" } else { "" }, &asked_words(asked))?;
            }
        }
        line("verdict", &format!("{}: {}", self.verdict, verdict_words(self.why)))?;
        if let Some(sent) = &self.sent {
            line("sent", &sent.words())?;
        }
        line("so", &self.conclusion())
    }
}

impl Explanation {
    fn headline(&self) -> String {
        let Self { from, to, .. } = self;
        let what = match self.packet {
            Kind::TcpSyn => "The first packet (SYN) of a TCP connection",
            Kind::TcpSegment => "A packet of an open TCP connection",
            Kind::UdpDatagram => "A UDP datagram",
        };
        let node = self.node.as_deref().unwrap_or("this node");
        let interface = self.interfaces.first().map(|name| format!(" on {name}")).unwrap_or_default();
        format!("{what} {from} -> {to}, as it comes in at {node}{interface}:")
    }

    fn service_words(&self) -> String {
        let port = self.to.port();
        match &self.service {
            None if self.vip => format!("{} is a VIP, but no Service names port {port}", self.to.ip()),
            None => format!("none: {} is not a VIP that this node knows", self.to.ip()),
            Some(found) => {
                let object = found.object.as_deref().unwrap_or("one whose name is not known");
                let who =
                    if found.has_listener { "the proxy answers" } else { "nobody answers: no listener" };
                format!("{object}, port {port}; {who}")
            }
        }
    }

    fn bucket_words(&self, flow: &FlowFound) -> String {
        let steps: Vec<_> = self
            .memberships
            .iter()
            .filter(|membership| membership.number > 0)
            .map(|membership| format!("{} ({})", membership.number, membership.step))
            .collect();
        let steps =
            if steps.is_empty() { String::new() } else { format!("; membership {}", steps.join(" and ")) };
        let FlowFound { bucket, other_bucket, buckets, table, generation, digest, .. } = flow;
        let by = flow.flow_key.as_ref().map(|key| format!(" by flow key {key}")).unwrap_or_default();
        let other_key = flow
            .other_flow_key
            .as_ref()
            .map_or("another flow key".to_owned(), |key| format!("flow key {key}"));
        let other = |other| format!(", and {other} by {other_key}, for two are in force,");
        let other = other_bucket.map_or(String::new(), other);
        format!(
            "{bucket} of {buckets}{by}{other} in table {table}, of generation {generation}{steps}; all rows {digest}"
        )
    }

    fn place_words(&self, place: &Place, at: usize) -> String {
        let who = match (place.here, place.address) {
            (true, _) => format!("{} (this node)", place.name),
            (false, Some(address)) => format!("{} ({address})", place.name),
            (false, None) => format!("{} (address not known)", place.name),
        };
        let has_two_keys = self.flow.as_ref().is_some_and(|flow| flow.other_bucket.is_some());
        let is_silent = place.state.as_deref() == Some("down");
        let is_cut_off = place.interface.is_none() && !place.here;
        let role = match at {
            0 if place.here && self.goes_past_row() => {
                "opens flows while its agent gives signs of life; as it does not, they open elsewhere"
            }
            0 if is_silent || is_cut_off => "new flows would open here",
            0 => "new flows open here",
            _ if has_two_keys => "may have flows that opened before, or by the other flow key",
            _ => "may have flows that opened before",
        };
        let way = if is_cut_off { "; no way there is known" } else { "" };
        let state = match (place.state.as_deref(), &place.words) {
            (Some("up"), _) => "; it answers".to_owned(),
            (Some(_), Some(words)) => format!("; {words}"),
            _ => String::new(),
        };
        let connection = match (place.has_connection, self.packet) {
            (Some(true), _) => "; it has this connection",
            (Some(false), _) => "; it does not have this connection",
            (None, Kind::UdpDatagram) => "",
            (None, _) if self.asked.iter().any(|asked| asked.id == place.id) => "",
            (None, _) => "; whether it has this connection: unknown, ask there",
        };
        format!("{who}: {role}{way}{state}{connection}")
    }

    /// Whether another member stands in for this node: then the packet goes to one that is not in the row.
    fn goes_past_row(&self) -> bool {
        let row = self.flow.as_ref().map(|flow| &flow.row);
        let is_in = |to: &String| row.is_some_and(|row| row.iter().any(|place| place.name == *to));
        self.sent.as_ref().is_some_and(|sent| !is_in(&sent.to))
    }

    fn conclusion(&self) -> String {
        match self.outcome {
            Outcome::Delivered => "a socket of this node gets it".to_owned(),
            Outcome::Sent => {
                self.sent.as_ref().map_or_else(|| "another member gets it".to_owned(), SentTo::next)
            }
            Outcome::Refused if self.is_unknown_here() => {
                "this node is its owner and knows no such connection: its kernel refuses it (RST)".to_owned()
            }
            Outcome::Refused => match self.packet {
                Kind::UdpDatagram => "this node's kernel refuses it (port unreachable)".to_owned(),
                _ => "this node's kernel refuses it (RST)".to_owned(),
            },
            Outcome::Dropped => "it is lost, and counted under this verdict".to_owned(),
            Outcome::Left => {
                "edgelb leaves it alone: this node's kernel does with it what it would without".to_owned()
            }
        }
    }
}

impl SentTo {
    fn words(&self) -> String {
        let Self { to, outer_source, outer_destination, next_hop, bytes, .. } = self;
        let interface = self.interface.as_deref().map(|name| format!("by {name} ")).unwrap_or_default();
        let tag = if self.tag_ok { "tag right" } else { "tag WRONG: the member refuses it" };
        format!(
            "to {to}, encapsulated: UDP {outer_source} -> {outer_destination}, {bytes} bytes, {interface}to \
             {next_hop}; {tag}"
        )
    }

    fn next(&self) -> String {
        match self.then.join(", then ") {
            then if then.is_empty() => format!("{} gets it, and delivers it", self.to),
            then => {
                format!("{} delivers it if it has the connection; else it goes on to {then}", self.to)
            }
        }
    }
}

fn asked_words(Asked { name, has_connection, .. }: &Asked) -> String {
    match has_connection {
        Some(true) => format!("{name} has this connection"),
        Some(false) => format!("{name} does not have it"),
        None => format!("{name}: no answer"),
    }
}

/// What each of them says of a packet that came from a client.
fn verdict_words(verdict: Verdict) -> String {
    let words = match verdict {
        Verdict::Drop(reason) => reason.description().trim(),
        Verdict::NotForVip => "not for a VIP",
        Verdict::NoService => "for a port of a VIP that no Service names",
        Verdict::DeliveredFirstHop => "this node is the only one in the row",
        Verdict::Sent => "the next member of the row that is to be asked is another one",
        Verdict::FoundFirst => "this node has the connection, and opens those of this bucket",
        Verdict::FoundSecond => "this node has the connection, and was the opener before",
        Verdict::FoundThird => "this node has the connection, and was the opener two changes before",
        Verdict::FoundNowhere => "this node is the last to be asked, and does not have the connection",
        Verdict::Opened => "nobody has the connection: it opens here",
        other => return other.label().replace('_', " "),
    };
    words.to_owned()
}
