//! The real restic: the one that `LARDER_TEST_RESTIC` names, else the one that `cargo xtask setup` brought, else `restic` on the PATH.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::program::Program;
use crate::servers;

/// restic, ready to run.
pub fn restic() -> Program {
    Program::new("restic", find())
}

/// Major, minor and patch version of that restic.
pub fn version() -> (u32, u32, u32) {
    static ASKED: OnceLock<(u32, u32, u32)> = OnceLock::new();
    *ASKED.get_or_init(|| {
        let output = restic().command().arg("version").output().expect("restic starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        parse(&text).unwrap_or_else(|| panic!("restic says its version in words we do not know: {text}"))
    })
}

fn find() -> PathBuf {
    if let Some(named) = std::env::var_os("LARDER_TEST_RESTIC") {
        let path = PathBuf::from(named);
        assert!(path.is_file(), "LARDER_TEST_RESTIC names {}, which is not there", path.display());
        return path;
    }
    servers::process::find("restic")
}

/// `restic 0.19.1 compiled with …`
fn parse(text: &str) -> Option<(u32, u32, u32)> {
    let numbers = text.strip_prefix("restic ")?.split_whitespace().next()?;
    let mut numbers = numbers.split(['.', '-']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_the_first_words() {
        let check = |text, expected| assert_eq!(parse(text), expected, "{text}");
        check("restic 0.14.0 compiled with go1.19.8 on linux/amd64", Some((0, 14, 0)));
        check("restic 0.19.1-dev compiled with go1.26 on darwin/arm64", Some((0, 19, 1)));
        check("restic 1.0", None);
        check("bash: restic: command not found", None);
        assert!(version() >= (0, 14, 0), "this restic does not know repository version 2");
    }
}
