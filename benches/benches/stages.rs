//! What each stage of the way of the bytes costs: chunk, hash, compress, seal, open; and trees and indexes.
//!
//! `cargo bench -p benches --bench stages`. Throughput per core; 1 GB/s is 1 ns per byte. Buffers of 8 MiB, mostly
//! from memory rather than cache; `small` stages work on 4 KiB again and again.

#![allow(missing_docs)]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use repo_core::blob::{Opener, SealPolicy, Sealer};
use repo_core::chunker::{Chunker, ChunkerParams};
use repo_core::compress::{Compression, Compressor};
use repo_core::context::{Random as _, SystemRandom};
use repo_core::crypto::Key;
use repo_core::format::{IndexFile, IndexedBlob, IndexedPack, Mode, Node, NodeKind, Tree, TreeWriter};
use repo_core::hash::{sha256, sha256_each};
use repo_core::id::{BlobId, BlobKind, DataId};
use repo_core::time::{Timestamp, Zone};

const LARGE: usize = 8 << 20;
const SMALL: usize = 4 << 10;

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SystemRandom.fill(&mut bytes);
    bytes
}

/// Something like source code: words that come again, with numbers in between.
fn text(len: usize) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["let ", "chunk", " = ", "blob.", "seal(", "&mut ", ");\n    ", "// the next one\n"];
    let pick = noise(len / 2);
    let words = pick.iter().enumerate().map(|(at, &byte)| match byte {
        0..=239 => WORDS[usize::from(byte % 8)].to_owned(),
        _ => (at * 7919 % 100_003).to_string(),
    });
    words.flat_map(String::into_bytes).take(len).collect()
}

fn group<'a>(c: &'a mut Criterion, name: &str, len: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(len as u64));
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

fn chunk(c: &mut Criterion) {
    let usual = ChunkerParams::Rabin("3da3358b4dc173".parse().expect("the usual polynomial"));
    for (name, params) in [("rabin", usual), ("fastcdc", ChunkerParams::FAST_CDC)] {
        let chunker = Chunker::new(params).expect("fit parameters");
        let data = noise(64 << 20);
        group(c, "chunk", data.len()).bench_function(name, |b| {
            b.iter(|| {
                let mut rest = &data[..];
                while let Some(len) = chunker.cut(rest, 0, true) {
                    rest = &rest[len..];
                }
            });
        });
    }
}

fn hash(c: &mut Criterion) {
    let data = noise(LARGE);
    group(c, "hash", LARGE).bench_function("large", |b| b.iter(|| sha256(black_box(&data))));
    let chunks: Vec<&[u8]> = data.chunks(LARGE / 8).collect();
    group(c, "hash", LARGE).bench_function("each of eight", |b| b.iter(|| sha256_each(black_box(&chunks))));
    group(c, "hash", SMALL).bench_function("small", |b| b.iter(|| sha256(black_box(&data[..SMALL]))));
}

fn crypto(c: &mut Criterion) {
    let (key, data) = (Key::generate(&SystemRandom), noise(LARGE));
    for (name, len) in [("large", LARGE), ("small", SMALL)] {
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        group(c, "crypto seal", len).bench_function(name, |b| {
            b.iter(|| {
                sealed.clear();
                key.seal(&SystemRandom, &data[..len], &mut sealed);
            });
        });
        group(c, "crypto open", len).bench_function(name, |b| {
            b.iter(|| key.open(&sealed, &mut opened).expect("just sealed"));
        });
    }
}

fn compress(c: &mut Criterion) {
    for (name, data) in [("noise", noise(LARGE)), ("text", text(LARGE)), ("small text", text(SMALL))] {
        for compression in [Compression::Fastest, Compression::Auto, Compression::Level(3)] {
            let (mut compressor, mut out) = (Compressor::new(compression), Vec::new());
            compressor.compress(&data, &mut out);
            let percent = out.len() * 100 / data.len();
            group(c, "compress", data.len()).bench_function(
                format!("{name} {compression} to {percent}%"),
                |b| {
                    b.iter(|| {
                        out.clear();
                        compressor.compress(&data, &mut out);
                    });
                },
            );
        }
    }
}

fn blob(c: &mut Criterion) {
    let key = Arc::new(Key::generate(&SystemRandom));
    for (name, data) in [("noise", noise(LARGE)), ("text", text(LARGE)), ("small text", text(SMALL))] {
        let blob = BlobId { kind: BlobKind::Data, id: sha256(&data) };
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        let mut plain_len = None;
        for verify in [false, true] {
            let mut sealer = Sealer::new(Arc::clone(&key), SealPolicy { verify, ..SealPolicy::default() });
            let name = if verify { format!("{name} verified") } else { name.to_owned() };
            group(c, "seal", data.len()).bench_function(name, |b| {
                b.iter(|| {
                    sealed.clear();
                    let done = sealer.seal(&SystemRandom, &blob, &data, &mut sealed).expect("sane machine");
                    plain_len = done.plain_len;
                });
            });
        }
        let mut opener = Opener::new(Arc::clone(&key));
        group(c, "open", data.len()).bench_function(name, |b| {
            b.iter(|| opener.open(&blob, &sealed, plain_len, &mut opened).expect("just sealed"));
        });
    }
}

/// One directory of a thousand files, and the index of their chunks.
fn records(c: &mut Criterion) {
    const ENTRIES: u32 = 1000;
    let time = |seconds, nanos| Zone::UTC.at(Timestamp { seconds, nanos });
    let nodes: Vec<Node> = (0..ENTRIES)
        .map(|at| Node {
            mode: Mode::from_unix(0o100_644),
            mtime: time(1_700_000_000 + i64::from(at), at * 7919),
            atime: time(1_700_000_000 + i64::from(at), at * 7919),
            ctime: time(1_700_000_009 + i64::from(at), 123_456_789),
            user: "somebody".into(),
            group: "users".into(),
            inode: 7_000_000 + u64::from(at),
            device_id: 65_024,
            size: 1234 + u64::from(at),
            links: 1,
            content: Some(vec![DataId(sha256(&at.to_le_bytes()))]),
            ..Node::new(format!("file-number-{at:07}.txt"), NodeKind::File)
        })
        .collect();
    let write = || {
        let mut tree = TreeWriter::new();
        for node in &nodes {
            tree.push(node).expect("ascending names");
        }
        tree.finish()
    };
    let tree = write();
    group(c, "tree", tree.len()).bench_function("write", |b| b.iter(write));
    group(c, "tree", tree.len()).bench_function("read", |b| b.iter(|| Tree::parse(black_box(&tree))));

    let blobs = nodes.iter().zip(0..).map(|(node, at)| IndexedBlob {
        kind: BlobKind::Data,
        id: sha256(&node.name),
        offset: at * 100_000,
        len: 100_000,
        plain_len: NonZeroU32::new(200_000),
    });
    let pack = IndexedPack { id: sha256(b"pack").into(), blobs: blobs.collect() };
    let index = IndexFile { packs: vec![pack], ..IndexFile::default() };
    let text = index.to_json();
    group(c, "index", text.len()).bench_function("write", |b| b.iter(|| index.to_json()));
    group(c, "index", text.len()).bench_function("read", |b| b.iter(|| IndexFile::parse(black_box(&text))));
}

criterion_group!(stages, chunk, hash, crypto, compress, blob, records);
criterion_main!(stages);
