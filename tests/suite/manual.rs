//! The manual's examples, run as they stand.
//!
//! Goal: whatever a page says can be typed works, and says what the page shows. Method: the `sh` blocks of a page are
//! one shell session in a home folder where the story of `README.md` has happened; a `text` block below one is what it
//! printed. There `…` stands for anything in a line, and alone in a line for any number of lines.

use std::fs;
use std::path::{Path, PathBuf};

use tests::fixtures::{PASSWORD, empty_repository};
use tests::larder::larder;
use tests::program::Program;
use tests::tree::{dir, file, noise};

/// What a shell prints between two blocks, on a line of its own.
const BORDER: &str = "——— next block ———";

/// A block that is typed, and what the page shows of its output.
struct Example {
    typed: String,
    shown: Option<String>,
}

fn manual() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/manual")
}

fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(manual()).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    pages.sort();
    pages
}

/// The examples of a page, in order.
fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: String =
            lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        match (language, examples.last_mut()) {
            ("sh", _) => examples.push(Example { typed: block, shown: None }),
            ("text", Some(last)) if last.shown.is_none() => last.shown = Some(block),
            _ => {}
        }
    }
    examples
}

/// Whether `printed` is what is `shown`, with `…` for whatever is left open.
fn is_shown(shown: &[&str], printed: &[&str]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => (0..=printed.len()).any(|skipped| is_shown(rest, &printed[skipped..])),
        (Some((line, rest)), Some((words, others))) => is_line(line, words) && is_shown(rest, others),
        _ => false,
    }
}

fn is_line(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown == printed };
    let Some(printed) = printed.strip_prefix(start) else { return false };
    let ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
    ends.into_iter().any(|at| is_line(rest, &printed[at..]))
}

/// A home folder in which the beginning of every page has happened.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let documents = home.path().join("Documents");
    let backup = || {
        let call = larder().on(&home.path().join("backup")).args(["backup", "Documents"]);
        call.within(home.path()).ok();
    };
    empty_repository(2, &home.path().join("backup"));
    fs::write(home.path().join(".backup-password"), PASSWORD).unwrap();
    dir([
        ("letter.txt", file("Dear reader\n")),
        ("taxes.csv", file("2025;12\n")),
        ("photos", dir([("cat.jpg", file(noise(200_000, 1))), ("dog.jpg", file(noise(90_000, 2)))])),
    ])
    .build(&documents);
    backup();
    fs::write(documents.join("letter.txt"), "Dear reader, see you soon\n").unwrap();
    backup();
    home
}

/// Runs the examples of a page; says what went another way than the page tells.
fn run(page: &Path) -> Result<(), String> {
    let examples = examples(&fs::read_to_string(page).unwrap());
    if examples.is_empty() {
        return Ok(());
    }
    let home = home();
    let border = format!("printf '%s\\n' '{BORDER}'\n");
    let script: String =
        examples.iter().flat_map(|example| [&example.typed, &border]).map(String::as_str).collect();
    let programs = larder().path().parent().unwrap().to_owned();
    let output = Program::new("bash", "bash".into())
        .command()
        .args(["-euc", &format!("exec 2>&1\nPATH=$PROGRAMS:$PATH\n{script}")])
        .env("PROGRAMS", programs)
        .env("HOME", home.path())
        .env("RESTIC_REPOSITORY", home.path().join("backup"))
        .env("RESTIC_PASSWORD_FILE", home.path().join(".backup-password"))
        .current_dir(home.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let border = format!("{BORDER}\n");
    let mut parts = printed.split(border.as_str());
    for example in &examples {
        let printed = parts.next().unwrap_or_default();
        let shown = example.shown.as_deref().unwrap_or("…");
        if !is_shown(&shown.lines().collect::<Vec<_>>(), &printed.lines().collect::<Vec<_>>()) {
            let typed = &example.typed;
            return Err(format!("{}\n{typed}printed\n{printed}but the page shows\n{shown}", page.display()));
        }
    }
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {}\n{printed}", page.display(), output.status))
    }
}

#[test]
fn what_the_manual_says_can_be_typed() {
    let told: Vec<_> = pages().iter().filter_map(|page| run(page).err()).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn every_page_of_the_manual_is_in_its_table_of_contents() {
    let summary = fs::read_to_string(manual().join("SUMMARY.md")).unwrap();
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "SUMMARY.md" || summary.contains(&format!("({name})")), "SUMMARY.md lacks {name}");
    }
}

#[test]
fn shown_output_is_compared_line_by_line() {
    let check = |shown: &str, printed: &str, expected| {
        let (shown, printed) = (shown.lines().collect::<Vec<_>>(), printed.lines().collect::<Vec<_>>());
        assert_eq!(is_shown(&shown, &printed), expected, "{shown:?} {printed:?}");
    };
    check("a", "a", true);
    check("a", "b", false);
    check("a\n…", "a\nb\nc", true);
    check("…\nc", "a\nb\nc", true);
    check("…\nd", "a\nb\nc", false);
    check("snapshot … saved", "snapshot 1a2b saved", true);
    check("snapshot … saved", "snapshot 1a2b", false);
    check("a", "a\nb", false);
}
