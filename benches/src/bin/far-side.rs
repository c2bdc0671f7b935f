//! The far side of `cargo xtask bench network`: a real sshd and a real S3 server, near and behind a long line.
//!
//! In: an S3 server's program and the one-way delay in milliseconds. Out: on the first line of its output, as JSON,
//! how each place is reached (its name is to be put where `NAME` stands) and in which folder its files lie; then it
//! serves until its input ends. The line delays every byte and lets through as many as come.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program of the benchmarks reads its arguments")]

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::proxy::{Line, Proxy};
use tests::servers::process::Process;
use tests::servers::{Place, Sshd, plain_http};

const BUCKET: &str = "bucket";
const ACCESS_KEY: &str = "larder-bench";
const SECRET_KEY: &str = "larder-bench-secret";

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let one_way = Duration::from_millis(words.next().ok_or("how many milliseconds one way?")?.parse()?);
    let line = Line { one_way, bytes_per_second: None };
    let sshd = Sshd::start();
    let bucket = tempfile::tempdir()?;
    fs::create_dir(bucket.path().join(BUCKET))?;
    let s3 = Process::start(bucket.path(), s3_server, &plain_http::answers);
    let (long_sshd, long_s3) = (Proxy::quiet(sshd.address(), line), Proxy::quiet(s3.address(), line));
    let folder = bucket.path().join(BUCKET);
    let places = json!([
        place("SFTP", "near", &sshd.place("NAME"), &sshd.storage(), sshd.address()),
        place(
            "SFTP",
            "far",
            &sshd.place_through(long_sshd.address(), "NAME"),
            &sshd.storage(),
            long_sshd.address()
        ),
        place("S3", "near", &s3_place(s3.address()), &folder, s3.address()),
        place("S3", "far", &s3_place(long_s3.address()), &folder, long_s3.address()),
    ]);
    let mut output = io::stdout();
    writeln!(output, "{places}")?;
    output.flush()?;
    // Whoever started us closes this, or is gone.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn place(target: &str, line: &str, place: &Place, folder: &Path, address: SocketAddr) -> Value {
    json!({
        "target": target, "line": line, "location": place.location, "options": place.options,
        "variables": place.variables, "folder": folder, "address": address.to_string(),
    })
}

fn s3_place(address: SocketAddr) -> Place {
    Place::new(format!("s3:http://{address}/{BUCKET}/NAME"))
        .variable("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .variable("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .variable("AWS_DEFAULT_REGION", "us-east-1")
}

/// The server that the second argument names; each folder in its folder is a bucket.
fn s3_server(folder: &Path, address: SocketAddr) -> Command {
    let program = std::env::args_os().nth(2).map_or_else(|| PathBuf::from("s3s-fs"), PathBuf::from);
    let is_rclone = program.file_name().is_some_and(|name| name == "rclone");
    let mut command = Command::new(program);
    if is_rclone {
        // With keys restic cannot create a repository on it, so it serves everybody.
        command.args(["serve", "s3", "--vfs-cache-mode", "off", "--config", "/dev/null", "--addr"]);
        command.arg(address.to_string());
    } else {
        command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]);
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    }
    command.arg(folder);
    command
}
