//! Responses to a GET: the same rules in the other direction.

use super::{Row, no, ok};
use parser::ErrorKind::*;

pub(crate) const RESPONSES: &[Row] = &[
    ok("until close", b"HTTP/1.1 200 OK\r\n\r\n", "200 close"),
    ok("no reason", b"HTTP/1.1 200 \r\n\r\n", "200 close"),
    no("no space for a reason", b"HTTP/1.1 200\r\n\r\n", BadStatusLine),
    ok("reason with obs-text", b"HTTP/1.1 200 \xe9\r\nA: b\r\n\r\n", "200 close"),
    no("NUL in the reason", b"HTTP/1.1 200 a\0b\r\n\r\n", ControlByte),
    no("CR in the reason", b"HTTP/1.1 200 a\rb\r\n\r\n", BareCr),
    no("LF after the reason", b"HTTP/1.1 200 OK\nA: b\r\n\r\n", BareLf),
    no("LF for the reason", b"HTTP/1.1 200 \nA: b\r\n\r\n", BareLf),
    no("LF after the status", b"HTTP/1.1 200\nA: b\r\n\r\n", BareLf),
    no("only LF", b"HTTP/1.1 200 \n\n", BareLf),
    no("LF and CRLF", b"HTTP/1.1 200 \n\r\n", BareLf),
    no("empty line before", b"\r\nHTTP/1.1 200 OK\r\n\r\n", BadVersion),
    no("two spaces", b"HTTP/1.1  200 OK\r\n\r\n", BadStatusLine),
    no("two digits", b"HTTP/1.1 20 OK\r\n\r\n", BadStatusLine),
    no("four digits", b"HTTP/1.1 2000 OK\r\n\r\n", BadStatusLine),
    no("status 099", b"HTTP/1.1 099 OK\r\n\r\n", BadStatus),
    ok("status 599", b"HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n", "599 length 0"),
    no("status 600", b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", BadStatus),
    no("status 999", b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", BadStatus),
    no("status abc", b"HTTP/1.1 abc OK\r\n\r\n", BadStatus),
    no("HTTP/2", b"HTTP/2.0 200 OK\r\n\r\n", UnsupportedVersion),
    no("ICY", b"ICY 200 OK\r\n\r\n", BadVersion),
    no("body without a head", b"<html>\r\n\r\n", BadVersion),
    ok("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 1\r\n\r\nx", "200 length 1"),
    no("obs-fold", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", ObsFold),
    no("space before colon", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", SpaceBeforeColon),
    no("no colon", b"HTTP/1.1 200 OK\r\nA\r\n\r\n", MissingColon),
    no("LF after a field", b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", BareLf),
    // Framing.
    ok("length", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "200 length 3"),
    ok("length 0", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 length 0"),
    no(
        "two lengths",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        LengthRepeated,
    ),
    no("list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3,3\r\n\r\n", LengthRepeated),
    no("bad length", b"HTTP/1.1 200 OK\r\nContent-Length: 3a\r\n\r\n", BadLength),
    no(
        "large length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
        LengthTooLarge,
    ),
    ok(
        "chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "200 chunked x",
    ),
    no(
        "length and chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        LengthAndEncoding,
    ),
    no(
        "chunked in 1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        EncodingInHttp10,
    ),
    no("gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ChunkedNotLast),
    no(
        "gzip, chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        UnknownCoding,
    ),
    no(
        "chunked twice",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        EncodingRepeated,
    ),
    no(
        "chunked, chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        ChunkedRepeated,
    ),
    // Messages without a body.
    ok("204", b"HTTP/1.1 204 No Content\r\n\r\n", "204 none"),
    ok("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204 none"),
    no(
        "204 chunked",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        BodyForbidden,
    ),
    ok("304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 none"),
    ok(
        "304 chunked",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "304 none",
    ),
    no(
        "304 with two lengths",
        b"HTTP/1.1 304 X\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n",
        LengthRepeated,
    ),
    ok("100", b"HTTP/1.1 100 Continue\r\n\r\n", "100 none"),
    ok("101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "101 none"),
    no("100 with a length", b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", BodyForbidden),
    no(
        "103 chunked",
        b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
        BodyForbidden,
    ),
    no(
        "length nominated",
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n",
        NominatedFraming,
    ),
];
