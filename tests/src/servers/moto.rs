//! moto, which knows most of S3's semantics (versions, object lock, cold classes) and on which restic works.
//!
//! It keeps everything in memory and does not check signatures.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::servers::place::Place;
use crate::servers::plain_http;
use crate::servers::process::{Process, find};

/// The bucket that is there from the start.
const BUCKET: &str = "bucket";

/// A running `moto_server`.
#[derive(Debug)]
pub struct Moto {
    process: Process,
    // Holds its log.
    _folder: TempDir,
}

impl Moto {
    /// Starts it and makes a bucket.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Process::start(folder.path(), command, &plain_http::answers);
        let moto = Self { process, _folder: folder };
        moto.make_bucket(BUCKET);
        moto
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Makes one more bucket.
    pub fn make_bucket(&self, name: &str) {
        let status = plain_http::request(self.address(), "PUT", &format!("/{name}"));
        assert_eq!(status.expect("moto answers"), 200, "bucket {name} can be made");
    }

    /// A place in the first bucket.
    pub fn place(&self, name: &str) -> Place {
        self.place_through(self.address(), name)
    }

    /// The same place, reached through something else that listens there.
    pub fn place_through(&self, address: SocketAddr, name: &str) -> Place {
        Self::place_in(address, BUCKET, name)
    }

    /// A place in any bucket.
    pub fn place_in(address: SocketAddr, bucket: &str, name: &str) -> Place {
        Place::new(format!("s3:http://{address}/{bucket}/{name}"))
            .variable("AWS_ACCESS_KEY_ID", "larder-test")
            .variable("AWS_SECRET_ACCESS_KEY", "larder-test-secret")
            .variable("AWS_DEFAULT_REGION", "us-east-1")
    }
}

fn command(_: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(find("moto_server"));
    command.arg("-H").arg(address.ip().to_string()).arg("-p").arg(address.port().to_string());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moto_has_its_bucket_and_no_other() {
        let moto = Moto::start();
        let status = |path| plain_http::request(moto.address(), "GET", path).unwrap();
        assert_eq!(status("/bucket?list-type=2"), 200);
        assert_eq!(status("/other?list-type=2"), 404);
    }
}
