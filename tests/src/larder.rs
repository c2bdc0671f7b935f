//! Our program, as cargo built it beside the tests.

use std::path::PathBuf;

use crate::program::Program;

/// larder, ready to run.
pub fn larder() -> Program {
    Program::new("larder", find())
}

/// The test program lies in `target/<profile>/deps`, larder one folder up.
fn find() -> PathBuf {
    let test = std::env::current_exe().expect("the test program knows its path");
    let folder =
        test.parent().and_then(|deps| deps.parent()).expect("the test program lies in a target folder");
    let program = folder.join(format!("larder{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "{} is not built: run `cargo build -p repo-cli` first (`cargo xtask test` does)",
        program.display()
    );
    program
}
