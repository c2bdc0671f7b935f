//! Azurite, the emulator of Azure's blobs by Azure's makers. It checks signatures.
//!
//! Clients reach it under Azure's own address, over TLS: a tunnel leads there, and an authority of ours vouches for it.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::servers::authority::Authority;
use crate::servers::place::Place;
use crate::servers::process::{Process, find};
use crate::servers::tunnel::Tunnel;

const ACCOUNT: &str = "larder";
/// Of no use anywhere else.
const KEY: &str = "bGFyZGVyIHRlc3RzIGtlZXAgbm8gc2VjcmV0cyBoZXJl";

/// A running `azurite-blob`.
#[derive(Debug)]
pub struct Azurite {
    tunnel: Tunnel,
    _process: Process,
    folder: TempDir,
}

impl Azurite {
    /// Starts it with one account and no container.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new("the tests' Azure");
        authority.save(folder.path(), "authority.pem");
        authority.issue(&format!("{ACCOUNT}.blob.core.windows.net"), folder.path(), "server.pem");
        let process = Process::start(folder.path(), command, &|address| TcpStream::connect(address).is_ok());
        Self { tunnel: Tunnel::to(process.address()), _process: process, folder }
    }

    /// A place in that container, which may be missing still.
    pub fn place(&self, container: &str, name: &str) -> Place {
        self.with_papers(Place::new(format!("azure:{container}:/{name}")), "RESTIC_CACERT")
            .variable("AZURE_ACCOUNT_NAME", ACCOUNT)
            .variable("AZURE_ACCOUNT_KEY", KEY)
    }

    /// The same place for those who know nothing of Azure, through rclone.
    pub fn place_by_rclone(&self, container: &str, name: &str) -> Place {
        self.with_papers(Place::new(format!("rclone::azureblob:{container}/{name}")), "RCLONE_CA_CERT")
            .option(format!("rclone.program={}", find("rclone").display()))
            .variable("RCLONE_CONFIG", "/dev/null")
            .variable("RCLONE_AZUREBLOB_ACCOUNT", ACCOUNT)
            .variable("RCLONE_AZUREBLOB_KEY", KEY)
    }

    /// How to get there, and whom to trust: the latter in that variable.
    fn with_papers(&self, place: Place, variable: &str) -> Place {
        let authority = self.folder.path().join("authority.pem");
        place
            .variable("HTTPS_PROXY", &self.tunnel.variable())
            .variable(variable, &authority.to_string_lossy())
    }
}

fn command(folder: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(find("azurite-blob"));
    command.arg("--blobHost").arg(address.ip().to_string());
    command.arg("--blobPort").arg(address.port().to_string());
    command.arg("--cert").arg(folder.join("server.pem")).arg("--key").arg(folder.join("server.pem"));
    command.arg("--location").arg(folder).args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
    command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
    command
}
