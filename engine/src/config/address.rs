//! Addresses as text: where to listen, where to send, whom to trust.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use parser::target::check_authority;

use crate::http::forwarded::Prefix;
use crate::snapshot::{EndpointAddress, ListenAddress};

/// Longest path of a unix socket: `sun_path` has 108 bytes, the last for NUL (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;
/// DNS names have at most 253 bytes (RFC 1035 §2.3.4).
pub(super) const HOST_BYTES_MAX: usize = 253;

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// What is wrong, and what to write.
    Bad(&'static str, String),
    /// Known to the language, not to this build.
    NotYet(&'static str),
}

pub(super) fn bad<T>(what: &'static str, fix: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Bad(what, fix.into()))
}

/// `":8080"`, `"127.0.0.1:8080"`, `"[::1]:8080"`, `"localhost:8080"`, `"unix:/path"`.
pub(super) fn listen(text: &str) -> Result<ListenAddress, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(ListenAddress::Unix);
    }
    if text.starts_with("systemd:") {
        return Err(Fault::NotYet("systemd:"));
    }
    let tcp = |list: &[SocketAddr]| Ok(ListenAddress::Tcp(list.into()));
    if let Some(port) = text.strip_prefix(':') {
        let Some(port) = port_of(port) else {
            return bad("this is no port", "from 1 to 65535, such as \":8080\"");
        };
        return tcp(&[(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    if let Some(port) = port_of(text) {
        return bad("a port is written with a colon", format!("write \":{port}\""));
    }
    let (host, port) = authority(text)?;
    let Some(port) = port else {
        return bad("a port is missing", format!("such as \"{text}:8080\""));
    };
    match ip_of(host) {
        Some(ip) => tcp(&[(ip, port).into()]),
        None if host.eq_ignore_ascii_case("localhost") => {
            tcp(&[(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()])
        }
        None => bad("names are not looked up here", "write the address, or \":8080\" for all"),
    }
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub address: EndpointAddress,
    /// For `Host`.
    pub text: String,
    /// `None`: it does not say.
    pub is_https: Option<bool>,
}

pub(super) fn endpoint(text: &str) -> Result<Site, Fault> {
    let is_https = None;
    if let Some(path) = text.strip_prefix("unix:") {
        let address = EndpointAddress::Unix(unix(path)?);
        return Ok(Site { address, text: text.to_owned(), is_https });
    }
    for later in ["dns://", "srv://", "docker:", "file:"] {
        if text.starts_with(later) {
            return Err(Fault::NotYet(later));
        }
    }
    if text.contains("://") {
        return url(text).map(|(_, site)| site);
    }
    let (host, port) = authority(text)?;
    let Some(port) = port else {
        return bad("a port is missing", format!("such as \"{text}:8080\""));
    };
    Ok(Site { address: address_of(host, port)?, text: text.to_owned(), is_https })
}

/// `http://host:port` or `https://…`: the URL in one form for all ways to write it, and what it
/// says.
pub(super) fn url(text: &str) -> Result<(String, Site), Fault> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return bad("this is no URL", format!("such as \"http://{text}\""));
    };
    let is_https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        "dns" => return Err(Fault::NotYet("dns://")),
        "srv" => return Err(Fault::NotYet("srv://")),
        _ => {
            return bad("only http:// and https:// can be spoken to", "write \"http://host:port\"");
        }
    };
    let (scheme, usual) = if is_https { ("https", 443) } else { ("http", 80) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if !matches!(&rest[end..], "" | "/") {
        let fix = format!("write \"{scheme}://{}\"; `rewrite` changes paths", &rest[..end]);
        return bad("a path can't stand here: the client's is sent", fix);
    }
    let (host, port) = authority(&rest[..end])?;
    let address = address_of(host, port.unwrap_or(usual))?;
    let host = host.to_ascii_lowercase();
    let text = match port {
        Some(port) if port != usual => format!("{host}:{port}"),
        _ => host,
    };
    Ok((format!("{scheme}://{text}"), Site { address, text, is_https: Some(is_https) }))
}

/// A URL of something that Busbar itself asks for, its path included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub is_https: bool,
    pub host: String,
    pub port: u16,
    pub address: EndpointAddress,
    /// For `Host`.
    pub authority: String,
    /// Path and query.
    pub target: String,
}

impl Url {
    /// Where it is, its path left out.
    pub(super) fn site(&self) -> Site {
        let (address, text) = (self.address.clone(), self.authority.clone());
        Site { address, text, is_https: Some(self.is_https) }
    }

    /// The URL without its path, as of a route's `to`.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.authority)
    }
}

/// `http://host:port/path?query`, or `https://…`.
pub(super) fn fetched(text: &str) -> Result<Url, Fault> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return bad("this is no URL", format!("such as \"https://{text}\""));
    };
    let is_https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return bad("only https:// and http:// can be asked", "write \"https://host/path\""),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let is_target = target.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !is_target || target.starts_with('?') {
        return bad("this is no URL", "after the host, a path without spaces and without `#`");
    }
    let (host, port) = self::authority(authority)?;
    let usual = if is_https { 443 } else { 80 };
    let number = port.unwrap_or(usual);
    let address = address_of(host, number)?;
    let host = host.to_ascii_lowercase();
    let authority = match port {
        Some(port) if port != usual => format!("{host}:{port}"),
        _ => host.clone(),
    };
    let target = if target.is_empty() { "/" } else { target }.to_owned();
    Ok(Url { is_https, host, port: number, address, authority, target })
}

/// Host and port of an authority without user.
pub(super) fn authority(text: &str) -> Result<(&str, Option<u16>), Fault> {
    use parser::error::ErrorKind;
    match check_authority(text.as_bytes()) {
        Ok((len, _)) if len > HOST_BYTES_MAX => bad("this host is too long", "at most 253 bytes"),
        Ok((len, port)) => Ok((&text[..len], port)),
        Err(ErrorKind::BadPort) => bad("this is no port", "from 1 to 65535"),
        Err(ErrorKind::Userinfo) => bad("a user can't stand here", "remove all up to the `@`"),
        Err(_) if text.is_empty() => bad("this is empty", "such as \"127.0.0.1:8080\""),
        Err(_) if !text.is_ascii() => {
            bad("this is no host", "names beyond ASCII are written as xn--…")
        }
        Err(_) if text.matches(':').count() > 1 && !text.starts_with('[') => {
            bad("this is no host", "IPv6 addresses stand in brackets: \"[::1]:8080\"")
        }
        Err(_) => bad("this is no host", "such as \"127.0.0.1:8080\""),
    }
}

fn address_of(host: &str, port: u16) -> Result<EndpointAddress, Fault> {
    if let Some(ip) = ip_of(host) {
        return Ok(EndpointAddress::Ip((ip, port).into()));
    }
    if !is_name(host) {
        return bad("this is no host", "a name, an IPv4 address, or [IPv6]");
    }
    Ok(EndpointAddress::Name { host: host.to_ascii_lowercase().into(), port })
}

/// Labels without holes; one that ends in a number alone is an address that went wrong
/// (`10.0.0.256`), which resolvers read in surprising ways.
pub(super) fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63;
    let last = host.rsplit('.').next().unwrap_or_default();
    host.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// Of an address as it stands in an authority.
pub(super) fn ip_of(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

pub(super) fn port_of(text: &str) -> Option<u16> {
    let is_plain = !text.starts_with(['0', '+']);
    text.parse::<u16>().ok().filter(|port| is_plain && *port > 0)
}

pub(super) fn unix(path: &str) -> Result<PathBuf, Fault> {
    if !path.starts_with('/') || path.contains('\0') {
        return bad("a socket's path begins with `/`", "such as \"unix:/run/app.sock\"");
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return bad("a socket's path is too long", "at most 107 bytes");
    }
    Ok(PathBuf::from(path))
}

/// Why a text is no prefix.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PrefixFault {
    Bad,
    /// With bits beyond its length; the text without them.
    HostBits(String),
}

/// `10.0.0.0/8`, `2001:db8::/32` or one address.
pub(super) fn prefix(text: &str) -> Result<Prefix, PrefixFault> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = ip.parse().map_err(|_| PrefixFault::Bad)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let is_number = |bits: &&str| bits.bytes().all(|b| b.is_ascii_digit());
    let bits = match bits {
        None => most,
        Some(bits) => {
            let number = Some(bits).filter(is_number).and_then(|bits| bits.parse::<u8>().ok());
            number.filter(|bits| *bits <= most).ok_or(PrefixFault::Bad)?
        }
    };
    let masked = match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    };
    match masked == address {
        // Clients are compared as the IPv4 address that a mapped one carries.
        true if bits >= 96 && address.to_canonical().is_ipv4() && address.is_ipv6() => {
            Ok(Prefix { address: address.to_canonical(), bits: bits - 96 })
        }
        true => Ok(Prefix { address, bits }),
        false => Err(PrefixFault::HostBits(format!("{masked}/{bits}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(what: &'static str, fix: &str) -> Fault {
        Fault::Bad(what, fix.to_owned())
    }

    #[test]
    fn listeners_and_their_neighbours() {
        let tcp = |list: &[&str]| {
            let list: Vec<SocketAddr> = list.iter().map(|a| a.parse().expect("one")).collect();
            Ok(ListenAddress::Tcp(list.into()))
        };
        let port = fault("this is no port", "from 1 to 65535, such as \":8080\"");
        let rows = [
            (":8080", tcp(&["[::]:8080", "0.0.0.0:8080"])),
            ("127.0.0.1:80", tcp(&["127.0.0.1:80"])),
            ("[::1]:80", tcp(&["[::1]:80"])),
            ("localhost:80", tcp(&["127.0.0.1:80", "[::1]:80"])),
            ("unix:/run/a.sock", Ok(ListenAddress::Unix("/run/a.sock".into()))),
            ("8080", Err(fault("a port is written with a colon", "write \":8080\""))),
            (":0", Err(port.clone())),
            (":65536", Err(port.clone())),
            (":+80", Err(port)),
            ("127.0.0.1:0", Err(fault("this is no port", "from 1 to 65535"))),
            ("127.0.0.1", Err(fault("a port is missing", "such as \"127.0.0.1:8080\""))),
            ("systemd:web", Err(Fault::NotYet("systemd:"))),
        ];
        for (text, expect) in rows {
            assert_eq!(listen(text), expect, "{text}");
        }
        for text in ["", "::1:80", "example.com:80", "unix:a", "unix:", "http://a:80", "a b:80"] {
            assert!(matches!(listen(text), Err(Fault::Bad(..))), "{text}");
        }
    }

    #[test]
    fn endpoints_and_their_neighbours() {
        let name = |host: &str, port| EndpointAddress::Name { host: host.into(), port };
        let ip = |text: &str| EndpointAddress::Ip(text.parse().expect("an address"));
        let (http, https) = (Some(false), Some(true));
        let rows = [
            ("10.0.1.11:8080", ip("10.0.1.11:8080"), "10.0.1.11:8080", None),
            ("[::1]:80", ip("[::1]:80"), "[::1]:80", None),
            ("app.internal:3000", name("app.internal", 3000), "app.internal:3000", None),
            ("http://app", name("app", 80), "app", http),
            ("http://app:80/", name("app", 80), "app", http),
            ("HTTP://App:81", name("app", 81), "app:81", http),
            ("https://app", name("app", 443), "app", https),
            ("https://app:443/", name("app", 443), "app", https),
            ("HTTPS://App:80", name("app", 80), "app:80", https),
            ("http://app:443", name("app", 443), "app:443", http),
            ("unix:/run/a", EndpointAddress::Unix("/run/a".into()), "unix:/run/a", None),
        ];
        for (text, address, shown, is_https) in rows {
            let site = Site { address, text: shown.to_owned(), is_https };
            assert_eq!(endpoint(text), Ok(site), "{text}");
        }
        for (text, what) in [("srv://a", "srv://"), ("dns://a:1", "dns://")] {
            assert_eq!(endpoint(text), Err(Fault::NotYet(what)), "{text}");
        }
        let bad = [
            "",
            "app",
            "app:0",
            "10.0.0.256:80",
            "a..b:80",
            "http://a/x",
            "http://a?x",
            "https://a/x",
            "ftp://a",
            "http://u@a",
            "http://",
            "::1:80",
            "a:b:80",
            "caf\u{e9}:80",
            ":80",
        ];
        for text in bad {
            assert!(matches!(endpoint(text), Err(Fault::Bad(..))), "{text}");
        }
    }

    #[test]
    fn prefixes_and_their_neighbours() {
        let good = [("10.0.0.0/8", 8), ("10.1.2.3", 32), ("::/0", 0), ("2001:db8::/32", 32)];
        for (text, bits) in good {
            assert_eq!(prefix(text).map(|prefix| prefix.bits), Ok(bits), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10/8", "a", "::/129"] {
            assert_eq!(prefix(text), Err(PrefixFault::Bad), "{text}");
        }
        assert_eq!(prefix("10.0.0.1/8"), Err(PrefixFault::HostBits("10.0.0.0/8".into())));
        let mapped = prefix("::ffff:10.0.0.0/104").expect("a prefix");
        assert!(mapped.contains("10.9.9.9".parse().expect("an address")));
        assert_eq!(prefix("::1/0"), Err(PrefixFault::HostBits("::/0".into())));
    }
}
