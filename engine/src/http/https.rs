//! Where a request in the clear is sent to: the same place over HTTPS.

/// Port of a URL that names none (RFC 9110 §4.2.2).
const USUAL_PORT: u16 = 443;

/// Appends the URL. `host` is the request's, without port; `path` and `query` as they came.
pub fn location(out: &mut Vec<u8>, host: &[u8], port: u16, path: &[u8], query: Option<&[u8]>) {
    out.extend_from_slice(b"https://");
    out.extend_from_slice(host);
    if port != USUAL_PORT {
        out.push(b':');
        out.extend_from_slice(port.to_string().as_bytes());
    }
    // `OPTIONS *` has no path.
    out.extend_from_slice(if path.starts_with(b"/") { path } else { b"/" });
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_place() {
        let rows: [(&str, u16, &str, Option<&str>, &str); 5] = [
            ("a.example", 443, "/", None, "https://a.example/"),
            ("a.example", 8443, "/x%2Fy", Some("a=1&b"), "https://a.example:8443/x%2Fy?a=1&b"),
            ("[::1]", 443, "/x", Some(""), "https://[::1]/x?"),
            ("a.example", 80, "//evil", None, "https://a.example:80//evil"),
            ("a.example", 443, "*", None, "https://a.example/"),
        ];
        for (host, port, path, query, expect) in rows {
            let mut out = Vec::new();
            let query = query.map(str::as_bytes);
            location(&mut out, host.as_bytes(), port, path.as_bytes(), query);
            assert_eq!(String::from_utf8_lossy(&out), expect);
        }
    }
}
