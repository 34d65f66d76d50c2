//! Chunked bodies: per chunk, and per byte.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use parser::{ChunkEvent, ChunkedDecoder, Limits, encode};

fn body(chunks_count: usize, chunk_len: usize, extension: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..chunks_count {
        out.extend_from_slice(format!("{chunk_len:x}{extension}\r\n").as_bytes());
        out.extend(std::iter::repeat_n(b'x', chunk_len));
        out.extend_from_slice(encode::CHUNK_END);
    }
    out.extend_from_slice(encode::LAST_CHUNK);
    out
}

fn decode(bytes: &[u8], limits: &Limits) -> usize {
    let mut decoder = ChunkedDecoder::new(limits);
    let (mut at, mut data_len) = (0, 0);
    while let Ok(ChunkEvent::Data(range)) = decoder.next(bytes, &mut at) {
        data_len += range.len();
    }
    assert!(decoder.is_at_trailers());
    data_len
}

fn chunked(c: &mut Criterion) {
    let limits = Limits { chunk_ext_bytes_max: 1 << 20, ..Limits::default() };
    let mut group = c.benchmark_group("chunked");
    let rows = [
        ("16_chunks_of_4_KiB", body(16, 4096, "")),
        ("1000_chunks_of_10_B", body(1000, 10, "")),
        ("1000_chunks_with_extension", body(1000, 10, ";name=\"value\"")),
    ];
    for (name, bytes) in rows {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| b.iter(|| decode(black_box(&bytes), &limits)));
    }
    group.bench_function("httparse_1000_sizes", |b| {
        let sizes = b"a\r\n".repeat(1000);
        b.iter(|| {
            sizes
                .chunks_exact(3)
                .filter(|size| httparse::parse_chunk_size(black_box(size)).is_ok())
                .count()
        });
    });
    group.finish();
}

criterion_group!(benches, chunked);
criterion_main!(benches);
