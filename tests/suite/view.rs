//! A repository as folders: exactly what is stored, by as few reads as will do, and errors instead of guesses.
//!
//! The engine alone, in memory, with a backend that counts. Through the kernel it is tested in `mount`, over HTTP in
//! `serve`.

use std::sync::Arc;
use std::time::Duration;

use repo_core::backend::{MemoryBackend, Operation, RecordBackend};
use repo_core::context::{Context, HandClock};
use repo_core::id::{BlobId, BlobKind, FileId, FileKind};
use repo_core::parallel;
use repo_core::repository::Repository;
use repo_core::view::{Item, View, ViewError, ViewOptions};
use tests::repo::{backup, context, in_memory, open};
use tests::tree::{Tree, dir, file, hard_link, noise};

/// A repository in memory that counts what is read of it, with snapshots of some trees.
struct Place {
    storage: Arc<MemoryBackend>,
    counted: Arc<RecordBackend>,
    repository: Repository,
}

impl Place {
    fn of(trees: &[Tree]) -> Self {
        let storage = Arc::new(in_memory(2));
        let place = Self::over(storage);
        for tree in trees {
            place.add(tree);
        }
        place
    }

    fn over(storage: Arc<MemoryBackend>) -> Self {
        let counted = Arc::new(RecordBackend::with_log(storage.clone()));
        let repository = open(counted.clone());
        Self { storage, counted, repository }
    }

    fn add(&self, tree: &Tree) {
        let folder = tempfile::tempdir().unwrap();
        tree.build(folder.path());
        let report = backup(&self.repository, folder.path()).unwrap();
        assert!(report.skipped.is_empty());
    }

    fn view(&self, context: &Context, options: ViewOptions) -> View {
        View::new(context, &self.repository, options).unwrap()
    }

    /// Requests for packs, and bytes.
    fn packs_read(&self) -> (u64, u64) {
        let count = self.counted.counters().of(Operation::Read, FileKind::Pack);
        (count.requests, count.bytes)
    }

    /// Where the blobs of that kind lie.
    fn packs_with(&self, kind: BlobKind) -> Vec<FileId> {
        let index = self.repository.load_index(&context()).unwrap();
        index.iter().filter(|(blob, _)| blob.kind == kind).map(|(_, place)| place.pack.into()).collect()
    }
}

/// The default view.
fn view(place: &Place) -> View {
    place.view(&context(), ViewOptions::default())
}

fn at(view: &View, path: &str) -> Item {
    view.resolve(path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn names(view: &View, path: &str) -> Vec<String> {
    let listing = view.list(&at(view, path)).unwrap();
    (0..listing.len()).map(|at| String::from_utf8_lossy(listing.name(at)).into_owned()).collect()
}

/// Reads a whole file in pieces.
fn content(view: &View, path: &str, piece: usize) -> Vec<u8> {
    let file = view.open(&at(view, path)).unwrap();
    let mut content = Vec::new();
    loop {
        let bytes = view.read(&file, content.len() as u64, piece).unwrap();
        if bytes.is_empty() {
            return content;
        }
        content.extend_from_slice(&bytes);
    }
}

#[test]
fn listing_and_attributes_read_no_content() {
    let place = Place::of(&[dir([
        ("big", file(noise(3 << 20, 1))),
        ("deep", dir([("deeper", dir([("small", file("small"))]))])),
    ])]);
    let data = place.packs_with(BlobKind::Data);
    let view = view(&place);
    let before = place.counted.log().len();
    assert_eq!(names(&view, "/snapshots/latest"), ["big", "deep"]);
    assert_eq!(names(&view, "/snapshots/latest/deep/deeper"), ["small"]);
    assert_eq!(view.attributes(&at(&view, "/snapshots/latest/big")).unwrap().len, 3 << 20);
    view.open(&at(&view, "/snapshots/latest/big")).unwrap();
    let log = place.counted.log().split_off(before);
    assert!(
        log.iter().any(|call| call.operation == Operation::Read),
        "directories are read when they are asked for"
    );
    assert!(!log.iter().any(|call| call.file.is_some_and(|file| data.contains(&file))), "{log:#?}");
}

#[test]
fn a_directory_is_read_once_while_it_is_on_the_shelf() {
    let place = Place::of(&[dir((0..50).map(|number| (format!("d{number}"), dir([("f", file("x"))]))))]);
    let view = view(&place);
    let look = || {
        for number in 0..50 {
            assert_eq!(names(&view, &format!("/snapshots/latest/d{number}")), ["f"]);
        }
    };
    look();
    let (requests, _) = place.packs_read();
    look();
    assert_eq!(place.packs_read().0, requests);
}

#[test]
fn reading_somewhere_fetches_only_the_blobs_that_hold_it() {
    let bytes = noise(24 << 20, 2);
    let place = Place::of(&[dir([("big", file(&bytes))])]);
    let view = view(&place);
    let file = view.open(&at(&view, "/snapshots/latest/big")).unwrap();
    let (requests, read) = place.packs_read();
    for offset in [20 << 20, 5 << 20, 12 << 20] {
        assert_eq!(view.read(&file, offset as u64, 10).unwrap(), &bytes[offset..offset + 10]);
    }
    let (requests, read) = (place.packs_read().0 - requests, place.packs_read().1 - read);
    assert!(requests <= 3, "{requests} requests for three blobs");
    // Blobs have 8 MiB at most; those of noise about 1.
    assert!(read < 16 << 20, "{read} bytes for 30");
    assert_eq!(view.read(&file, 24 << 20, 10).unwrap(), b"");
    assert_eq!(view.read(&file, u64::MAX, usize::MAX).unwrap(), b"");
    assert_eq!(view.read(&file, (24 << 20) - 3, 10).unwrap(), &bytes[bytes.len() - 3..]);
}

#[test]
fn reading_in_order_asks_seldom_and_reads_nothing_twice() {
    let bytes = noise(32 << 20, 3);
    let place = Place::of(&[dir([("big", file(&bytes))])]);
    let view = view(&place);
    let (requests, read) = place.packs_read();
    assert!(content(&view, "/snapshots/latest/big", 128 << 10) == bytes);
    let (requests, read) = (place.packs_read().0 - requests, place.packs_read().1 - read);
    assert!(requests <= 14, "{requests} requests for about 25 blobs in three packs, and the directory");
    assert!(read < 33 << 20, "{read} bytes for 32 MiB");
}

#[test]
fn small_files_that_are_read_one_after_the_other_share_requests() {
    let place =
        Place::of(&[dir((0..200).map(|number| (format!("f{number:03}"), file(noise(2000, 100 + number)))))]);
    let view = view(&place);
    let (requests, _) = place.packs_read();
    for number in 0..200 {
        let expected = noise(2000, 100 + number);
        assert_eq!(content(&view, &format!("/snapshots/latest/f{number:03}"), 1 << 17), expected);
    }
    let requests = place.packs_read().0 - requests;
    assert!(requests <= 12, "{requests} requests for 200 files in one pack, and the directory");
}

#[test]
fn many_readers_with_little_room_all_get_the_right_bytes() {
    let files: Vec<Vec<u8>> = (0..4).map(|number| noise(6 << 20, 40 + number)).collect();
    let place = Place::of(&[dir(files
        .iter()
        .enumerate()
        .map(|(number, bytes)| (format!("f{number}"), file(bytes))))]);
    let tight = ViewOptions { content_bytes: 2 << 20, directory_bytes: 1, ..ViewOptions::default() };
    let view = place.view(&context(), tight);
    parallel::scope(|scope| {
        for reader in 0..8_usize {
            let (view, files) = (&view, &files);
            scope.spawn("reader", move || {
                let number = reader % files.len();
                let open = view.open(&at(view, &format!("/snapshots/latest/f{number}"))).unwrap();
                // Half of them in order, half of them all over the place.
                for step in 0..60_usize {
                    let offset = if reader < 4 { step * 100_000 } else { step * 7_919_003 % (6 << 20) };
                    let expected = &files[number][offset..(offset + 100_000).min(6 << 20)];
                    assert!(
                        view.read(&open, offset as u64, 100_000).unwrap() == expected,
                        "{reader} {offset}"
                    );
                }
            });
        }
    });
}

#[test]
fn damage_is_an_error_where_it_is_and_nowhere_else() {
    let bytes = noise(8 << 20, 5);
    let place = Place::of(&[dir([("big", file(&bytes)), ("other", file("fine"))])]);
    let index = place.repository.load_index(&context()).unwrap();
    let latest = repo_core::snapshots::list(&context(), &place.repository).unwrap().pop().unwrap();
    let tree = place.repository.reader(&context()).unwrap().tree(latest.snapshot.tree).unwrap();
    let chunks = tree.nodes[0].content.clone().unwrap();
    let damaged = index.place_of(&BlobId::from(chunks[1])).unwrap();
    let middle = usize::try_from(damaged.range().start.midpoint(damaged.range().end)).unwrap();
    assert!(place.storage.tamper(damaged.pack.into(), |bytes| bytes[middle] ^= 1));

    let place = Place::over(place.storage);
    let view = view(&place);
    let file = view.open(&at(&view, "/snapshots/latest/big")).unwrap();
    let starts: Vec<u64> = chunks
        .iter()
        .scan(0, |end, id| {
            let start = *end;
            *end += index.opened_len(&BlobId::from(*id)).unwrap();
            Some(start)
        })
        .collect();
    for _ in 0..2 {
        for (number, start) in starts.iter().enumerate() {
            let read = view.read(&file, *start, 1000);
            if number == 1 {
                assert!(matches!(read, Err(ViewError::Read { .. })), "{read:?}");
            } else {
                let start = usize::try_from(*start).unwrap();
                let expected = &bytes[start..(start + 1000).min(bytes.len())];
                assert!(read.unwrap() == expected, "chunk {number}");
            }
        }
    }
    let across = view.read(&file, starts[1] - 10, 20);
    assert!(matches!(across, Err(ViewError::Read { .. })), "no half of a range is given for the whole");
    assert_eq!(content(&view, "/snapshots/latest/other", 10), b"fine");
}

#[test]
fn new_snapshots_appear_and_forgotten_ones_go() {
    let place = Place::of(&[]);
    let clock = Arc::new(HandClock::new());
    let wound = Context { clock: clock.clone(), ..context() };
    let view = place.view(&wound, ViewOptions::default());
    assert_eq!(names(&view, "/"), ["hosts", "ids", "snapshots", "tags"]);
    assert_eq!(names(&view, "/ids"), [""; 0]);

    place.add(&dir([("f", file("first"))]));
    assert_eq!(names(&view, "/ids"), [""; 0], "the storage is not asked at every look");
    clock.wind(Duration::from_mins(1));
    let first = names(&view, "/ids").pop().unwrap();
    assert_eq!(content(&view, &format!("/ids/{first}/f"), 10), b"first");
    let open = view.open(&at(&view, "/snapshots/latest/f")).unwrap();

    let id = repo_core::snapshots::list(&context(), &place.repository).unwrap().pop().unwrap().id;
    repo_core::snapshots::remove(&place.repository, id).unwrap();
    place.add(&dir([("f", file("second"))]));
    clock.wind(Duration::from_mins(1));
    assert_eq!(names(&view, "/ids").len(), 1);
    assert_eq!(content(&view, "/snapshots/latest/f", 10), b"second");
    assert!(matches!(view.resolve(format!("/ids/{first}").as_bytes()), Err(ViewError::NotFound { .. })));
    assert_eq!(view.read(&open, 0, 10).unwrap(), b"first", "what is open stays");
}

#[test]
fn numbers_are_the_same_in_every_view_and_one_file_has_one() {
    let tree = dir([("a", file("twins")), ("b", dir([("twin", hard_link("a")), ("other", file("other"))]))]);
    let place = Place::of(&[tree]);
    let number = |view: &View, path: &str| at(view, path).number();
    let views = [view(&place), view(&place)];
    let [one, other] = &views;
    let paths =
        ["/", "/hosts", "/snapshots/latest", "/ids", "/snapshots/latest/b", "/snapshots/latest/b/other"];
    for path in paths {
        assert_eq!(number(one, path), number(other, path), "{path}");
    }
    let mut all: Vec<u64> = paths.iter().map(|path| number(one, path)).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), paths.len());
    assert_eq!(number(one, "/snapshots/latest/a"), number(one, "/snapshots/latest/b/twin"));
    let id = names(one, "/ids").pop().unwrap();
    assert_ne!(number(one, "/snapshots/latest/b"), number(one, &format!("/ids/{id}/b")));
}

#[test]
fn what_is_no_folder_or_no_file_says_so() {
    let place = Place::of(&[dir([("f", file("x"))])]);
    let view = view(&place);
    let file = at(&view, "/snapshots/latest/f");
    let folder = at(&view, "/snapshots/latest");
    assert!(matches!(view.list(&file), Err(ViewError::NotADirectory { .. })));
    assert!(matches!(view.lookup(&file, b"x"), Err(ViewError::NotADirectory { .. })));
    assert!(matches!(view.open(&folder), Err(ViewError::NoContent { .. })));
    assert!(matches!(view.open(&view.root()), Err(ViewError::NoContent { .. })));
    assert!(matches!(view.link_target(&folder), Err(ViewError::NoContent { .. })));
    for name in [&b"missing"[..], b"..", b"\xff", b""] {
        for parent in [&folder, &view.root()] {
            assert!(matches!(view.lookup(parent, name), Err(ViewError::NotFound { .. })), "{name:?}");
        }
    }
}
