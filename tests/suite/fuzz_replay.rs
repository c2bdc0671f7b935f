//! Every fuzz target takes seeds of the fixtures, and some thousand mutations of them, without a fault.
//!
//! The mutations are the same in every run: flips, cuts, doublings and splices by a small generator.

#[allow(unreachable_pub, reason = "the same file is a library of its own")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use serde_json::Value;
use tests::fixtures::text;

/// Mutations of each seed.
const MUTATIONS: u64 = 300;

/// Texts of real repositories, and a few others that parsers know.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for name in ["v2-r019", "v1-r014"] {
        let manifest: Value = serde_json::from_str(&text(&format!("{name}.json"))).unwrap();
        seeds.push(manifest["config"].to_string().into_bytes());
        seeds.push(manifest["keys"].to_string().into_bytes());
        for key in ["raw_json", "index_raw_json"] {
            collect(&manifest, key, &mut seeds);
        }
    }
    let vectors: Value = serde_json::from_str(&text("crypto-vectors.json")).unwrap();
    seeds.push(vectors["key_file"].to_string().into_bytes());
    for line in text("golden-nodes.jsonl").lines().step_by(9) {
        let line: Value = serde_json::from_str(line).unwrap();
        let node = line["json"].as_str().unwrap();
        seeds.push(node.as_bytes().to_vec());
        seeds.push(format!("{{\"nodes\":[{node}]}}\n").into_bytes());
    }
    let others: [&[u8]; 9] = [
        br#"{"time":"2024-01-01T00:00:00Z","exclusive":false,"hostname":"h","username":"u","pid":1}"#,
        b"rest:https://user:secretsecret@host:8000/path/",
        b"s3:http://host:9000/bucket/prefix",
        b"/data/**/sub/**/*.log\0/data/x/sub/y/deep.log",
        b"!/a/[^b]?c\0/a/b/c",
        b"2024-02-29T12:00:00.123456789+05:45",
        b"\x28\xb5\x2f\xfd\x04\x00\x19\x00\x00abc",
        &[0; 45],
        b"",
    ];
    seeds.extend(others.map(<[u8]>::to_vec));
    seeds.retain(|seed| seed.len() < 20_000);
    seeds
}

/// Every text under such a key, at any depth.
fn collect(value: &Value, key: &str, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if name == key => found.push(text.clone().into_bytes()),
                    value => collect(value, key, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, key, found)),
        _ => {}
    }
}

/// The next number of a plain generator (Knuth's MMIX constants).
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap()
}

fn mutate(seed: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=next(state) % 4 {
        let len = bytes.len();
        if len == 0 {
            bytes.push(u8::try_from(next(state) % 256).unwrap());
            continue;
        }
        let at = next(state) % len;
        match next(state) % 5 {
            0 => bytes[at] ^= 1 << (next(state) % 8),
            1 => bytes[at] = [0, 0xff, b'"', b'\\', b'{', b'9', 0xed, 0x80][next(state) % 8],
            2 => bytes.truncate(at),
            3 => bytes.extend_from_within(at..(at + 40).min(len)),
            _ => drop(bytes.drain(at..(at + next(state) % 20).min(len))),
        }
    }
    bytes
}

fn replay(wanted: impl Fn(&str) -> bool, mutations: u64) {
    let seeds = seeds();
    assert!(seeds.len() > 30, "the fixtures were not understood");
    for (name, target) in fuzz::TARGETS.iter().filter(|(name, _)| wanted(name)) {
        for (number, seed) in seeds.iter().enumerate() {
            target(seed);
            let mut state = number as u64;
            for _ in 0..mutations {
                let bytes = mutate(seed, &mut state);
                let outcome = std::panic::catch_unwind(|| target(&bytes));
                assert!(outcome.is_ok(), "{name} fails on {:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}

#[test]
fn parsers_take_any_mutation_of_real_records() {
    replay(|name| name != "chunker", MUTATIONS);
}

#[test]
fn chunker_takes_any_bytes() {
    replay(|name| name == "chunker", 1);
}
