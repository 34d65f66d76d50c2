//! What is asked: a request, as somebody would describe it, and the bytes of its head.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use crate::ids::ListenerId;
use crate::snapshot::{ListenAddress, Listener, Snapshot};

/// A request to be explained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub method: String,
    /// `http://host:port/path?query`, or `/path?query`, or `*`.
    pub target: String,
    /// Each `Name: value`.
    pub headers: Vec<String>,
    /// The peer; without it one on this machine.
    pub from: Option<IpAddr>,
    /// Where it arrives; without it the port of the target says so, else the first listener.
    pub listener: Option<String>,
}

/// A target in its parts.
struct Target<'q> {
    is_https: bool,
    /// With its port, as written.
    authority: Option<&'q str>,
    /// The explicit one, or the scheme's.
    port: Option<u16>,
    /// What stands in the request line.
    line: &'q str,
}

/// A query as it would arrive.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) listener: ListenerId,
    /// The head, as a client would send it.
    pub(super) head: Vec<u8>,
    pub(super) peer: IpAddr,
    /// What was assumed.
    pub(super) notes: Vec<String>,
}

impl Query {
    /// As the body of `POST /explain`.
    pub fn to_json(&self) -> Value {
        json!({
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "from": self.from.map(|ip| ip.to_string()),
            "listener": self.listener,
        })
    }

    /// What `to_json` wrote. Unknown keys are refused.
    pub fn from_json(text: &str) -> Result<Query, String> {
        let json: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        let Value::Object(fields) = &json else { return Err("not a JSON object".to_owned()) };
        let mut query = Query::default();
        for (name, value) in fields {
            let text = || match value.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(format!("`{name}` is a text")),
            };
            match (name.as_str(), value) {
                ("from" | "listener", Value::Null) => {}
                ("method", _) => query.method = text()?,
                ("target", _) => query.target = text()?,
                ("listener", _) => query.listener = Some(text()?),
                ("from", _) => query.from = Some(address(&text()?)?),
                ("headers", Value::Array(lines)) => {
                    let line = |line: &Value| line.as_str().map(str::to_owned);
                    let lines: Option<Vec<String>> = lines.iter().map(line).collect();
                    query.headers = lines.ok_or("`headers` is a list of texts")?;
                }
                ("headers", _) => return Err("`headers` is a list of texts".to_owned()),
                _ => return Err(format!("unknown key `{name}`")),
            }
        }
        match fields.contains_key("method") && fields.contains_key("target") {
            true => Ok(query),
            false => Err("`method` and `target` are needed".to_owned()),
        }
    }

    /// The bytes that would arrive, and where. What is wrong with them is for the parser to say;
    /// refused is only what would be no single head at all.
    pub(super) fn arrive(&self, snapshot: &Snapshot) -> Result<Arrival, String> {
        let texts = [&self.method, &self.target];
        if self.headers.iter().chain(texts).any(|text| text.contains(['\r', '\n'])) {
            return Err("a method, target or header has no line breaks".to_owned());
        }
        if let Some(line) = self.headers.iter().find(|line| !line.contains(':')) {
            return Err(format!("a header is written 'Name: value', not {line:?}"));
        }
        let target = self.split()?;
        let mut notes = Vec::new();
        let listener = self.listener(&target, snapshot, &mut notes)?;
        notes.extend(scheme_note(&target, snapshot.listener(listener)));
        let has_host = self.headers.iter().any(|line| {
            line.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("host"))
        });
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, target.line);
        if !has_host {
            let own = own_host(snapshot.listener(listener));
            head.push_str(&format!("Host: {}\r\n", target.authority.unwrap_or(&own)));
        }
        for line in &self.headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let peer = self.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Ok(Arrival { listener, head: head.into_bytes(), peer, notes })
    }

    fn split(&self) -> Result<Target<'_>, String> {
        // A client keeps what follows `#` to itself.
        let text = self.target.split('#').next().unwrap_or_default();
        // A scheme's case means nothing (RFC 3986 §3.1).
        let after = |scheme: &str| {
            let (start, rest) = text.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let (rest, is_https) = match (after("http://"), after("https://")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) if text.starts_with('/') || text == "*" => {
                return Ok(Target { is_https: false, authority: None, port: None, line: text });
            }
            _ => return Err(format!("{text:?} is no URL: write http://host/path or /path")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, line) = rest.split_at(end);
        let given = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = given.unwrap_or(if is_https { 443 } else { 80 });
        let line = match line {
            "" => "/",
            line if line.starts_with('?') => return Err("write a `/` before the `?`".to_owned()),
            line => line,
        };
        Ok(Target { is_https, authority: Some(authority), port: Some(port), line })
    }

    fn listener(
        &self,
        target: &Target<'_>,
        snapshot: &Snapshot,
        notes: &mut Vec<String>,
    ) -> Result<ListenerId, String> {
        let all = &snapshot.listeners;
        let find = |is: &dyn Fn(&Listener) -> bool| {
            all.iter().position(is).map(|index| ListenerId(index as u32))
        };
        if let Some(name) = &self.listener {
            let names = all.iter().map(|l| &*l.name).collect::<Vec<_>>().join(", ");
            return find(&|listener| *listener.name == **name)
                .ok_or_else(|| format!("no listener is called `{name}`; there are: {names}"));
        }
        let has_port = |listener: &Listener, port: u16| match &listener.address {
            ListenAddress::Tcp(list) => list.iter().any(|address| address.port() == port),
            ListenAddress::Unix(_) => false,
        };
        if let Some(found) = target.port.and_then(|port| find(&|l| has_port(l, port))) {
            return Ok(found);
        }
        let first = &all[0];
        if let Some(port) = target.port {
            notes.push(format!("no listener has port {port}: `{}` was taken", first.name));
        } else if all.iter().any(|listener| listener.router != first.router) {
            let name = &first.name;
            notes.push(format!("listeners differ, `{name}` was taken: --listener names another"));
        }
        Ok(ListenerId(0))
    }
}

/// What is to be said of a scheme that is not the listener's.
fn scheme_note(target: &Target<'_>, listener: &Listener) -> Option<String> {
    let name = &listener.name;
    match (target.is_https, listener.tls.is_some()) {
        (true, false) => Some(format!("`{name}` speaks no TLS: read as plain HTTP")),
        (false, true) if target.authority.is_some() => {
            Some(format!("`{name}` speaks TLS: read as HTTPS"))
        }
        _ => None,
    }
}

/// An address as `--from` and the body of an ask give it.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address"))
}

/// What a client would send as `Host` that was told nothing but the listener.
fn own_host(listener: &Listener) -> String {
    let ListenAddress::Tcp(list) = &listener.address else { return "localhost".to_owned() };
    match list.iter().find(|address| !address.ip().is_unspecified()) {
        Some(address) if address.port() == 80 => address.ip().to_string(),
        Some(address) => address.to_string(),
        None => match list.first().map_or(80, |address| address.port()) {
            80 => "localhost".to_owned(),
            port => format!("localhost:{port}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_its_way_as_json() {
        let query = Query {
            method: "POST".into(),
            target: "http://h/x?y".into(),
            headers: vec!["A: b".into(), "C:".into()],
            from: Some("2001:db8::1".parse().unwrap()),
            listener: Some("web".into()),
        };
        assert_eq!(Query::from_json(&query.to_json().to_string()), Ok(query));
        let plain = Query { method: "GET".into(), target: "/".into(), ..Query::default() };
        assert_eq!(Query::from_json(&plain.to_json().to_string()), Ok(plain));
        for bad in [
            "",
            "[]",
            "{}",
            "{\"method\":\"GET\"}",
            "{\"method\":5,\"target\":\"/\"}",
            "{\"method\":\"GET\",\"target\":\"/\",\"from\":\"x\"}",
            "{\"method\":\"GET\",\"target\":\"/\",\"headers\":\"A: b\"}",
            "{\"method\":\"GET\",\"target\":\"/\",\"header\":[]}",
        ] {
            assert!(Query::from_json(bad).is_err(), "{bad}");
        }
    }
}
