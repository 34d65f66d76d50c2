//! The PROXY header: what is decided stays so whatever follows and however it was split, nothing
//! is decided before the header's last byte, and a naive reader finds the same source there.

use std::net::SocketAddr;

use parser::ParseError;
use parser::proxy::{HEADER_BYTES_MAX, LINE_BYTES_MAX, Proxied, parse};

pub fn proxy(bytes: &[u8]) {
    let whole = parse(bytes);
    let decided = (0..=bytes.len()).find(|&end| parse(&bytes[..end]) != Ok(None));
    match decided {
        None => assert!(bytes.len() < HEADER_BYTES_MAX, "it is bounded"),
        Some(first) => {
            assert!(first <= HEADER_BYTES_MAX, "it is bounded");
            for end in crate::cuts(bytes).into_iter().filter(|&end| end >= first) {
                assert_eq!(parse(&bytes[..end]), whole, "up to {end}");
            }
            assert_eq!(parse(&bytes[..first]), whole, "up to {first}");
        }
    }
    match whole {
        Ok(None) => {}
        Ok(Some(said)) => {
            assert_eq!(decided, Some(said.end()), "its last byte decides");
            assert_eq!(source_of(&bytes[..said.end()]), said);
        }
        Err(ParseError { at, .. }) => assert!(at as usize <= bytes.len().min(HEADER_BYTES_MAX)),
    }
}

/// What an accepted header says, read without any check.
fn source_of(header: &[u8]) -> Proxied {
    let len = header.len();
    if header[0] == b'P' {
        assert!(len <= LINE_BYTES_MAX && header.ends_with(b"\r\n"));
        assert_eq!(header.iter().filter(|b| matches!(b, b'\r' | b'\n')).count(), 2);
        let line = String::from_utf8_lossy(&header[..len - 2]).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        if words[1] == "UNKNOWN" {
            return Proxied::Local { len };
        }
        assert_eq!(words.len(), 6);
        let text = match words[1] {
            "TCP4" => format!("{}:{}", words[2], words[4]),
            _ => format!("[{}]:{}", words[2], words[4]),
        };
        let source: SocketAddr = text.parse().expect("an address and a port");
        let ports: Vec<u16> = words[4..].iter().map(|port| port.parse().expect("a port")).collect();
        assert_eq!(words[4..], ports.iter().map(u16::to_string).collect::<Vec<_>>());
        if words[1] == "TCP4" {
            assert_eq!(source.to_string(), text, "IPv4 has one notation");
        }
        return Proxied::Addr { source, len };
    }
    assert_eq!(len, 16 + usize::from(header[14]) * 256 + usize::from(header[15]));
    let port = |at: usize| u16::from(header[at]) << 8 | u16::from(header[at + 1]);
    match (header[12], header[13]) {
        (0x21, 0x11) => {
            let ip: [u8; 4] = header[16..20].try_into().expect("four bytes");
            Proxied::Addr { source: (ip, port(24)).into(), len }
        }
        (0x21, 0x21) => {
            let ip: [u8; 16] = header[16..32].try_into().expect("sixteen bytes");
            Proxied::Addr { source: (ip, port(48)).into(), len }
        }
        _ => Proxied::Local { len },
    }
}
