//! A restic user changes the program's name and nothing else: flags, exit codes, JSON and the lines that wrappers read,
//! each compared with the real restic.

mod flags; // restic's help, against the table that our parser is tested with
mod json; // keys and types of everything that is printed as JSON
mod ends; // exit codes, command line by command line
mod words; // text that wrappers read

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A copy of a folder that may be written to.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}
