//! The PROXY header that a balancer in front writes before a connection's first byte: version 1, a
//! line of text, and version 2, a binary block (HAProxy's `proxy-protocol.txt`).
//!
//! ```text
//! v1  PROXY SP TCP4|TCP6 SP source SP destination SP port SP port CRLF       at most 107 bytes
//!     PROXY SP UNKNOWN [SP anything] CRLF
//! v2  signature (12)  version, command (1)  family, protocol (1)  length (2)
//!     length bytes: two addresses and two ports, then type (1) length (2) value, again and again
//! ```
//!
//! What it says becomes the client's address, so nothing is guessed: a header has to be there, and
//! it is refused when any part of it is not as written above, the unused destination included. A
//! refusal comes with the first byte that decides it, however the bytes were split.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::{ErrorKind, ParseError};

/// The longest line of version 1, its CRLF included (§2.1).
pub const LINE_BYTES_MAX: usize = 107;

/// What may follow the fixed part of version 2: the largest addresses (216 bytes) and room for
/// extensions, of which a client certificate's names are the largest in use. The protocol allows
/// 65,535, which nobody sends and a stranger could make us keep.
pub const BLOCK_BYTES_MAX: usize = 1024;

/// The longest header of either version: what a reader needs room for.
pub const HEADER_BYTES_MAX: usize = FIXED_BYTES + BLOCK_BYTES_MAX;

const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const FIXED_BYTES: usize = 16;

/// What a PROXY header says. `len` is how many bytes it takes; behind them the client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proxied {
    /// Who the client is. A mapped IPv4 address stays as it was written.
    Addr { source: SocketAddr, len: usize },
    /// The connection is the balancer's own, or its client has no Internet address: UNKNOWN,
    /// LOCAL, an unspecified family, a Unix socket.
    Local { len: usize },
}

impl Proxied {
    /// Where the client's own bytes begin.
    pub fn end(self) -> usize {
        match self {
            Proxied::Addr { len, .. } | Proxied::Local { len } => len,
        }
    }
}

/// The header at the beginning of a connection. `None`: more is needed, of which there is never
/// more than [`HEADER_BYTES_MAX`]. A refused connection is to be closed without a word: its peer
/// speaks neither TLS nor HTTP to us yet.
pub fn parse(bytes: &[u8]) -> Result<Option<Proxied>, ParseError> {
    match bytes.first() {
        None => Ok(None),
        Some(&b) if b == SIGNATURE[0] => block(bytes),
        Some(_) => line(bytes),
    }
}

fn refuse<T>(kind: ErrorKind, at: usize) -> Result<T, ParseError> {
    Err(ParseError::new(kind, at))
}

/// Whether `bytes` begin with `start`, as far as there are any; refused where they differ.
fn begins(bytes: &[u8], start: &[u8]) -> Result<bool, ParseError> {
    match bytes.iter().zip(start).position(|(a, b)| a != b) {
        Some(at) => refuse(ErrorKind::ProxySignature, at),
        None => Ok(bytes.len() >= start.len()),
    }
}

/// Version 1 (§2.1).
fn line(bytes: &[u8]) -> Result<Option<Proxied>, ParseError> {
    if !begins(bytes, LINE_START)? {
        return Ok(None);
    }
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let end = match window.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        Some(at) if window[at] == b'\n' => return refuse(ErrorKind::BareLf, at),
        Some(at) => match window.get(at + 1) {
            Some(b'\n') => at,
            Some(_) => return refuse(ErrorKind::BareCr, at),
            None if window.len() == LINE_BYTES_MAX => {
                return refuse(ErrorKind::ProxyTooLong, LINE_BYTES_MAX);
            }
            None => return Ok(None),
        },
        None if window.len() == LINE_BYTES_MAX => {
            return refuse(ErrorKind::ProxyTooLong, LINE_BYTES_MAX);
        }
        None => return Ok(None),
    };
    said(&window[..end]).map(Some)
}

/// What a whole line says; it comes without its CRLF.
fn said(line: &[u8]) -> Result<Proxied, ParseError> {
    let len = line.len() + 2;
    let mut words = Words { line, at: LINE_START.len() };
    let at = words.at;
    let is_v6 = match words.next() {
        // What follows is to be ignored, whatever it is (§2.1).
        b"UNKNOWN" => return Ok(Proxied::Local { len }),
        b"TCP4" => false,
        b"TCP6" => true,
        _ => return refuse(ErrorKind::ProxyFamily, at),
    };
    let source = words.address(is_v6)?;
    words.address(is_v6)?;
    let port = words.port()?;
    words.port()?;
    match words.at > line.len() {
        true => Ok(Proxied::Addr { source: SocketAddr::new(source, port), len }),
        false => refuse(ErrorKind::ProxyLine, words.at),
    }
}

/// Takes a line apart at its single spaces.
struct Words<'a> {
    line: &'a [u8],
    /// Where the next word begins; beyond the end when there is none, so that a space at the end
    /// of the line is followed by an empty word.
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a [u8] {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        self.at += len + 1;
        &rest[..len]
    }

    /// In the one notation of its family (§2.1): no zeros in front of IPv4's numbers, no zone. An
    /// IPv6 address may end in IPv4's notation, as `inet_ntop` writes mapped ones.
    fn address(&mut self, is_v6: bool) -> Result<IpAddr, ParseError> {
        let at = self.at;
        let text = str::from_utf8(self.next()).unwrap_or_default();
        let address = match is_v6 {
            true => text.parse().map(IpAddr::V6),
            false => text.parse().map(IpAddr::V4),
        };
        address.map_err(|_| ParseError::new(ErrorKind::ProxyAddress, at.min(self.line.len())))
    }

    /// From 0 to 65535, without zeros in front (§2.1).
    fn port(&mut self) -> Result<u16, ParseError> {
        let at = self.at;
        let digits = self.next();
        let is_number = digits.iter().all(u8::is_ascii_digit);
        let is_padded = digits.len() > 1 && digits[0] == b'0';
        let port = str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
        match port {
            Some(port) if is_number && !is_padded => Ok(port),
            _ => refuse(ErrorKind::ProxyPort, at.min(self.line.len())),
        }
    }
}

/// What the fourteenth byte of version 2 says.
enum Family {
    V4,
    V6,
    Unix,
    Unspecified,
}

impl Family {
    /// Only what a stream can come from: a datagram's address on a connection contradicts it, and
    /// the combinations that the protocol doesn't name are to be refused (§2.2).
    fn of(byte: u8) -> Option<Family> {
        match byte {
            0x00 => Some(Family::Unspecified),
            0x11 => Some(Family::V4),
            0x21 => Some(Family::V6),
            0x31 => Some(Family::Unix),
            _ => None,
        }
    }

    /// Two addresses and, but for Unix, two ports.
    fn bytes(&self) -> usize {
        match self {
            Family::V4 => 2 * 4 + 2 * 2,
            Family::V6 => 2 * 16 + 2 * 2,
            Family::Unix => 2 * 108,
            Family::Unspecified => 0,
        }
    }
}

/// Version 2 (§2.2).
fn block(bytes: &[u8]) -> Result<Option<Proxied>, ParseError> {
    if !begins(bytes, SIGNATURE)? {
        return Ok(None);
    }
    let Some(&command) = bytes.get(12) else { return Ok(None) };
    if !matches!(command, 0x20 | 0x21) {
        return refuse(ErrorKind::ProxyCommand, 12);
    }
    let Some(&family) = bytes.get(13) else { return Ok(None) };
    // The balancer's own: the rest is skipped, the family not looked at (§2.2).
    let is_local = command == 0x20;
    let family = match Family::of(family) {
        _ if is_local => Family::Unspecified,
        Some(family) => family,
        None => return refuse(ErrorKind::ProxyFamily, 13),
    };
    let Some(&[high, low]) = bytes.get(14..FIXED_BYTES) else { return Ok(None) };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > BLOCK_BYTES_MAX {
        return refuse(ErrorKind::ProxyTooLong, 14);
    }
    if rest < family.bytes() {
        return refuse(ErrorKind::ProxyLength, 14);
    }
    let len = FIXED_BYTES + rest;
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    if !is_local {
        extensions(header, FIXED_BYTES + family.bytes())?;
    }
    Ok(Some(match family {
        Family::V4 => Proxied::Addr { source: v4(header), len },
        Family::V6 => Proxied::Addr { source: v6(header), len },
        Family::Unix | Family::Unspecified => Proxied::Local { len },
    }))
}

/// Source address, destination address, source port, destination port.
fn v4(header: &[u8]) -> SocketAddr {
    let source: [u8; 4] = array(header, FIXED_BYTES);
    let port = u16::from_be_bytes(array(header, FIXED_BYTES + 2 * 4));
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(source)), port)
}

fn v6(header: &[u8]) -> SocketAddr {
    let source: [u8; 16] = array(header, FIXED_BYTES);
    let port = u16::from_be_bytes(array(header, FIXED_BYTES + 2 * 16));
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(source)), port)
}

/// The bytes at a place that the header was found long enough for.
fn array<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

/// The type of the extension that holds a CRC32C of the whole header (§2.2.4).
const CHECKSUM: u8 = 0x03;

/// Walks the extensions from `at` to the header's end, and verifies the checksum if there is one;
/// what the others say is not looked at.
fn extensions(header: &[u8], mut at: usize) -> Result<(), ParseError> {
    let mut checksum = None;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else {
            return refuse(ErrorKind::ProxyExtension, at);
        };
        let (value, len) = (at + 3, usize::from(u16::from_be_bytes([high, low])));
        if len > header.len() - value {
            return refuse(ErrorKind::ProxyExtension, at);
        }
        if kind == CHECKSUM {
            // A second one would be part of what the first one sums up.
            if len != 4 || checksum.is_some() {
                return refuse(ErrorKind::ProxyExtension, at);
            }
            checksum = Some(value);
        }
        at = value + len;
    }
    match checksum {
        Some(at) if crc32c(header, at) != u32::from_be_bytes(array(header, at)) => {
            refuse(ErrorKind::ProxyChecksum, at)
        }
        _ => Ok(()),
    }
}

/// CRC32C (RFC 4960 appendix B) over the header, in which the four bytes at `checksum` count as
/// zeros. A byte a step: some headers of a balancer have one, and it is at most 1 KiB.
fn crc32c(header: &[u8], checksum: usize) -> u32 {
    let step = |crc: u32, b: u8| crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ b)];
    let zeroed = checksum..checksum + 4;
    let bytes = header.iter().enumerate();
    !bytes.fold(!0, |crc, (at, &b)| step(crc, if zeroed.contains(&at) { 0 } else { b }))
}

const CRC_TABLE: [u32; 256] = {
    /// Castagnoli's polynomial, its bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut crc, mut bit) = (n as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli_s() {
        // RFC 3720 B.4, with four bytes in front that count as zeros.
        let of = |bytes: &[u8]| {
            let step = |crc: u32, b: &u8| crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ b)];
            !bytes.iter().fold(!0, step)
        };
        assert_eq!(of(b"123456789"), 0xe306_9283);
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[9; 32], 0), of(&[&[0; 4][..], &[9; 28]].concat()));
    }
}
