//! Every reason to refuse a message, with its status, the section that says so and one sentence.

/// Why a message was refused, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    pub kind: ErrorKind,
    /// The offending byte, relative to the buffer (for a path: to the path) that was parsed.
    pub at: u32,
}

impl ParseError {
    #[inline]
    pub(crate) const fn new(kind: ErrorKind, at: usize) -> ParseError {
        let at = if at > u32::MAX as usize { u32::MAX } else { at as u32 };
        ParseError { kind, at }
    }

    /// The same refusal in a buffer that begins `base` bytes earlier.
    #[inline]
    pub(crate) const fn moved(self, base: usize) -> ParseError {
        ParseError::new(self.kind, self.at as usize + base)
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (byte {}, {})", self.kind.text(), self.at, self.kind.section())
    }
}

impl std::error::Error for ParseError {}

/// The version of a message. A higher minor version counts as 1.1 (RFC 9110 §2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

macro_rules! error_kinds {
    ($($kind:ident = $status:literal, $section:literal, $text:literal;)*) => {
        /// One kind per rule. The status is what a *client* is told; the same fault in an
        /// upstream's response is 502 whatever the kind.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum ErrorKind { $($kind,)* }

        impl ErrorKind {
            /// Every kind, in the order of their numbers.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// The status a client is answered with.
            pub const fn status(self) -> u16 {
                match self { $(ErrorKind::$kind => $status,)* }
            }

            /// The section that says so.
            pub const fn section(self) -> &'static str {
                match self { $(ErrorKind::$kind => $section,)* }
            }

            /// One short sentence, without the offending bytes.
            pub const fn text(self) -> &'static str {
                match self { $(ErrorKind::$kind => $text,)* }
            }

            /// The kind's name, stable, for logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorKind::$kind => stringify!($kind),)* }
            }
        }
    };
}

error_kinds! {
    // Heads and their lines.
    Incomplete = 400, "RFC 9112 §8", "the message ends before its head does";
    EmptyLines = 400, "RFC 9112 §2.2", "more than one empty line stands before the request line";
    BareLf = 400, "RFC 9112 §2.2", "a line ends in LF without CR";
    BareCr = 400, "RFC 9112 §2.2", "a CR is not followed by LF";
    ControlByte = 400, "RFC 9110 §5.5", "the head contains a control byte";
    BadRequestLine = 400, "RFC 9112 §3", "the request line is not method, target and version";
    BadMethod = 400, "RFC 9110 §9.1", "the method is not a token";
    BadVersion = 400, "RFC 9112 §2.3", "the protocol version is malformed";
    UnsupportedVersion = 505, "RFC 9110 §15.6.6", "the major protocol version is not 1";
    BadStatusLine = 400, "RFC 9112 §4", "the status line is malformed";
    BadStatus = 400, "RFC 9110 §15", "the status is not a number from 100 to 599";
    HeadTooLong = 431, "RFC 6585 §5", "the head is larger than the limit";
    TargetTooLong = 414, "RFC 9112 §3", "the request target is longer than the limit";
    TooManyFields = 431, "RFC 6585 §5", "there are more fields than the limit";
    ObsFold = 400, "RFC 9112 §5.2", "a line begins with white space";
    MissingColon = 400, "RFC 9112 §5", "a field line has no colon";
    EmptyFieldName = 400, "RFC 9110 §5.1", "a field has no name";
    SpaceBeforeColon = 400, "RFC 9112 §5.1", "white space stands between field name and colon";
    BadFieldName = 400, "RFC 9110 §5.1", "a field name is not a token";

    // Targets and hosts.
    MethodRefused = 405, "RFC 9110 §9.3.6", "CONNECT and TRACE are not served";
    BadTarget = 400, "RFC 9112 §3.2", "the request target has none of the known forms";
    AuthorityForm = 400, "RFC 9112 §3.2.3", "the authority form belongs to CONNECT";
    AsteriskForm = 400, "RFC 9112 §3.2.4", "the asterisk form belongs to OPTIONS";
    BadScheme = 400, "RFC 9110 §4.2", "the scheme of the target is neither http nor https";
    Fragment = 400, "RFC 9112 §3.2", "the request target has a fragment";
    HostMissing = 400, "RFC 9112 §3.2", "the Host field is missing";
    HostRepeated = 400, "RFC 9112 §3.2", "there are several Host fields";
    BadHost = 400, "RFC 9112 §3.2", "the host is malformed";
    BadPort = 400, "RFC 3986 §3.2.3", "the port is not a number from 1 to 65535";
    Userinfo = 400, "RFC 9110 §4.2.4", "the authority contains user information";

    // Paths.
    BadPercent = 400, "RFC 3986 §2.1", "a percent sign is not followed by two hex digits";
    EncodedSlash = 400, "RFC 3986 §2.2", "the path contains an encoded slash or backslash";
    EncodedNul = 400, "RFC 3986 §7.3", "the path contains an encoded NUL";
    Backslash = 400, "RFC 3986 §3.3", "the path contains a backslash";
    PathByte = 400, "RFC 3986 §3.3", "the path contains a byte that no path may hold";
    DotParameter = 400, "RFC 3986 §3.3", "a dot segment carries parameters";
    EncodedDots = 400, "RFC 3986 §5.2.4", "a dot segment stands beside an encoded slash";
    AboveRoot = 400, "RFC 3986 §5.2.4", "the path leads above its root";

    // Framing.
    LengthAndEncoding = 400, "RFC 9112 §6.1", "Content-Length stands beside Transfer-Encoding";
    BadLength = 400, "RFC 9112 §6.3", "Content-Length is not one decimal number";
    LengthRepeated = 400, "RFC 9112 §6.3", "Content-Length is given more than once";
    LengthTooLarge = 400, "RFC 9110 §8.6", "Content-Length is larger than 2^63 - 1";
    BadTransferEncoding = 400, "RFC 9112 §6.1", "Transfer-Encoding is malformed";
    EncodingRepeated = 400, "RFC 9112 §6.1", "Transfer-Encoding is given more than once";
    ChunkedRepeated = 400, "RFC 9112 §6.1", "the chunked coding is applied more than once";
    ChunkedNotLast = 400, "RFC 9112 §6.3", "the last transfer coding is not chunked";
    UnknownCoding = 501, "RFC 9112 §6.1", "a transfer coding besides chunked is not supported";
    EncodingInHttp10 = 400, "RFC 9112 §6.1", "Transfer-Encoding has no meaning in HTTP/1.0";
    BodyForbidden = 400, "RFC 9112 §6.1", "framing fields stand in a response that has no body";

    // Chunks and trailers.
    BadChunkSize = 400, "RFC 9112 §7.1", "a chunk size is not a hexadecimal number";
    ChunkTooLarge = 400, "RFC 9112 §7.1", "a chunk size has too many digits or is too large";
    BadChunkExtension = 400, "RFC 9112 §7.1.1", "a chunk extension is malformed";
    ChunkExtensionTooLong = 400, "RFC 9112 §7.1.1", "chunk extensions exceed the limit";
    BadChunkEnd = 400, "RFC 9112 §7.1", "chunk data is not followed by CRLF";
    TrailersTooLong = 431, "RFC 9112 §7.1.2", "the trailer section is larger than the limit";

    // Fields about the connection.
    BadConnection = 400, "RFC 9110 §7.6.1", "a connection option is not a token";
    NominatedFraming = 400, "RFC 9110 §7.6.1", "Connection nominates Host or a framing field";
    BadExpectation = 417, "RFC 9110 §10.1.1", "the expectation is not 100-continue";
    BadMaxForwards = 400, "RFC 9110 §7.6.2", "Max-Forwards is not one decimal number";

    // The PROXY header. Nobody is answered with the status: HTTP has not begun.
    ProxySignature = 400, "PROXY §2", "the connection does not begin with a PROXY header";
    ProxyTooLong = 400, "PROXY §2", "the PROXY header is larger than the limit";
    ProxyLine = 400, "PROXY §2.1", "more than two addresses and two ports stand in the PROXY line";
    ProxyFamily = 400, "PROXY §2", "the PROXY header names no family of addresses that is served";
    ProxyAddress = 400, "PROXY §2.1", "the PROXY line has no address of its family there";
    ProxyPort = 400, "PROXY §2.1", "the PROXY line has no port from 0 to 65535 there";
    ProxyCommand = 400, "PROXY §2.2", "the PROXY header has an unknown version or command";
    ProxyLength = 400, "PROXY §2.2", "the PROXY header is too short for its addresses";
    ProxyExtension = 400, "PROXY §2.2", "an extension of the PROXY header is malformed";
    ProxyChecksum = 400, "PROXY §2.2.4", "the PROXY header is not what its checksum says";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_client_or_server_error_a_section_and_a_sentence() {
        for kind in ErrorKind::ALL {
            assert!(matches!(kind.status(), 400 | 405 | 414 | 417 | 431 | 501 | 505), "{kind:?}");
            let is_proxy = kind.section().starts_with("PROXY §");
            assert!(is_proxy || kind.section().starts_with("RFC "), "{kind:?}");
            assert!(kind.text().len() > 10 && !kind.text().ends_with('.'), "{kind:?}");
        }
    }

    #[test]
    fn an_error_reads_as_a_sentence_with_its_place() {
        let error = ParseError::new(ErrorKind::BareLf, 14);
        let text = "a line ends in LF without CR (byte 14, RFC 9112 §2.2)";
        assert_eq!(error.to_string(), text);
    }
}
