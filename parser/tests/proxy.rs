//! The PROXY header, by the sections of HAProxy's `proxy-protocol.txt`: each rule with what it
//! accepts and the nearest that it refuses, whole and at every split.

use std::net::SocketAddr;

use parser::proxy::{BLOCK_BYTES_MAX, HEADER_BYTES_MAX, LINE_BYTES_MAX, Proxied, parse};
use parser::{ErrorKind, ParseError};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: &[u8] = &[203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 0x01, 0xbb];

/// Version 2 with what its length says itself.
fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).expect("a short block");
    [SIGNATURE, &[command, family], &len.to_be_bytes(), rest].concat()
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// What a whole header says; refused is what is not a whole one.
fn read(bytes: &[u8]) -> Result<Option<Proxied>, ParseError> {
    let whole = parse(bytes);
    // However it was split: nothing is known before, and the same from then on.
    let decided = (0..=bytes.len()).find(|&end| parse(&bytes[..end]) != Ok(None));
    for end in decided.unwrap_or(bytes.len())..=bytes.len() {
        assert_eq!(parse(&bytes[..end]), whole, "{bytes:?} up to {end}");
    }
    if whole != Ok(None) {
        assert_eq!(parse(&[bytes, b"GET / HTTP/1.1\r\n"].concat()), whole, "{bytes:?} and more");
        assert_eq!(parse(&[bytes, bytes].concat()), whole, "{bytes:?} twice");
    }
    whole
}

fn accepted(bytes: &[u8], source: Option<&str>) {
    let len = bytes.len();
    let expect = match source {
        Some(source) => Proxied::Addr { source: address(source), len },
        None => Proxied::Local { len },
    };
    let decided = (0..=len).find(|&end| parse(&bytes[..end]) != Ok(None));
    assert_eq!(read(bytes), Ok(Some(expect)), "{:?}", String::from_utf8_lossy(bytes));
    assert_eq!((decided, expect.end()), (Some(len), len), "its last byte decides");
}

fn refused(bytes: &[u8], kind: ErrorKind, at: u32) {
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(read(bytes), Err(ParseError { kind, at }), "{text:?}");
}

#[test]
fn a_line_of_version_1_names_two_addresses_and_two_ports() {
    accepted(b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 443\r\n", Some("203.0.113.7:12345"));
    accepted(b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", Some("0.0.0.0:0"));
    accepted(b"PROXY TCP6 2001:db8::7 ::1 12345 443\r\n", Some("[2001:db8::7]:12345"));
    accepted(b"PROXY TCP6 2001:DB8::A ::1 1 2\r\n", Some("[2001:db8::a]:1"));
    // As `inet_ntop` writes a mapped address.
    accepted(b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", Some("[::ffff:1.2.3.4]:1"));
    let eight = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY TCP6 {eight} {eight} 65535 65535\r\n");
    assert_eq!((longest.len(), LINE_BYTES_MAX), (104, 107));
    accepted(longest.as_bytes(), Some(&format!("[{eight}]:65535")));
}

#[test]
fn a_line_that_is_not_exactly_that_is_refused() {
    use ErrorKind::*;
    for (line, kind, at) in [
        ("PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", ProxyFamily, 6),
        ("PROXY \r\n", ProxyFamily, 6),
        ("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", ProxyFamily, 6),
        ("PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", ProxyFamily, 6),
        ("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", ProxyFamily, 6),
        ("PROXY TCP4\t1.2.3.4 5.6.7.8 1 2\r\n", ProxyFamily, 6),
        ("PROXY TCP4\r\n", ProxyAddress, 10),
        ("PROXY TCP4 \r\n", ProxyAddress, 11),
        ("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP4 1.2.3.4.5 5.6.7.8 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP4 0x1.2.3.4 5.6.7.8 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP4 \u{661}.2.3.4 5.6.7.8 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP4 1.2.3.4\r\n", ProxyAddress, 18),
        ("PROXY TCP4 1.2.3.4 5.6.7 1 2\r\n", ProxyAddress, 19),
        ("PROXY TCP6 1.2.3.4 ::1 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP6 [::1] ::1 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP6 1::2::3 ::1 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP6 12345::1 ::1 1 2\r\n", ProxyAddress, 11),
        ("PROXY TCP6 ::1 5.6.7.8 1 2\r\n", ProxyAddress, 15),
        ("PROXY TCP4 1.2.3.4 5.6.7.8\r\n", ProxyPort, 26),
        ("PROXY TCP4 1.2.3.4 5.6.7.8  1 2\r\n", ProxyPort, 27),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", ProxyPort, 27),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", ProxyPort, 27),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", ProxyPort, 27),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", ProxyPort, 27),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", ProxyPort, 28),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", ProxyPort, 29),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n", ProxyPort, 29),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", ProxyLine, 31),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", ProxyLine, 31),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\t\r\n", ProxyPort, 29),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", BareLf, 30),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n", BareCr, 30),
        ("PROXY TCP4 1.2.3.4\r5.6.7.8 1 2\r\n", BareCr, 18),
    ] {
        refused(line.as_bytes(), kind, at);
    }
}

#[test]
fn what_follows_unknown_is_ignored_up_to_the_line_s_end() {
    accepted(b"PROXY UNKNOWN\r\n", None);
    accepted(b"PROXY UNKNOWN \r\n", None);
    accepted(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None);
    accepted(b"PROXY UNKNOWN  \0 what \xff ever\r\n", None);
    refused(b"PROXY UNKNOWNS\r\n", ErrorKind::ProxyFamily, 6);
    refused(b"PROXY unknown\r\n", ErrorKind::ProxyFamily, 6);
    refused(b"PROXY UNKNOWN x\n", ErrorKind::BareLf, 15);
    refused(b"PROXY UNKNOWN x\rGET / HTTP/1.1\r\n", ErrorKind::BareCr, 15);
}

#[test]
fn a_line_has_its_bound() {
    let line = |len: usize| {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(len - 2, b'x');
        [&line[..], b"\r\n"].concat()
    };
    accepted(&line(LINE_BYTES_MAX), None);
    for len in [LINE_BYTES_MAX + 1, LINE_BYTES_MAX + 2, 5000] {
        refused(&line(len), ErrorKind::ProxyTooLong, LINE_BYTES_MAX as u32);
    }
    assert_eq!(parse(&line(5000)[..LINE_BYTES_MAX - 1]), Ok(None), "it may still end");
}

#[test]
fn what_begins_otherwise_is_refused_with_its_first_wrong_byte() {
    use ErrorKind::ProxySignature;
    assert_eq!(parse(b""), Ok(None));
    refused(b"GET / HTTP/1.1\r\n\r\n", ProxySignature, 0);
    refused(b"\x16\x03\x01\x02\x00", ProxySignature, 0);
    refused(b"proxy TCP4", ProxySignature, 0);
    refused(b" PROXY TCP4", ProxySignature, 0);
    refused(b"POST / HTTP/1.1", ProxySignature, 1);
    refused(b"PROXYTCP4", ProxySignature, 5);
    refused(b"PROXY\r\n", ProxySignature, 5);
    refused(b"\r\nPROXY UNKNOWN\r\n", ProxySignature, 2);
    for at in 0..SIGNATURE.len() {
        let mut wrong = block(0x21, 0x11, V4);
        wrong[at] ^= 0x20;
        refused(&wrong, ProxySignature, at as u32);
        assert_eq!(parse(&SIGNATURE[..=at]), Ok(None));
    }
}

#[test]
fn a_block_of_version_2_names_addresses_in_binary() {
    accepted(&block(0x21, 0x11, V4), Some("203.0.113.7:12345"));
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 7;
    v6[32..].copy_from_slice(&[0xff, 0xff, 0, 80]);
    accepted(&block(0x21, 0x21, &v6), Some("[2001:db8::7]:65535"));
    accepted(&block(0x21, 0x31, &[b'/'; 216]), None);
    accepted(&block(0x21, 0x00, &[]), None);
}

#[test]
fn the_balancer_s_own_connection_is_local_whatever_else_it_says() {
    accepted(&block(0x20, 0x00, &[]), None);
    accepted(&block(0x20, 0x11, V4), None);
    accepted(&block(0x20, 0xff, b"what ever"), None);
    accepted(&block(0x20, 0x00, &[0; BLOCK_BYTES_MAX]), None);
    refused(&block(0x20, 0x00, &[0; BLOCK_BYTES_MAX + 1]), ErrorKind::ProxyTooLong, 14);
}

#[test]
fn other_versions_commands_and_families_are_refused() {
    for command in (0..=255).filter(|c| !matches!(c, 0x20 | 0x21)) {
        refused(&block(command, 0x11, V4), ErrorKind::ProxyCommand, 12);
    }
    // Datagrams (0x12, 0x22, 0x32) don't come over a connection.
    for family in (0..=255).filter(|f| !matches!(f, 0x00 | 0x11 | 0x21 | 0x31)) {
        refused(&block(0x21, family, &[0; 216]), ErrorKind::ProxyFamily, 13);
    }
}

#[test]
fn a_block_is_as_long_as_its_addresses_at_least() {
    for (family, len) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        for short in [0, 1, len - 1] {
            refused(&block(0x21, family, &vec![0; short]), ErrorKind::ProxyLength, 14);
        }
        let whole = block(0x21, family, &vec![0; len]);
        assert!(matches!(parse(&whole), Ok(Some(said)) if said.end() == 16 + len));
        assert_eq!(parse(&whole[..whole.len() - 1]), Ok(None));
    }
}

/// Type, length, value.
fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

#[test]
fn extensions_are_skipped_within_the_bound() {
    let with = |rest: &[u8]| block(0x21, 0x11, &[V4, rest].concat());
    let source = Some("203.0.113.7:12345");
    accepted(&with(&extension(0x02, b"shop.example")), source);
    accepted(&with(&[extension(0x04, b""), extension(0xea, &[1; 23])].concat()), source);
    let room = BLOCK_BYTES_MAX - V4.len();
    accepted(&with(&extension(0x04, &vec![0; room - 3])), source);
    assert_eq!(with(&vec![0; room]).len(), HEADER_BYTES_MAX);
    refused(&with(&vec![0; room + 1]), ErrorKind::ProxyTooLong, 14);
    let endless = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    refused(&endless, ErrorKind::ProxyTooLong, 14);

    let first = extension(0x01, b"h2");
    for cut in [1, 2] {
        refused(&with(&[&first[..], &[4, 0][..cut]].concat()), ErrorKind::ProxyExtension, 33);
    }
    refused(&with(&first[..4]), ErrorKind::ProxyExtension, 28);
    refused(&with(&[4, 0xff, 0xff]), ErrorKind::ProxyExtension, 28);
    refused(&block(0x21, 0x00, &[4, 0, 1]), ErrorKind::ProxyExtension, 16);
}

/// CRC32C by its definition, a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &b| (0..8).fold(crc ^ u32::from(b), |crc, _| bit(crc)))
}

#[test]
fn a_checksum_is_verified_where_there_is_one() {
    let summed = |rest: &[&[u8]]| {
        let mut bytes = block(0x21, 0x11, &[&[V4], rest].concat().concat());
        let sum = crc32c(&bytes).to_be_bytes();
        bytes[31..35].copy_from_slice(&sum);
        bytes
    };
    let empty = extension(0x03, &[0; 4]);
    let good = summed(&[&empty, &extension(0x02, b"shop.example")]);
    accepted(&good, Some("203.0.113.7:12345"));
    // Any other byte from the addresses on, but for those that say how long something is.
    for at in (16..28).chain(31..35).chain(38..good.len()) {
        let mut wrong = good.clone();
        wrong[at] ^= 1;
        refused(&wrong, ErrorKind::ProxyChecksum, 31);
    }
    refused(&summed(&[&empty, &empty]), ErrorKind::ProxyExtension, 35);
    for len in [0, 3, 5] {
        let other = block(0x21, 0x11, &[V4, &extension(0x03, &vec![0; len])].concat());
        refused(&other, ErrorKind::ProxyExtension, 28);
    }
    // Of the balancer's own header nothing is looked at.
    accepted(&block(0x20, 0x11, &[V4, &empty[..]].concat()), None);
}
