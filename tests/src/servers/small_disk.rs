//! A disk that is small until somebody makes room: the storage of a server whose space runs out.
//!
//! Root mounts a small file system in memory over the folder. Nobody else may, so then the server's process may make
//! no large files for a while, which is the same to it but for the words of the error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The space below a folder of a server.
#[derive(Debug)]
pub struct SmallDisk(Kind);

#[derive(Debug)]
enum Kind {
    Mounted(PathBuf),
    Limited(u32),
}

impl SmallDisk {
    /// Puts it under an empty folder that the process with that number serves; large at first.
    pub fn under(folder: &Path, process: u32) -> Self {
        assert!(
            fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()),
            "{} is not empty",
            folder.display()
        );
        let owner = format!("size=64m,mode=700,uid={},gid={}", owner("-u"), owner("-g"));
        let mounted = run("mount", &["-t", "tmpfs", "-o", &owner, "larder-test", &folder.to_string_lossy()]);
        Self(if mounted { Kind::Mounted(folder.to_owned()) } else { Kind::Limited(process) })
    }

    /// Whether it is a file system that fills up.
    pub fn is_real(&self) -> bool {
        matches!(self.0, Kind::Mounted(_))
    }

    /// From now on about so many bytes more have room.
    pub fn leave(&self, bytes: u64) {
        match &self.0 {
            Kind::Mounted(folder) => {
                let space = rustix::fs::statvfs(folder).expect("a file system knows its space");
                let size = (space.f_blocks - space.f_bfree) * space.f_frsize + bytes;
                let size = format!("remount,size={size}");
                assert!(run("mount", &["-o", &size, &folder.to_string_lossy()]), "{size}");
            }
            Kind::Limited(process) => {
                let (process, limit) = (process.to_string(), format!("--fsize={bytes}:"));
                assert!(run("prlimit", &["--pid", &process, &limit]), "{limit}");
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Kind::Mounted(folder) = &self.0 {
            // Lazily: the server may still have it open.
            run("umount", &["-l", &folder.to_string_lossy()]);
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The number of the current user or group.
fn owner(which: &str) -> String {
    let output = Command::new("id").arg(which).output().expect("id starts");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
