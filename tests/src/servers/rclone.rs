//! rclone in four roles: a REST server, an S3 server, a `WebDAV` server, and a child that speaks REST on its pipes.
//!
//! All of them keep plain files in a folder, so that what a client left there can be looked at without a server.
//! restic cannot create a repository on rclone's S3 server; [`Moto`](super::Moto) is for restic.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::servers::authority::Authority;
use crate::servers::place::Place;
use crate::servers::plain_http;
use crate::servers::process::{Process, find};

/// The S3 server's keys.
const ACCESS_KEY: &str = "larder-test";
const SECRET_KEY: &str = "larder-test-secret";
/// The S3 server's only bucket.
const BUCKET: &str = "bucket";
/// Who may log in to [`Rclone::serve_restic_with_password`].
const USER: &str = "larder";
const PASSWORD: &str = "pass-word";

/// A running rclone.
#[derive(Debug)]
pub struct Rclone {
    process: Process,
    folder: TempDir,
    place: fn(SocketAddr, &str) -> Place,
    /// Where files of places lie, below the folder.
    storage: &'static str,
    answers: Answers,
}

/// Whether one that keeps its files in that folder answers at that address.
type Answers = fn(&Path, SocketAddr) -> bool;

impl Rclone {
    /// `rclone serve restic` for everybody.
    pub fn serve_restic() -> Self {
        Self::serve("storage", |folder, address| serve(folder, address, &["restic"]), rest)
    }

    /// `rclone serve restic` that lets nobody remove anything but locks.
    pub fn serve_restic_append_only() -> Self {
        Self::serve("storage", |folder, address| serve(folder, address, &["restic", "--append-only"]), rest)
    }

    /// `rclone serve restic` with a password, which the places name.
    pub fn serve_restic_with_password() -> Self {
        let arguments =
            |folder: &Path, address| serve(folder, address, &["restic", "--user", USER, "--pass", PASSWORD]);
        Self::serve("storage", arguments, |address, name| {
            Place::new(format!("rest:http://{address}/{name}/"))
                .variable("RESTIC_REST_USERNAME", USER)
                .variable("RESTIC_REST_PASSWORD", PASSWORD)
        })
    }

    /// `rclone serve restic` over TLS as `localhost`, certified by that authority; with `asks` it lets in only who has a
    /// certificate of the same authority.
    pub fn serve_restic_over_tls(authority: &Authority, asks: bool) -> Self {
        let folder = Self::folder("storage");
        authority.save(folder.path(), "authority.pem");
        authority.issue("localhost", folder.path(), "server.pem");
        let command = |folder: &Path, address| {
            let mut command = serve(folder, address, &["restic"]);
            command.arg("--cert").arg(folder.join("server.pem")).arg("--key").arg(folder.join("server.pem"));
            command
        };
        let to_known = |folder: &Path, address| {
            let mut command = serve(folder, address, &["restic"]);
            command.arg("--cert").arg(folder.join("server.pem")).arg("--key").arg(folder.join("server.pem"));
            command.arg("--client-ca").arg(folder.join("authority.pem"));
            command
        };
        let listens: Answers = |_, address| TcpStream::connect(address).is_ok();
        let place = |address: SocketAddr, name: &str| {
            Place::new(format!("rest:https://localhost:{}/{name}/", address.port()))
        };
        Self::start(folder, "storage", if asks { to_known } else { command }, listens, place)
    }

    /// `rclone serve restic` on a Unix socket, which is the way to its places.
    pub fn serve_restic_on_a_socket() -> Self {
        let command =
            |folder: &Path, _| serve_at(folder, &format!("unix://{}", socket(folder).display()), &["restic"]);
        let listens: Answers = |folder, _| UnixStream::connect(socket(folder)).is_ok();
        Self::start(Self::folder("storage"), "storage", command, listens, rest)
    }

    /// A place on the Unix socket.
    pub fn place_on_socket(&self, name: &str) -> Place {
        Place::new(format!("rest:http+unix://{}:/{name}/", socket(self.folder.path()).display()))
    }

    /// `rclone serve s3` with one bucket; checks signatures.
    ///
    /// It leaves empty folders alone: removing them fails now and then, and the client's request with it.
    pub fn serve_s3() -> Self {
        let arguments = |folder: &Path, address| {
            serve(
                folder,
                address,
                &["s3", "--no-cleanup", "--auth-key", &format!("{ACCESS_KEY},{SECRET_KEY}")],
            )
        };
        Self::serve("storage/bucket", arguments, |address, name| {
            Place::new(format!("s3:http://{address}/{BUCKET}/{name}"))
                .variable("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .variable("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        })
    }

    /// `rclone serve webdav` for everybody.
    pub fn serve_webdav() -> Self {
        Self::serve(
            "storage",
            |folder, address| serve(folder, address, &["webdav"]),
            |address, name| Place::new(format!("opendal:webdav?endpoint=http://{address}&root=/{name}")),
        )
    }

    /// A place in that folder, reached through an rclone that the client itself starts.
    pub fn child(folder: &Path) -> Place {
        Place::new(format!("rclone:{}", folder.display()))
            .option(format!("rclone.program={}", find("rclone").display()))
    }

    /// The same place on this `WebDAV` server, through something else that listens there, reached through an rclone
    /// that the client itself starts.
    pub fn child_through(&self, address: SocketAddr, name: &str) -> Place {
        Place::new(format!("rclone::webdav,url=\"http://{address}/\":{name}"))
            .option(format!("rclone.program={}", find("rclone").display()))
            .variable("RCLONE_CONFIG", "/dev/null")
            .variable("RCLONE_TIMEOUT", "3s")
    }

    fn serve(
        storage: &'static str,
        command: fn(&Path, SocketAddr) -> Command,
        place: fn(SocketAddr, &str) -> Place,
    ) -> Self {
        Self::start(Self::folder(storage), storage, command, |_, address| plain_http::answers(address), place)
    }

    fn folder(storage: &str) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir_all(folder.path().join(storage)).expect("a folder can be made");
        folder
    }

    fn start(
        folder: TempDir,
        storage: &'static str,
        command: fn(&Path, SocketAddr) -> Command,
        answers: Answers,
        place: fn(SocketAddr, &str) -> Place,
    ) -> Self {
        let process = Process::start(folder.path(), command, &|address| answers(folder.path(), address));
        Self { process, folder, place, storage, answers }
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// The folder in which each place is a folder with its name.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join(self.storage)
    }

    /// The files of a place as a repository in a folder, for who cannot reach the server.
    pub fn folder_of(&self, name: &str) -> Place {
        Place::new(self.storage().join(name).to_string_lossy())
    }

    /// A place on it.
    pub fn place(&self, name: &str) -> Place {
        self.place_through(self.address(), name)
    }

    /// The same place, reached through something else that listens there.
    pub fn place_through(&self, address: SocketAddr, name: &str) -> Place {
        (self.place)(address, name)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it and starts it again at the same address, with the same files.
    pub fn restart(&mut self) {
        let folder = self.folder.path();
        self.process.restart(folder, &|address| (self.answers)(folder, address));
    }
}

fn rest(address: SocketAddr, name: &str) -> Place {
    Place::new(format!("rest:http://{address}/{name}/"))
}

/// Where one listens that has no port.
fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

fn serve(folder: &Path, address: SocketAddr, arguments: &[&str]) -> Command {
    serve_at(folder, &address.to_string(), arguments)
}

fn serve_at(folder: &Path, address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(find("rclone"));
    command.arg("serve").args(arguments).arg("--addr").arg(address);
    // S3 and WebDAV remember folders for five minutes otherwise; files may come and go behind the server's back.
    // With zero it would forget them all the time, and nothing else.
    if arguments[0] != "restic" {
        command.args(["--dir-cache-time", "50ms"]);
    }
    // Nothing of the user's own remotes.
    command.arg("--config").arg(folder.join("rclone.conf")).arg(folder.join("storage"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_answers_and_ends() {
        let check = |server: Rclone, path: &str, expected: u16| {
            let address = server.address();
            assert_eq!(plain_http::request(address, "GET", path).unwrap(), expected, "{path}");
            assert!(server.storage().is_dir());
            drop(server);
            assert!(!plain_http::answers(address), "{path}");
        };
        check(Rclone::serve_restic(), "/place/config", 404);
        check(Rclone::serve_restic_append_only(), "/place/config", 404);
        check(Rclone::serve_restic_with_password(), "/place/config", 401);
        check(Rclone::serve_s3(), "/bucket?list-type=2", 400);
        check(Rclone::serve_webdav(), "/", 200);
    }

    #[test]
    fn a_server_comes_back_at_its_address() {
        let mut server = Rclone::serve_restic();
        let address = server.address();
        server.kill();
        assert!(!plain_http::answers(address));
        server.restart();
        assert_eq!(server.address(), address);
        assert!(plain_http::answers(address));
    }
}
