//! Paths against lists of patterns.
//!
//! In: patterns as typed, and clean paths. Out: whether a path matches, and whether something below it may. A
//! pattern matches a path when its names match an unbroken run of the path's names; with a leading slash the run
//! starts at the root. So what lies below a match matches, too. `**` stands for any number of names, `!` takes
//! earlier matches back. The results are restic's, with its quirk for several `**` (see [`Pattern::matches`]).

use std::fmt;
use std::str::FromStr;

use super::clean;
use super::glob::{Glob, first_char};

/// Whether upper and lower case are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// They differ.
    Sensitive,
    /// They do not: both sides are compared in lower case.
    Insensitive,
}

/// What an early `**` may stand for where a pattern has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GlobMode {
    /// As restic: one name is put aside for each `**` behind it, so an anchored pattern misses some paths.
    #[default]
    Restic,
    /// Any number of names, none included, for each `**`.
    Strict,
}

/// A word that is neither `restic` nor `strict`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is neither restic nor strict")]
pub struct GlobModeError {
    /// The word.
    pub word: String,
}

impl FromStr for GlobMode {
    type Err = GlobModeError;

    fn from_str(word: &str) -> Result<Self, GlobModeError> {
        match word {
            "restic" => Ok(Self::Restic),
            "strict" => Ok(Self::Strict),
            word => Err(GlobModeError { word: word.to_owned() }),
        }
    }
}

/// A list of patterns, of which the last one that matches decides.
///
/// ```
/// use repo_core::filter::{Case, Patterns};
///
/// let patterns = Patterns::new(["*.log", "!keep.log"], Case::Sensitive)?;
/// assert!(patterns.matches(b"/var/log/old.log"));
/// assert!(!patterns.matches(b"/var/log/keep.log"));
/// # Ok::<(), repo_core::filter::InvalidPatterns>(())
/// ```
#[derive(Debug, Clone)]
pub struct Patterns {
    list: Vec<Pattern>,
    case: Case,
    mode: GlobMode,
}

/// What a list of patterns says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matched {
    /// The path itself matches.
    pub path: bool,
    /// Something below it may match.
    pub below: bool,
}

/// Patterns with an unclosed bracket, an empty class or a backslash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPatterns {
    /// These patterns, as typed.
    pub patterns: Vec<Vec<u8>>,
}

impl fmt::Display for InvalidPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid pattern(s):")?;
        self.patterns.iter().try_for_each(|pattern| write!(f, " {}", String::from_utf8_lossy(pattern)))
    }
}

impl std::error::Error for InvalidPatterns {}

impl Patterns {
    /// Takes patterns apart, empty ones aside. Returns all that are broken, if any is.
    pub fn new<P: AsRef<[u8]>>(
        patterns: impl IntoIterator<Item = P>,
        case: Case,
    ) -> Result<Self, InvalidPatterns> {
        let (mut list, mut invalid) = (Vec::new(), Vec::new());
        for pattern in patterns {
            match pattern.as_ref() {
                b"" => {}
                text => match Pattern::parse(text, case) {
                    Some(pattern) => list.push(pattern),
                    None => invalid.push(text.to_vec()),
                },
            }
        }
        if invalid.is_empty() {
            Ok(Self { list, case, mode: GlobMode::default() })
        } else {
            Err(InvalidPatterns { patterns: invalid })
        }
    }

    /// The same patterns, with another meaning of several `**`.
    ///
    /// ```
    /// use repo_core::filter::{Case, GlobMode, Patterns};
    ///
    /// let patterns = Patterns::new(["/data/**/sub/**/*.log"], Case::Sensitive)?;
    /// assert!(!patterns.matches(b"/data/docs/sub/c.log"));
    /// assert!(patterns.with_mode(GlobMode::Strict).matches(b"/data/docs/sub/c.log"));
    /// # Ok::<(), repo_core::filter::InvalidPatterns>(())
    /// ```
    #[must_use]
    pub fn with_mode(self, mode: GlobMode) -> Self {
        Self { mode, ..self }
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a clean path matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.check(path).path
    }

    /// Whether a clean path matches, and whether something below may.
    pub fn check(&self, path: &[u8]) -> Matched {
        if self.list.is_empty() {
            return Matched::default();
        }
        let lower;
        let path = match self.case {
            Case::Sensitive => path,
            Case::Insensitive => {
                lower = to_lower(path);
                &lower
            }
        };
        let names = if path == b"/" { vec![path] } else { split(path) };
        let mut matched = Matched::default();
        for pattern in &self.list {
            let hit = pattern.matches(&names, self.mode);
            if pattern.negated {
                matched.path &= !hit;
                matched.below &= !hit;
            } else {
                matched.path |= hit;
                matched.below |= pattern.may_match_below(&names);
            }
        }
        matched
    }
}

impl Patterns {
    /// Whether a path may match whose ancestors do not, as far as its last name says. Takes a name without slashes.
    pub fn may_end_in(&self, name: &[u8]) -> bool {
        let lower;
        let name = match self.case {
            Case::Sensitive => name,
            Case::Insensitive => {
                lower = to_lower(name);
                &lower
            }
        };
        let last = |pattern: &Pattern| match pattern.runs.last().and_then(|run| run.last()) {
            // By restic's rule such a pattern also matches below what it names.
            _ if pattern.rooted && pattern.runs.len() > 2 => true,
            Some(part) => part.matches(name),
            // It ends in `**`.
            None => true,
        };
        self.list.iter().any(|pattern| !pattern.negated && last(pattern))
    }
}

#[derive(Debug, Clone)]
struct Pattern {
    negated: bool,
    /// Whether the first part is the root.
    rooted: bool,
    /// The parts between the `**`, at least one; the root counts as a part.
    runs: Vec<Vec<Part>>,
    /// All parts in all runs.
    parts_count: usize,
}

#[derive(Debug, Clone)]
enum Part {
    Name(Vec<u8>),
    Glob(Glob),
}

impl Pattern {
    fn parse(text: &[u8], case: Case) -> Option<Self> {
        let lower;
        let text = match case {
            Case::Sensitive => text,
            Case::Insensitive => {
                lower = to_lower(text);
                &lower
            }
        };
        let (negated, text) = text.strip_prefix(b"!").map_or((false, text), |text| (true, text));
        let cleaned = clean(text);
        let mut runs = vec![Vec::new()];
        for name in split(&cleaned) {
            // The bare root has an empty second name, which restic takes for `**` as well.
            if name == b"**" || name.is_empty() {
                runs.push(Vec::new());
                continue;
            }
            let is_plain = !name.iter().any(|byte| b"\\[]*?".contains(byte));
            let part = if is_plain { Part::Name(name.to_vec()) } else { Part::Glob(Glob::parse(name).ok()?) };
            if let Some(run) = runs.last_mut() {
                run.push(part);
            }
        }
        let parts_count = runs.iter().map(Vec::len).sum();
        Some(Self { negated, rooted: cleaned.first() == Some(&b'/'), runs, parts_count })
    }

    /// Whether the runs match, in this order, somewhere in the names.
    ///
    /// Restic replaces the first `**` by 0, 1, 2 … stars and counts each further `**` as at least one name while
    /// it does so. Hence the bound, unless the mode is strict: all names skipped up to the n-th `**` are at most those that the pattern
    /// leaves over, less one for each `**` behind it. Taking each run at its first place skips the fewest names,
    /// so it finds a match if there is one.
    fn matches(&self, names: &[&[u8]], mode: GlobMode) -> bool {
        let Some(spare) = names.len().checked_sub(self.parts_count) else { return false };
        let starts = match (self.rooted, names.first()) {
            (true, _) => 0..=0,
            (false, Some(&b"/")) => 1..=spare,
            (false, _) => 0..=spare,
        };
        // A pattern of `**` alone wants one name at least.
        self.parts_count.max(1) <= names.len()
            && starts.into_iter().any(|start| self.matches_from(names, start, spare, mode))
    }

    fn matches_from(&self, names: &[&[u8]], start: usize, spare: usize, mode: GlobMode) -> bool {
        let wildcards = self.runs.len() - 1;
        let (mut at, mut skipped) = (start, 0);
        for (number, run) in self.runs.iter().enumerate() {
            // Before the first run nothing may be skipped.
            let limit = match number {
                0 => Some(0),
                _ if mode == GlobMode::Strict => names.len().checked_sub(at),
                _ => (spare + number).checked_sub(wildcards).and_then(|limit| limit.checked_sub(skipped)),
            };
            let Some(limit) = limit else { return false };
            let fits = |skip: &usize| names.get(at + skip..).is_some_and(|names| starts_with(names, run));
            let Some(skip) = (0..=limit).find(fits) else { return false };
            at += skip + run.len();
            skipped += skip;
        }
        true
    }

    /// Whether something below these names may match: always, unless the pattern starts at the root.
    fn may_match_below(&self, names: &[&[u8]]) -> bool {
        let first = self.runs.first().map_or(&[][..], Vec::as_slice);
        !self.rooted || first.iter().zip(names).all(|(part, name)| part.matches(name))
    }
}

fn starts_with(names: &[&[u8]], run: &[Part]) -> bool {
    names.len() >= run.len() && run.iter().zip(names).all(|(part, name)| part.matches(name))
}

impl Part {
    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Glob(glob) => glob.matches(name),
        }
    }
}

/// The names of a clean path; the root is a name of its own.
fn split(path: &[u8]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    if let Some(first) = names.first_mut()
        && first.is_empty()
    {
        *first = b"/";
    }
    names
}

/// Lower case as Go has it: character by character, and one U+FFFD for each byte that is no text.
fn to_lower(text: &[u8]) -> Vec<u8> {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut lower = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((character, len)) = first_char(rest) {
        // Only U+0130 becomes two characters, of which Go takes the first.
        lower.extend(character.to_lowercase().take(1));
        rest = rest.get(len..).unwrap_or_default();
    }
    lower.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree of the worked examples, below `/data`; directories end with a slash.
    const TREE: [&str; 28] = [
        "a.txt",
        "B.TXT",
        "[x].txt",
        "sp ace.txt",
        "star*.txt",
        ".hidden/",
        ".hidden/h",
        "UPPER/",
        "UPPER/File.Log",
        "tmp/",
        "tmp/t1",
        "docs/",
        "docs/a.txt",
        "docs/notes.md",
        "docs/sub/",
        "docs/sub/a.txt",
        "docs/sub/c.log",
        "docs/sub/deep/",
        "docs/sub/deep/d.log",
        "docs/sub/deep/keep.log",
        "node_modules/",
        "node_modules/m/",
        "node_modules/m/x.js",
        "src/",
        "src/main.c",
        "src/main.o",
        "src/node_modules/n/y.js",
        "src/tmp/t2",
    ];

    /// The topmost entries of the tree that a backup of `/data` leaves out.
    fn dropped(lists: &[&Patterns]) -> Vec<&'static str> {
        let mut dropped: Vec<&str> = Vec::new();
        for entry in TREE {
            let mut names = String::from("/data");
            for name in entry.split_terminator('/') {
                names.push('/');
                names.push_str(name);
                let topmost = &entry[..names.len() - "/data/".len()];
                if lists.iter().any(|patterns| patterns.matches(names.as_bytes())) {
                    if !dropped.contains(&topmost) {
                        dropped.push(topmost);
                    }
                    break;
                }
            }
        }
        dropped
    }

    fn check_case(case: Case, patterns: &[&str], expected: &[&str]) {
        let patterns_list = Patterns::new(patterns, case).unwrap();
        let mut expected = expected.to_vec();
        let mut found = dropped(&[&patterns_list]);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{patterns:?}");
    }

    fn check(patterns: &[&str], expected: &[&str]) {
        check_case(Case::Sensitive, patterns, expected);
    }

    /// Every `**` may be empty, wherever the pattern starts; what has one `**` only means the same in both modes.
    #[test]
    fn strict_patterns_match_what_they_say() {
        let check = |pattern: &str, expected: &[&str]| {
            let patterns = Patterns::new([pattern], Case::Sensitive).unwrap().with_mode(GlobMode::Strict);
            assert_eq!(dropped(&[&patterns]), expected, "{pattern}");
        };
        check("/data/**/docs/**/a.txt", &["docs/a.txt", "docs/sub/a.txt"]);
        check("/data/**/sub/**/*.log", &LOGS);
        check("**/sub/**/*.log", &LOGS);
        check("/data/**/**/a.txt", &A);
        check("/**/docs/**/sub/**/keep.log", &["docs/sub/deep/keep.log"]);
        check("/data/**/nothing/**/a.txt", &[]);
        check("/data/docs/**", &["docs"]);
        check("/data/docs/*", &["docs/a.txt", "docs/notes.md", "docs/sub"]);
    }

    const A: [&str; 3] = ["a.txt", "docs/a.txt", "docs/sub/a.txt"];
    const LOGS: [&str; 3] = ["docs/sub/c.log", "docs/sub/deep/d.log", "docs/sub/deep/keep.log"];
    const TOP: [&str; 11] = [
        "a.txt",
        "B.TXT",
        "[x].txt",
        "sp ace.txt",
        "star*.txt",
        ".hidden",
        "UPPER",
        "tmp",
        "docs",
        "node_modules",
        "src",
    ];

    /// The numbers are those of the table of runs with restic 0.19.1 from which these rows come.
    #[test]
    fn worked_examples_give_what_restic_gives() {
        check(&["a.txt"], &A); // 1
        check(&["*.log"], &LOGS); // 2
        check(&["?.txt"], &A); // 3
        check(&["[ab].txt"], &A);
        check(&["[^a].txt"], &[]); // 4
        check(&["/data/docs/a.txt"], &["docs/a.txt"]); // 5
        check(&["/docs/a.txt"], &[]); // 6
        check(&["docs/a.txt"], &["docs/a.txt"]); // 7
        check(&["data/docs"], &["docs"]);
        check(&["tmp"], &["tmp", "src/tmp"]); // 8
        check(&["tmp/"], &["tmp", "src/tmp"]);
        check(&["/data/tmp"], &["tmp"]); // 9
        check(&["src/tmp"], &["src/tmp"]);
        check(&["/data/docs/*"], &["docs/a.txt", "docs/notes.md", "docs/sub"]); // 10
        check(&["/data/docs/**"], &["docs"]); // 11
        check(&["docs/**"], &["docs"]);
        check(&["/data/**/a.txt"], &A); // 12
        check(&["**/tmp/*"], &["tmp/t1", "src/tmp/t2"]); // 13
        check(&["docs/**/*.log"], &LOGS); // 14
        check(&["/data/*.log"], &[]); // 15
        check(&["/data/*/*/*.log"], &["docs/sub/c.log"]);
    }

    #[test]
    fn worked_examples_of_lists_give_what_restic_gives() {
        check(&["*.log", "!keep.log"], &LOGS[..2]); // 18
        check(&["!keep.log", "*.log"], &LOGS); // 19
        check(&["/data/docs/sub", "!/data/docs/sub/a.txt"], &["docs/sub"]); // 20
        check(&["/data/docs/sub/*", "!/data/docs/sub/a.txt"], &["docs/sub/c.log", "docs/sub/deep"]); // 21
        check(&["/data/**/docs/**/a.txt"], &["docs/sub/a.txt"]); // 22
        check(&["/data/**/sub/**/*.log"], &LOGS[1..]); // 23
        check(&["**/sub/**/*.log"], &LOGS); // 24
        check(&["star\\*.txt"], &["star*.txt"]); // 27
        check(&["\\[x\\].txt"], &["[x].txt"]);
        check(&["[[]x].txt"], &["[x].txt"]);
        check(&[".*"], &[".hidden"]); // 28
        check(&["./a.txt"], &A); // 29
        check(&["a.txt/"], &A);
        check(&["/data/docs/../a.txt"], &["a.txt"]);
        for nothing in ["", "!a.txt", "*.{c,o}", "$HOME", "~/x"] {
            check(&[nothing], &[]); // 30
        }
        for everything in ["*", "**", "/", "/data"] {
            check(&[everything], &TOP); // 31
        }
        check(&["*.[ch]"], &["src/main.c"]); // 32
        check(&["node_modules"], &["node_modules", "src/node_modules"]);
        check(&["/data/node_modules"], &["node_modules"]);
        check(&["/data/d**s/a.txt"], &["docs/a.txt"]); // 33
    }

    #[test]
    fn worked_examples_without_case_give_what_restic_gives() {
        let text = ["B.TXT", "[x].txt", "a.txt", "docs/a.txt", "docs/sub/a.txt", "sp ace.txt", "star*.txt"];
        check_case(Case::Insensitive, &["*.txt"], &text); // 16
        check_case(Case::Insensitive, &["/DATA/upper/*.LOG"], &["UPPER/File.Log"]); // 17
        let rescued = ["UPPER/File.Log", "docs/sub/c.log", "docs/sub/deep/d.log"];
        check_case(Case::Insensitive, &["*.log", "!KEEP.log"], &rescued); // 26
        let logs = Patterns::new(["*.log"], Case::Insensitive).unwrap();
        let rescue = Patterns::new(["!keep.log"], Case::Sensitive).unwrap();
        let all = [&["UPPER/File.Log"][..], &LOGS].concat();
        assert_eq!(dropped(&[&logs, &rescue]), all); // 25: the lists do not talk
    }

    #[test]
    fn broken_patterns_are_told_all_at_once() {
        let error = Patterns::new(["[bad", "good", "x/\\"], Case::Sensitive).unwrap_err(); // 34
        assert_eq!(error.patterns, [b"[bad".to_vec(), b"x/\\".to_vec()]);
        assert_eq!(error.to_string(), "invalid pattern(s): [bad x/\\");
    }

    #[test]
    fn lower_case_is_that_of_go() {
        assert_eq!(to_lower("ÄÖÜ İ ẞ Σ".as_bytes()), "äöü i ß σ".as_bytes());
        assert_eq!(to_lower(b"A\xff\xe2\x82Z"), "a\u{fffd}\u{fffd}\u{fffd}z".as_bytes());
        let patterns = Patterns::new(["ÄRGER"], Case::Insensitive).unwrap();
        assert!(patterns.matches("/x/ärger/y".as_bytes()));
    }

    #[test]
    fn directories_on_the_way_to_a_match_are_known() {
        let check = |patterns: &[&str], path: &str, expected: (bool, bool)| {
            let found = Patterns::new(patterns, Case::Sensitive).unwrap().check(path.as_bytes());
            assert_eq!((found.path, found.below), expected, "{patterns:?} on {path}");
        };
        check(&["/a/b/c"], "/", (false, true));
        check(&["/a/b/c"], "/a", (false, true));
        check(&["/a/b/c"], "/a/b", (false, true));
        check(&["/a/b/c"], "/a/b/c", (true, true));
        check(&["/a/b/c"], "/a/b/c/d", (true, true));
        check(&["/a/b/c"], "/a/x", (false, false));
        check(&["/a/*/c"], "/a/x", (false, true));
        check(&["/a/**/c"], "/a/x/y/z", (false, true));
        check(&["/a/**/c"], "/b", (false, false));
        check(&["c"], "/a/b", (false, true));
        check(&["/"], "/a", (true, true));
        check(&["/a", "!/a/b"], "/a/b", (false, false));
        check(&["*.log", "!keep.log"], "/d/keep.log", (false, false));
        check(&[], "/a", (false, false));
    }

    /// The rule as restic's documents and behaviour give it, word for word: slow, and the judge of the other.
    fn by_the_book(parts: &[String], names: &[String]) -> bool {
        if let Some(at) = parts.iter().position(|part| part == "**") {
            let most = isize::try_from(names.len()).unwrap() - isize::try_from(parts.len()).unwrap() + 1;
            return (0..=most).any(|stars| {
                let stars = vec!["*".to_owned(); usize::try_from(stars).unwrap()];
                by_the_book(&[&parts[..at], &stars, &parts[at + 1..]].concat(), names)
            });
        }
        if parts.is_empty() || parts.len() > names.len() {
            return false;
        }
        let rooted = parts[0] == "/";
        let first = usize::from(!rooted && names[0] == "/");
        let last = if rooted { 0 } else { names.len() - parts.len() };
        (first..=last).any(|offset| {
            parts
                .iter()
                .zip(&names[offset..])
                .all(|(part, name)| part == name || (part == "*" && name != "/"))
        })
    }

    #[test]
    fn several_double_stars_match_by_the_book() {
        let parts = proptest::sample::select(vec!["a", "b", "**", "*"]);
        let names = proptest::sample::select(vec!["a", "b", "c"]);
        let input = (
            proptest::collection::vec(parts, 1..6),
            proptest::collection::vec(names, 1..8),
            proptest::bool::ANY,
            proptest::bool::ANY,
        );
        let config = proptest::test_runner::Config::with_cases(20_000);
        proptest::proptest!(config, |((parts, names, rooted, absolute) in input)| {
            let with_root = |is: bool, names: &[&str]| {
                let root = is.then(|| "/".to_owned());
                root.into_iter().chain(names.iter().map(|&name| name.to_owned())).collect::<Vec<_>>()
            };
            let text = |is: bool, names: &[&str]| format!("{}{}", if is { "/" } else { "" }, names.join("/"));
            let pattern = text(rooted, &parts);
            let path = text(absolute, &names);
            let expected = by_the_book(&with_root(rooted, &parts), &with_root(absolute, &names));
            let found = Patterns::new([&pattern], Case::Sensitive).unwrap().matches(path.as_bytes());
            proptest::prop_assert_eq!(found, expected, "{} on {}", pattern, path);
        });
    }
}
