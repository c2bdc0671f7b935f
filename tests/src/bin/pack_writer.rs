//! Stores one pack after another in a folder until somebody kills it; and looks whether what it told is there.
//!
//! `pack_writer write FOLDER` prints the number of each pack as soon as the local backend says that it is stored.
//! `pack_writer look FOLDER LINES` reads those lines from a file, for `power_cut.sh`, which also cuts the disk's power.

#![forbid(unsafe_code)]

use std::path::Path;

use tests::packs;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", folder] => packs::write(Path::new(folder)),
        ["look", folder, lines] => packs::look(Path::new(folder), Path::new(lines)),
        _ => panic!("write FOLDER, or look FOLDER LINES"),
    }
}
