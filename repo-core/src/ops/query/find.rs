//! Find: entries by name, or by the blobs they are made of, in any number of snapshots.
//!
//! In: snapshots, and what to look for. Out: a stream of finds, snapshot by snapshot in the order given, inside
//! one in stored order. A directory without a find is read once, however many snapshots have it in the same
//! place. Memory: one directory per level, and about 60 bytes per different directory without a find.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::slice;

mod near; // from the search index

pub use near::NearSearch;

use crate::context::{Cancelled, Context};
use crate::filter::{Case, GlobMode, InvalidPatterns, Matched, Patterns};
use crate::format::Node;
use crate::id::{BlobId, BlobKind, Id, PackId, SnapshotId, TreeId};
use crate::index::Index;
use crate::repository::Reader;
use crate::search::SearchError;
use crate::snapshots::Stored;
use crate::time::Timestamp;
use crate::walk::{Entry, Walk, WalkError};

/// What cannot be searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// A directory cannot be entered. The search goes on behind it.
    #[error("snapshot {snapshot} cannot be searched completely")]
    Walk {
        /// Of which snapshot.
        snapshot: SnapshotId,
        /// Why.
        source: WalkError,
    },
    /// The search index is of no use. What was found before is right; nothing follows.
    #[error(transparent)]
    Near(SearchError),
    /// The run was asked to stop. Nothing follows.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Which entries are looked for.
#[derive(Debug, Clone)]
pub struct Names {
    /// Each its own list, so that none takes back what another finds.
    patterns: Vec<Patterns>,
    /// Only what was not changed before.
    pub oldest: Option<Timestamp>,
    /// Only what was not changed later.
    pub newest: Option<Timestamp>,
}

impl Names {
    /// Entries that match at least one of the patterns, by the rules of [`Patterns`]: without a slash at any
    /// depth, and together with all that lies below.
    ///
    /// As in restic, the empty pattern finds everything, and one leading `!` means nothing.
    pub fn new<P: AsRef<[u8]>>(
        patterns: impl IntoIterator<Item = P>,
        case: Case,
    ) -> Result<Self, InvalidPatterns> {
        let (mut lists, mut invalid) = (Vec::new(), Vec::new());
        for pattern in patterns {
            let text = pattern.as_ref();
            let literal = match text.strip_prefix(b"!").unwrap_or(text) {
                b"" => b"**".to_vec(),
                rest if rest.starts_with(b"!") => [b"\\", rest].concat(),
                rest => rest.to_vec(),
            };
            match Patterns::new([literal], case) {
                Ok(list) => lists.push(list),
                Err(_) => invalid.push(text.to_vec()),
            }
        }
        if !invalid.is_empty() {
            return Err(InvalidPatterns { patterns: invalid });
        }
        Ok(Self { patterns: lists, oldest: None, newest: None })
    }

    /// The same patterns, with another meaning of several `**`.
    #[must_use]
    pub fn with_mode(mut self, mode: GlobMode) -> Self {
        self.patterns = self.patterns.into_iter().map(|list| list.with_mode(mode)).collect();
        self
    }
}

impl Names {
    fn check(&self, path: &Path) -> Matched {
        let mut all = Matched::default();
        for list in &self.patterns {
            let matched = list.check(path.as_os_str().as_encoded_bytes());
            all.path |= matched.path;
            all.below |= matched.below;
        }
        all
    }

    fn is_in_time(&self, node: &Node) -> bool {
        let mtime = node.mtime.instant;
        self.oldest.is_none_or(|oldest| oldest <= mtime) && self.newest.is_none_or(|newest| mtime <= newest)
    }
}

/// An entry that was found.
#[derive(Debug, Clone)]
pub struct FoundEntry<'a> {
    /// In which snapshot.
    pub snapshot: &'a Stored,
    /// The entry; its path begins with `/`.
    pub entry: Entry,
}

/// Looks for entries by name.
pub fn entries<'a>(
    context: &'a Context,
    reader: &'a Reader,
    snapshots: &'a [Stored],
    names: &'a Names,
) -> impl Iterator<Item = Result<FoundEntry<'a>, FindError>> + use<'a> {
    Search::new(context, reader, snapshots, names)
}

/// Looks for entries by name, in the search index where it covers a snapshot. `reader` is asked for the others.
///
/// Finds are the same, and in the same order, as those of [`entries`].
pub fn entries_near<'a>(
    context: &'a Context,
    near: &'a NearSearch<'a>,
    reader: Option<&'a Reader>,
    snapshots: &'a [Stored],
    names: &'a Names,
) -> impl Iterator<Item = Result<FoundEntry<'a>, FindError>> + use<'a> {
    snapshots.iter().flat_map(move |snapshot| {
        let (near, far) = match (near.in_snapshot(context, snapshot), reader) {
            (Ok(Some(found)), _) => (found.into_iter().map(Ok).collect(), None),
            (Ok(None), Some(reader)) => {
                (Vec::new(), Some(entries(context, reader, slice::from_ref(snapshot), names)))
            }
            (Ok(None), None) => (Vec::new(), None),
            (Err(SearchError::Cancelled(cancelled)), _) => (vec![Err(cancelled.into())], None),
            (Err(error), _) => (vec![Err(FindError::Near(error))], None),
        };
        near.into_iter().chain(far.into_iter().flatten())
    })
}

/// Which blobs are looked for.
#[derive(Debug, Clone, Default)]
pub struct WantedBlobs {
    full: HashSet<BlobId>,
    /// The first four bytes of a name.
    short: HashSet<(BlobKind, [u8; 4])>,
}

/// Packs that no index lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPacks {
    /// As they were named.
    pub packs: Vec<String>,
}

impl fmt::Display for UnknownPacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unable to find pack(s): {}", self.packs.join(" "))
    }
}

impl std::error::Error for UnknownPacks {}

impl WantedBlobs {
    /// Blobs of a kind, each named in full or by exactly eight digits; other texts name nothing.
    pub fn named<'t>(kind: BlobKind, names: impl IntoIterator<Item = &'t str>) -> Self {
        let mut wanted = Self::default();
        for name in names {
            match Name::parse(name) {
                Some(Name::Full(id)) => wanted.full.extend([BlobId { kind, id }]),
                Some(Name::Short(bytes)) => wanted.short.extend([(kind, bytes)]),
                None => {}
            }
        }
        wanted
    }

    /// All blobs of some packs, each named in full or by exactly eight digits.
    ///
    /// Returns [`UnknownPacks`] if the index knows nothing of one of them.
    pub fn in_packs<'t>(
        index: &Index,
        names: impl IntoIterator<Item = &'t str>,
    ) -> Result<Self, UnknownPacks> {
        let (mut packs, mut unknown) = (HashSet::new(), Vec::new());
        for text in names {
            let name = Name::parse(text);
            let is_named = |pack: &PackId| name.as_ref().is_some_and(|name| name.is_of(pack.id()));
            let named: Vec<PackId> = index.packs().iter().map(|pack| pack.id).filter(is_named).collect();
            if named.is_empty() {
                unknown.push(text.to_owned());
            }
            packs.extend(named);
        }
        if !unknown.is_empty() {
            return Err(UnknownPacks { packs: unknown });
        }
        let full =
            index.iter().filter(|(_, place)| packs.contains(&place.pack)).map(|(blob, _)| blob).collect();
        Ok(Self { full, short: HashSet::new() })
    }

    /// Whether nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.short.is_empty()
    }

    fn has(&self, blob: &BlobId) -> bool {
        self.full.contains(blob) || self.short.contains(&(blob.kind, first_four(&blob.id)))
    }
}

enum Name {
    Full(Id),
    Short([u8; 4]),
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let number = u32::from_str_radix(text, 16).ok()?;
            return Some(Self::Short(number.to_be_bytes()));
        }
        text.parse().ok().map(Self::Full)
    }

    fn is_of(&self, id: &Id) -> bool {
        match self {
            Self::Full(full) => full == id,
            Self::Short(bytes) => first_four(id) == *bytes,
        }
    }
}

fn first_four(id: &Id) -> [u8; 4] {
    let [a, b, c, d, ..] = *id.as_bytes();
    [a, b, c, d]
}

/// A place where a blob is used.
#[derive(Debug, Clone)]
pub struct FoundBlob<'a> {
    /// In which snapshot.
    pub snapshot: &'a Stored,
    /// Which blob.
    pub blob: BlobId,
    /// The file it is a part of, or the directory it is.
    pub path: PathBuf,
    /// The tree that lists the file; `None` for a directory.
    pub parent: Option<TreeId>,
}

/// Looks for the places where blobs are used; a file that has a blob twice is found twice.
pub fn blobs<'a>(
    context: &'a Context,
    reader: &'a Reader,
    snapshots: &'a [Stored],
    wanted: &'a WantedBlobs,
) -> impl Iterator<Item = Result<FoundBlob<'a>, FindError>> + use<'a> {
    Search::new(context, reader, snapshots, wanted)
}

/// What is looked for, and how a find looks.
trait Wanted<'a> {
    type Found;

    /// Looks at the root of a snapshot.
    fn root(&self, snapshot: &'a Stored, found: &mut VecDeque<Self::Found>);

    /// Looks at an entry; says whether something below it may be wanted.
    fn entry(&self, snapshot: &'a Stored, entry: Entry, found: &mut VecDeque<Self::Found>) -> bool;

    /// Whether a directory may hold finds in one place and none in another.
    const PLACE_MATTERS: bool;
}

impl<'a> Wanted<'a> for &Names {
    type Found = FoundEntry<'a>;
    const PLACE_MATTERS: bool = true;

    fn root(&self, _: &'a Stored, _: &mut VecDeque<FoundEntry<'a>>) {}

    fn entry(&self, snapshot: &'a Stored, entry: Entry, found: &mut VecDeque<FoundEntry<'a>>) -> bool {
        let matched = self.check(&entry.path);
        if matched.path && self.is_in_time(&entry.node) {
            found.push_back(FoundEntry { snapshot, entry });
        }
        matched.below
    }
}

impl<'a> Wanted<'a> for &WantedBlobs {
    type Found = FoundBlob<'a>;
    const PLACE_MATTERS: bool = false;

    fn root(&self, snapshot: &'a Stored, found: &mut VecDeque<FoundBlob<'a>>) {
        let blob = BlobId::from(snapshot.snapshot.tree);
        if self.has(&blob) {
            found.push_back(FoundBlob { snapshot, blob, path: "/".into(), parent: None });
        }
    }

    fn entry(&self, snapshot: &'a Stored, entry: Entry, found: &mut VecDeque<FoundBlob<'a>>) -> bool {
        let Entry { path, node, tree } = entry;
        if let Some(blob) = node.subtree.filter(|_| node.is_dir()).map(BlobId::from)
            && self.has(&blob)
        {
            found.push_back(FoundBlob { snapshot, blob, path: path.clone(), parent: None });
        }
        if node.is_file() {
            for blob in node.content.iter().flatten().map(|id| BlobId::from(*id)) {
                if self.has(&blob) {
                    found.push_back(FoundBlob { snapshot, blob, path: path.clone(), parent: Some(tree) });
                }
            }
        }
        true
    }
}

/// Goes through snapshots, past the directories that were searched in vain before.
struct Search<'a, W: Wanted<'a>> {
    context: &'a Context,
    reader: &'a Reader,
    wanted: W,
    snapshots: slice::Iter<'a, Stored>,
    now: Option<Now<'a>>,
    found: VecDeque<W::Found>,
    barren: HashSet<Place>,
}

/// The snapshot that is searched now.
struct Now<'a> {
    snapshot: &'a Stored,
    walk: Walk<'a>,
    /// The open directories, the root first.
    open: Vec<Open>,
}

struct Open {
    place: Place,
    /// Whether something was found below, or could not be searched.
    is_fruitful: bool,
}

/// A tree, and a hash of its path where that matters.
type Place = (TreeId, u64);

impl<'a, W: Wanted<'a>> Search<'a, W> {
    fn new(context: &'a Context, reader: &'a Reader, snapshots: &'a [Stored], wanted: W) -> Self {
        let (found, barren) = (VecDeque::new(), HashSet::new());
        Self { context, reader, wanted, snapshots: snapshots.iter(), now: None, found, barren }
    }

    fn begin(&mut self, snapshot: &'a Stored) {
        self.wanted.root(snapshot, &mut self.found);
        let tree = snapshot.snapshot.tree;
        let place = (tree, 0);
        if !self.barren.contains(&place) {
            let open = vec![Open { place, is_fruitful: !self.found.is_empty() }];
            self.now = Some(Now { snapshot, walk: Walk::new(self.reader, tree, "/").reading_ahead(), open });
        }
    }

    fn look(&mut self, entry: Entry) {
        let Some(now) = &mut self.now else { return };
        let depth = now.walk.depth();
        now.close(depth, &mut self.barren);
        let place =
            entry.node.subtree.map(|tree| (tree, if W::PLACE_MATTERS { hash(&entry.path) } else { 0 }));
        let is_dir = entry.node.is_dir();
        let enter = self.wanted.entry(now.snapshot, entry, &mut self.found);
        if !self.found.is_empty() {
            now.mark();
        }
        if !enter || place.is_some_and(|place| self.barren.contains(&place)) {
            now.walk.skip_dir();
        } else if let Some(place) = place.filter(|_| is_dir) {
            now.open.push(Open { place, is_fruitful: false });
        }
    }
}

impl Now<'_> {
    /// Leaves all directories but the outermost `depth`.
    fn close(&mut self, depth: usize, barren: &mut HashSet<Place>) {
        while self.open.len() > depth
            && let Some(open) = self.open.pop()
        {
            if open.is_fruitful {
                self.mark();
            } else {
                barren.insert(open.place);
            }
        }
    }

    fn mark(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.is_fruitful = true;
        }
    }
}

fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.as_os_str().hash(&mut hasher);
    hasher.finish()
}

impl<'a, W: Wanted<'a>> Iterator for Search<'a, W> {
    type Item = Result<W::Found, FindError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Some(Ok(found));
            }
            if let Err(cancelled) = self.context.cancel.check() {
                let is_over = self.now.is_none() && self.snapshots.len() == 0;
                (self.now, self.snapshots) = (None, [].iter());
                return (!is_over).then_some(Err(cancelled.into()));
            }
            let Some(now) = &mut self.now else {
                let snapshot = self.snapshots.next()?;
                self.begin(snapshot);
                continue;
            };
            match now.walk.next() {
                Some(Ok(entry)) => self.look(entry),
                Some(Err(source)) => {
                    now.mark();
                    return Some(Err(FindError::Walk { snapshot: now.snapshot.id, source }));
                }
                None => {
                    now.close(0, &mut self.barren);
                    self.now = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Place as BlobPlace;
    use crate::index::Builder;

    #[test]
    fn patterns_find_names_anywhere_and_all_below() {
        let check = |pattern: &str, case, path: &str, expected: bool| {
            let names = Names::new([pattern], case).unwrap();
            let matches = names.patterns.iter().any(|list| list.matches(path.as_bytes()));
            assert_eq!(matches, expected, "{pattern} on {path}");
        };
        let sensitive = Case::Sensitive;
        check("b", sensitive, "/a/b", true);
        check("b", sensitive, "/a/b/c", true);
        check("b", sensitive, "/a/bc", false);
        check("/b", sensitive, "/a/b", false);
        check("/a/b", sensitive, "/a/b/c", true);
        check("*.TXT", sensitive, "/a/b.txt", false);
        check("*.TXT", Case::Insensitive, "/a/b.txt", true);
        check("", sensitive, "/a/b", true);
        check("!b", sensitive, "/a/b", true);
        check("!b", sensitive, "/a/!b", false);
        check("!!b", sensitive, "/a/!b", true);
    }

    #[test]
    fn broken_patterns_are_all_named() {
        let error = Names::new(["a", "[b", "c["], Case::Sensitive).unwrap_err();
        assert_eq!(error.patterns, [b"[b".to_vec(), b"c[".to_vec()]);
    }

    #[test]
    fn blobs_are_named_in_full_or_by_eight_digits() {
        let blob = |kind| BlobId { kind, id: Id::new([0xab; 32]) };
        let check = |name: &str, expected: bool| {
            let wanted = WantedBlobs::named(BlobKind::Data, [name]);
            assert_eq!(wanted.has(&blob(BlobKind::Data)), expected, "{name}");
            assert!(!wanted.has(&blob(BlobKind::Tree)), "{name}");
        };
        check("abababab", true);
        check(&"ab".repeat(32), true);
        check("ababab", false);
        check("ababababab", false);
        check("+bababab", false);
        check("", false);
    }

    #[test]
    fn packs_stand_for_their_blobs() {
        let mut builder = Builder::new();
        let blob = |number| BlobId { kind: BlobKind::Data, id: Id::new([number; 32]) };
        for number in 1..4 {
            let pack = Id::new([0x10 * number; 32]).into();
            let place = BlobPlace { pack, offset: 0, len: 40, plain_len: None };
            builder.add_pack(pack, [(blob(number), place), (blob(9), place)]);
        }
        let index = builder.build();
        let wanted = WantedBlobs::in_packs(&index, ["10101010", "20202020"]).unwrap();
        assert_eq!(wanted.full, HashSet::from([1, 2, 9].map(blob)));
        let error = WantedBlobs::in_packs(&index, ["10101010", "1010", "77777777"]).unwrap_err();
        assert_eq!(error.to_string(), "unable to find pack(s): 1010 77777777");
    }
}
