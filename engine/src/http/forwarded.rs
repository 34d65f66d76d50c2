//! The client's address through trusted proxies.

use std::net::IpAddr;

use parser::{FieldId, Fields, encode};

/// An address prefix, `10.0.0.0/8`. Bits beyond `bits` are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    pub address: IpAddr,
    pub bits: u8,
}

impl Prefix {
    /// IPv4-mapped IPv6 addresses count as the IPv4 address they carry.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits);
                (u32::from(net) ^ u32::from(ip)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits);
                (u128::from(net) ^ u128::from(ip)).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Room for the text of any IP address.
pub const ADDRESS_TEXT_MAX: usize = 45;

/// An address as text, made once per connection.
#[derive(Clone, Copy, Debug)]
pub struct AddressText {
    text: [u8; ADDRESS_TEXT_MAX],
    len: u8,
}

impl AddressText {
    /// `None` (a unix socket) is empty text. IPv4-mapped addresses are written as IPv4.
    pub fn new(ip: Option<IpAddr>) -> AddressText {
        use std::io::Write;
        let mut text = [0; ADDRESS_TEXT_MAX];
        let mut room = &mut text[..];
        if let Some(ip) = ip {
            write!(room, "{}", ip.to_canonical()).expect("45 bytes hold every address");
        }
        let len = (ADDRESS_TEXT_MAX - room.len()) as u8;
        AddressText { text, len }
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len as usize]
    }
}

pub fn is_trusted(ip: IpAddr, trusted: &[Prefix]) -> bool {
    trusted.iter().any(|p| p.contains(ip))
}

/// Whether a peer is likely a proxy of the operator's own: its address is private (RFC 1918,
/// RFC 4193), or this machine's.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// What a head says of the client in a proxy's name. Fields that Connection nominates were meant
/// for one hop and count for nothing (RFC 9110 §7.6.1).
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub fields: &'a Fields,
    /// The buffer `fields` was parsed from.
    pub head: &'a [u8],
    /// Connection nominates some field.
    pub any_nominated: bool,
}

impl<'a> Said<'a> {
    /// The lines of one of the fields this module is about.
    fn lines(&self, id: FieldId) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let (fields, head) = (self.fields, self.head);
        let count = if self.has(id) { fields.len() } else { 0 };
        fields.iter().take(count).filter(move |f| f.id == id).map(move |f| f.value.of(head))
    }

    fn has(&self, id: FieldId) -> bool {
        self.fields.has(id) && !(self.any_nominated && self.is_nominated(id))
    }

    #[cold]
    fn is_nominated(&self, id: FieldId) -> bool {
        let known = FieldId::KNOWN.iter().find(|(known, _)| *known == id);
        known.is_some_and(|(_, name)| {
            parser::connection::is_nominated(self.fields, self.head, name.as_bytes())
        })
    }

    /// The last line: the peer's own.
    pub fn last(&self, id: FieldId) -> Option<&'a [u8]> {
        self.lines(id).next_back()
    }
}

/// The client's address: the peer's, or, behind trusted proxies, the last one in
/// `X-Forwarded-For` that is not a trusted proxy itself. What cannot be read ends the walk.
pub fn client_address(peer: IpAddr, trusted: &[Prefix], said: Said<'_>) -> IpAddr {
    let mut client = peer;
    if !is_trusted(peer, trusted) {
        return client;
    }
    // From the last line back: a proxy that adds a line of its own adds it behind its client's.
    for line in said.lines(FieldId::XForwardedFor).rev() {
        for member in line.rsplit(|&b| b == b',') {
            let text = member.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let parsed = std::str::from_utf8(text).ok().and_then(read_address);
            let Some(ip) = parsed else { return client };
            client = ip;
            if !is_trusted(ip, trusted) {
                return client;
            }
        }
    }
    client
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn read_address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether an unknown field speaks of the client in a proxy's name. `_` reads as `-`: some
/// services see no difference (CGI's HTTP_X_FORWARDED_FOR).
/// A framing name in that spelling is another's Content-Length to such a service.
#[inline]
pub fn is_forwarding_name(name: &[u8]) -> bool {
    // Fast path: all of these begin with one of four letters.
    if !matches!(name.first(), Some(b'x' | b'X' | b'f' | b'F' | b'c' | b'C' | b't' | b'T')) {
        return false;
    }
    is_forwarding_name_slow(name)
}

/// Whether an unknown field of a trusted proxy's may pass: its `X-Forwarded-Port` say, but never
/// a spelling with `_`, nor what only this gateway says of consumers and certificates.
pub fn is_proxys_own_name(name: &[u8]) -> bool {
    const OURS: [&[u8]; 2] = [b"x-consumer-", b"x-client-cert-"];
    let is = |ours: &[u8]| name.get(..ours.len()).is_some_and(|n| n.eq_ignore_ascii_case(ours));
    !name.contains(&b'_') && !OURS.iter().any(|ours| is(ours))
}

fn is_forwarding_name_slow(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [
        b"forwarded",
        b"x-real-ip",
        b"x-request-id",
        b"x-forwarded",
        b"content-length",
        b"transfer-encoding",
    ];
    const PREFIXES: [&[u8]; 3] = [b"x-forwarded-", b"x-consumer-", b"x-client-cert-"];
    let same = |a: &[u8], b: &[u8]| {
        a.iter().zip(b).all(|(&a, &b)| a.to_ascii_lowercase() == b || (a == b'_' && b == b'-'))
    };
    NAMES.iter().any(|n| n.len() == name.len() && same(name, n))
        || PREFIXES.iter().any(|p| name.len() > p.len() && same(&name[..p.len()], p))
}

/// Appends `X-Forwarded-For`, `-Proto` and `-Host`. `said` is what the peer says of them when it is
/// a trusted proxy.
pub fn write_forwarded(
    out: &mut Vec<u8>,
    peer: &[u8],
    is_tls: bool,
    said: Option<Said<'_>>,
    host: &[u8],
    is_set: impl Fn(FieldId) -> bool,
) {
    let last = |id| said.and_then(|said| said.last(id));
    if !peer.is_empty() && !is_set(FieldId::XForwardedFor) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        for line in said.iter().flat_map(|said| said.lines(FieldId::XForwardedFor)) {
            out.extend_from_slice(line);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(peer);
        out.extend_from_slice(b"\r\n");
    }
    if !is_set(FieldId::XForwardedProto) {
        match last(FieldId::XForwardedProto) {
            None if is_tls => out.extend_from_slice(b"X-Forwarded-Proto: https\r\n"),
            None => out.extend_from_slice(b"X-Forwarded-Proto: http\r\n"),
            Some(proto) => encode::field(out, b"X-Forwarded-Proto", proto),
        }
    }
    let host = last(FieldId::XForwardedHost).unwrap_or(host);
    if !host.is_empty() && !is_set(FieldId::XForwardedHost) {
        encode::field(out, b"X-Forwarded-Host", host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parser::Span;

    fn prefix(text: &str) -> Prefix {
        let (address, bits) = text.split_once('/').unwrap();
        Prefix { address: address.parse().unwrap(), bits: bits.parse().unwrap() }
    }

    #[test]
    fn prefixes_hold_their_addresses_and_no_others() {
        let check = |p: &str, ip: &str, holds: bool| {
            assert_eq!(prefix(p).contains(ip.parse().unwrap()), holds, "{p} {ip}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("0.0.0.0/0", "203.0.113.7", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::/0", "2001:db8::1", true);
        check("192.0.2.1/32", "192.0.2.1", true);
        check("192.0.2.1/32", "192.0.2.2", false);
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = [prefix("10.0.0.0/8")];
        let check = |peer: &str, value: &str, client: &str| {
            let head = value.as_bytes();
            let mut fields = Fields::default();
            let value = Span::new(0, head.len());
            fields.push(parser::Field { name: Span::default(), value, id: FieldId::XForwardedFor });
            let said = Said { fields: &fields, head, any_nominated: false };
            let got = client_address(peer.parse().unwrap(), &trusted, said);
            assert_eq!(got, client.parse::<IpAddr>().unwrap(), "{peer} {value:?}");
        };
        check("203.0.113.1", "1.2.3.4", "203.0.113.1");
        check("10.0.0.1", "1.2.3.4", "1.2.3.4");
        check("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4");
        check("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4");
        check("10.0.0.1", "10.0.0.8, 10.0.0.9", "10.0.0.8");
        check("10.0.0.1", "1.2.3.4, nonsense, 10.0.0.9", "10.0.0.9");
        check("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1");
        check("10.0.0.1", "", "10.0.0.1");
    }

    #[test]
    fn forwarding_names_are_known_in_any_spelling() {
        for name in ["X-Forwarded-For", "x_forwarded_for", "X_Real-IP", "Forwarded", "x-request_id"]
        {
            assert!(is_forwarding_name(name.as_bytes()), "{name}");
        }
        assert!(is_forwarding_name(b"Content_Length"));
        assert!(is_forwarding_name(b"transfer_Encoding"));
        assert!(is_proxys_own_name(b"X-Forwarded-Port"));
        assert!(!is_proxys_own_name(b"X_Forwarded_Port"));
        assert!(!is_proxys_own_name(b"X-Consumer-Name"));
        assert!(!is_proxys_own_name(b"X-Client-Cert-Subject"));
        for name in ["X-Forward", "X-Api-Key", "X-Forwarde-For", "From", "X-Request-Ident"] {
            assert!(!is_forwarding_name(name.as_bytes()), "{name}");
        }
    }
}
