//! Paths: the canonical form is a fixed point without dot segments and empty segments, and it
//! escapes to the same bytes as what was received.

use parser::path::canonical;
use parser::{Canonical, PathOptions};

pub fn target_path(bytes: &[u8]) {
    for encoded_slash_keep in [false, true] {
        for slashes_keep in [false, true] {
            one(bytes, PathOptions { encoded_slash_keep, slashes_keep });
        }
    }
    if let Ok((host_len, port)) = parser::target::check_authority(bytes) {
        assert!(host_len > 0 && host_len <= bytes.len() && port != Some(0));
        assert_eq!(port.is_none(), host_len == bytes.len());
        assert!(!bytes.iter().any(|b| matches!(b, b'@' | b'/' | b'\\' | b',' | b' ' | 0..0x20)));
    }
}

fn one(raw: &[u8], options: PathOptions) {
    let mut out = b"left over".to_vec();
    let Ok(facts) = canonical(raw, options, &mut out) else { return };
    let path = if facts.canonical == Canonical::AsIs { raw } else { &out };
    if path == b"*" {
        return;
    }
    assert_canonical(path, options);
    let mut again = Vec::new();
    let twice = canonical(path, options, &mut again).expect("a canonical path is accepted");
    assert_eq!(twice.canonical, Canonical::AsIs, "canonical twice is canonical once");
    // What is sent, be it `raw`, means the canonical path to everyone who decodes it.
    let sent = if facts.canonical == Canonical::Rewritten { path } else { raw };
    assert_eq!(decoded(sent), decoded(path));
    // The service, reading what is sent as strictly as we do, sees the path we authorised.
    let mut seen = Vec::new();
    let facts = canonical(sent, options, &mut seen).expect("what is sent is accepted");
    let seen = if facts.canonical == Canonical::AsIs { sent } else { &seen };
    assert_eq!(seen, path);
}

fn assert_canonical(path: &[u8], options: PathOptions) {
    assert_eq!(path.first(), Some(&b'/'));
    for segment in path[1..].split(|&b| b == b'/') {
        assert!(!matches!(segment, b"." | b".."), "dot segment");
        let plain = decoded(segment);
        for part in plain.split(|b| matches!(b, b'/' | b'\\')) {
            let end = part.iter().position(|&b| b == b';').unwrap_or(part.len());
            assert!(!matches!(&part[..end], b"." | b".."), "disguised dot segment");
        }
        if !options.encoded_slash_keep {
            assert!(!plain.iter().any(|b| matches!(b, b'/' | b'\\' | 0)));
        }
    }
    if !options.slashes_keep {
        assert!(!path.windows(2).any(|pair| pair == b"//"), "empty segment");
    }
    for (i, &b) in path.iter().enumerate() {
        assert!(b > b' ' && b < 0x7f && !matches!(b, b'#' | b'?' | b'\\'));
        if b == b'%' {
            assert!(path[i + 1..i + 3].iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')));
        }
    }
}

/// Every escape undone once.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let escape = path.get(at + 1..at + 3).filter(|_| path[at] == b'%');
        let text = escape.and_then(|hex| str::from_utf8(hex).ok());
        match text.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    out
}
