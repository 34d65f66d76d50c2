//! Heads, targets and paths beside httparse alone, and the PROXY header.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use parser::{
    HeadScan, Limits, Method, PathOptions, RequestHead, ResponseHead, connection, path, target,
};

const WRK: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

const SEVEN: &[u8] = b"GET /api/v1/users/42?fields=name HTTP/1.1\r\nHost: api.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: application/json\r\n\
Accept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz\r\n\
Connection: keep-alive\r\nX-Request-Id: 7f3c2b1a-0000-4000-8000-123456789abc\r\n\r\n";

const BROWSER: &[u8] = b"GET /static/app.js HTTP/1.1\r\nHost: www.example.com\r\n\
Connection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\n\
sec-ch-ua-mobile: ?0\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
(KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\nsec-ch-ua-platform: \"Linux\"\r\n\
Accept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n\
Referer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\r\n";

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
Content-Type: application/json\r\nContent-Length: 128\r\nCache-Control: no-cache\r\n\
ETag: \"abc\"\r\n\r\n";

fn requests(c: &mut Criterion) {
    let limits = Limits::default();
    let mut head = RequestHead::with_capacity(100);
    for (name, bytes) in [("wrk", WRK), ("seven", SEVEN), ("browser", BROWSER)] {
        let mut group = c.benchmark_group(format!("request/{name}"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("httparse", |b| {
            b.iter(|| {
                let mut fields = [const { std::mem::MaybeUninit::uninit() }; 64];
                let mut request = httparse::Request::new(&mut []);
                black_box(request.parse_with_uninit_headers(black_box(bytes), &mut fields)).is_ok()
            });
        });
        group.bench_function("parse_or_more", |b| {
            b.iter(|| {
                let mut scan = HeadScan::request();
                black_box(head.parse_or_more(black_box(bytes), &mut scan, &limits)).is_ok()
            });
        });
        group.bench_function("scan_then_parse", |b| {
            b.iter(|| {
                let bytes = black_box(bytes);
                let end = HeadScan::request().push(bytes, &limits);
                black_box(end).is_ok() && black_box(head.parse(bytes, &limits)).is_ok()
            });
        });
        group.bench_function("strict", |b| {
            b.iter(|| {
                let mut scan = HeadScan::request();
                black_box(head.parse_strict(black_box(bytes), &mut scan, &limits)).is_ok()
            });
        });
        head.parse(bytes, &limits).expect("the request is good");
        let mut out = Vec::with_capacity(256);
        group.bench_function("facts", |b| {
            b.iter(|| {
                let (head, buf) = (black_box(&head), black_box(bytes));
                let target = target::resolve(head, buf).expect("good target");
                let raw = target.path_of(buf);
                (target.is_plain
                    || black_box(path::canonical(raw, PathOptions::default(), &mut out)).is_ok())
                    && black_box(parser::request_framing(head, buf)).is_ok()
                    && black_box(connection::options(&head.fields, buf)).is_ok()
                    && black_box(connection::expect(head, buf)).is_ok()
            });
        });
        group.finish();
    }
}

fn drip(c: &mut Criterion) {
    let limits = Limits::default();
    let mut head = RequestHead::with_capacity(100);
    c.bench_function("request/seven/byte_by_byte", |b| {
        b.iter(|| {
            let mut scan = HeadScan::request();
            (1..=SEVEN.len()).any(|end| {
                let answer = head.parse_or_more(&SEVEN[..end], &mut scan, &limits);
                answer.is_ok_and(|len| len.is_some())
            })
        });
    });
}

fn responses(c: &mut Criterion) {
    let limits = Limits::default();
    let mut head = ResponseHead::with_capacity(100);
    let mut group = c.benchmark_group("response");
    group.bench_function("httparse", |b| {
        b.iter(|| {
            let mut fields = [const { std::mem::MaybeUninit::uninit() }; 64];
            let mut response = httparse::Response::new(&mut []);
            let config = httparse::ParserConfig::default();
            let bytes = black_box(RESPONSE);
            black_box(config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields))
                .is_ok()
        });
    });
    group.bench_function("parse_or_more", |b| {
        b.iter(|| {
            let (bytes, mut scan) = (black_box(RESPONSE), HeadScan::response());
            black_box(head.parse_or_more(bytes, &mut scan, &limits)).is_ok()
        });
    });
    group.bench_function("parse_or_more_and_framing", |b| {
        b.iter(|| {
            let (bytes, mut scan) = (black_box(RESPONSE), HeadScan::response());
            black_box(head.parse_or_more(bytes, &mut scan, &limits)).is_ok()
                && black_box(parser::response_framing(&head, bytes, Method::Get)).is_ok()
        });
    });
    group.finish();
}

fn paths(c: &mut Criterion) {
    let mut out = Vec::with_capacity(256);
    let mut group = c.benchmark_group("path");
    let rows: [(&str, &[u8]); 4] = [
        ("plain", b"/api/v1/users/42"),
        ("plain_long", b"/api/v1/organisations/acme/projects/rocket/issues/1234/comments"),
        ("escaped", b"/api/v1/files/caf%c3%a9%20menu"),
        ("dots", b"/api/v1/../v2//users/./42"),
    ];
    for (name, raw) in rows {
        group.bench_function(name, |b| {
            b.iter(|| {
                black_box(path::canonical(black_box(raw), PathOptions::default(), &mut out)).is_ok()
            });
        });
    }
    group.finish();
}

fn proxied(c: &mut Criterion) {
    let mut group = c.benchmark_group("proxy");
    let line: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 443\r\n";
    let block = |rest: &[u8]| {
        let len = (rest.len() as u16).to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &len[..], rest].concat()
    };
    let addresses = [203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 0x01, 0xbb];
    // The last one's checksum is wrong, which is found as late as that it is right.
    let summed = block(&[&addresses[..], &[3, 0, 4, 0, 0, 0, 0]].concat());
    let rows = [("v1", line.to_vec()), ("v2", block(&addresses)), ("v2_checksum", summed)];
    for (name, bytes) in rows {
        group.bench_function(name, |b| {
            b.iter(|| black_box(parser::proxy::parse(black_box(&bytes))).is_ok());
        });
    }
    group.finish();
}

criterion_group!(benches, requests, drip, responses, paths, proxied);
criterion_main!(benches);
