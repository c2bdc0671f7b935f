//! A real sshd for the current user, who need not be root: a host key, a client key and a port of its own.
//!
//! Neither side reads the user's own ssh files. The alias `larder-test` of the client's configuration leads to it.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::servers::place::Place;
use crate::servers::process::{Process, find};

/// The name by which the client's configuration knows the server.
const ALIAS: &str = "larder-test";

/// A running sshd.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    folder: TempDir,
}

impl Sshd {
    /// Makes keys and starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        make_key(&path.join("host_key"));
        make_key(&path.join("client_key"));
        fs::copy(path.join("client_key.pub"), path.join("authorized_keys")).expect("a key can be copied");
        fs::create_dir(path.join("storage")).expect("a folder can be made");
        if rustix::process::geteuid().is_root() {
            // Only root's sshd wants it, and only a boot makes it.
            fs::create_dir_all("/run/sshd").expect("root can make /run/sshd");
        }
        let process = Process::start(path, command, &greets);
        let sshd = Self { process, folder };
        sshd.write_client_files();
        sshd
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Where the files of its places lie.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    /// The client's configuration, for `ssh -F`.
    pub fn client_config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }

    /// The file of known host keys, which may be spoiled.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// The client's private key, which may be taken away.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client_key")
    }

    /// A place in [`storage`](Self::storage), reached by `sftp.command`, which every restic knows.
    pub fn place(&self, name: &str) -> Place {
        self.place_through(self.address(), name)
    }

    /// The same place, reached through something else that listens there.
    pub fn place_through(&self, address: SocketAddr, name: &str) -> Place {
        let config = self.client_config();
        let command = format!("ssh -F {} -p {} {ALIAS} -s sftp", config.display(), address.port());
        Place::new(self.location(name)).option(format!("sftp.command={command}"))
    }

    /// The same place, reached by `sftp.args`.
    pub fn place_by_args(&self, name: &str) -> Place {
        let config = self.client_config();
        Place::new(self.location(name)).option(format!("sftp.args=-F {}", config.display()))
    }

    /// The location alone; without the options nobody finds the way.
    fn location(&self, name: &str) -> String {
        format!("sftp:{ALIAS}:{}", self.storage().join(name).display())
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, and the sessions that are open, which have processes of their own.
    pub fn kill(&mut self) {
        self.process.kill_children();
        self.process.kill();
    }

    /// Kills it and starts it again at the same address.
    pub fn restart(&mut self) {
        self.kill();
        self.process.restart(self.folder.path(), &greets);
    }

    fn write_client_files(&self) {
        let folder = self.folder.path();
        let host_key = fs::read_to_string(folder.join("host_key.pub")).expect("the key was made");
        fs::write(self.known_hosts(), format!("{ALIAS} {host_key}")).expect("a file can be written");
        let config = format!(
            "Host *\n\
             HostName 127.0.0.1\n\
             Port {port}\n\
             User {user}\n\
             HostKeyAlias {ALIAS}\n\
             IdentityFile {folder}/client_key\n\
             UserKnownHostsFile {folder}/known_hosts\n\
             GlobalKnownHostsFile /dev/null\n\
             StrictHostKeyChecking yes\n\
             IdentitiesOnly yes\n\
             IdentityAgent none\n\
             BatchMode yes\n\
             ConnectTimeout 20\n\
             LogLevel ERROR\n",
            port = self.address().port(),
            user = user(),
            folder = folder.display(),
        );
        fs::write(self.client_config(), config).expect("a file can be written");
    }
}

fn command(folder: &Path, address: SocketAddr) -> Command {
    let config = format!(
        "ListenAddress {address}\n\
         HostKey {folder}/host_key\n\
         PidFile none\n\
         AuthorizedKeysFile {folder}/authorized_keys\n\
         StrictModes no\n\
         UsePAM no\n\
         UseDNS no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         MaxSessions 100\n\
         MaxStartups 100\n\
         Subsystem sftp internal-sftp\n",
        folder = folder.display(),
    );
    let path = folder.join("sshd_config");
    fs::write(&path, config).expect("a file can be written");
    // sshd starts itself again for each connection, so it wants its full path; -D keeps it our child.
    let mut command = Command::new(find("sshd"));
    command.arg("-D").arg("-e").arg("-f").arg(path);
    command
}

fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(Duration::from_secs(30))).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && greeting == *b"SSH-"
}

fn make_key(path: &Path) {
    let mut command = Command::new(find("ssh-keygen"));
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path).stdin(Stdio::null());
    let status = command.status().expect("ssh-keygen starts");
    assert!(status.success(), "ssh-keygen ended with {status}");
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id starts");
    assert!(output.status.success(), "the current user has no name, which sshd needs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sshd_lets_its_client_in_and_nobody_who_takes_it_for_another() {
        let mut sshd = Sshd::start();
        let log_in = |sshd: &Sshd| {
            let mut ssh = Command::new("ssh");
            ssh.arg("-F").arg(sshd.client_config()).args([ALIAS, "-s", "sftp"]).stdin(Stdio::null());
            ssh.output().unwrap()
        };
        let output = log_in(&sshd);
        assert!(output.status.success(), "{output:?}");
        sshd.restart();
        assert!(log_in(&sshd).status.success());
        fs::copy(sshd.folder.path().join("client_key.pub"), sshd.folder.path().join("known_hosts")).unwrap();
        fs::write(sshd.known_hosts(), format!("{ALIAS} {}", fs::read_to_string(sshd.known_hosts()).unwrap()))
            .unwrap();
        let output = log_in(&sshd);
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        let address = sshd.address();
        drop(sshd);
        assert!(!greets(address));
    }
}
