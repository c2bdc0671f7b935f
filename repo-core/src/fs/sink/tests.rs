use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::fs::FaultKind;

/// An image with these bytes, about to become as long as they are.
fn image(path: &Path, bytes: &[u8]) -> ImageSink {
    std::fs::write(path, bytes).unwrap();
    let sink = ImageSink::open(path).unwrap();
    sink.begin(bytes.len() as u64).unwrap();
    sink
}

#[test]
fn zeros_are_exactly_where_they_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let old = vec![7; 40_000];
    for (offset, len) in [(0, 40_000), (0, 4096), (1, 4095), (4095, 2), (5000, 30_001), (8192, 8192), (9, 0)]
    {
        let sink = image(&path, &old);
        sink.zero(offset, len).unwrap();
        let mut expected = old.clone();
        expected[usize::try_from(offset).unwrap()..][..usize::try_from(len).unwrap()].fill(0);
        assert!(std::fs::read(&path).unwrap() == expected, "{offset} {len}");
    }
}

#[test]
fn zeros_in_an_existing_file_give_their_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let sink = image(&path, &vec![7; 4 << 20]);
    sink.finish().unwrap();
    let blocks = || std::fs::metadata(&path).unwrap().blocks();
    let before = blocks();
    sink.zero(0, 4 << 20).unwrap();
    sink.finish().unwrap();
    // Not on every file system; on those that have holes at all.
    assert!(blocks() < before / 4 || cfg!(not(target_os = "linux")), "{before} {}", blocks());
}

#[test]
fn file_gets_the_length_of_the_content_and_a_missing_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let sink = ImageSink::open(&path).unwrap();
    assert_eq!(sink.properties().holds, Holds::Zeros);
    sink.begin(10).unwrap();
    sink.write_at(3, b"abc").unwrap();
    sink.zero(6, 4).unwrap();
    sink.finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"\0\0\0abc\0\0\0\0");
    let sink = ImageSink::open(&path).unwrap();
    assert_eq!(sink.properties().holds, Holds::Something);
    sink.begin(5).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"\0\0\0ab");
    let mut buffer = [9; 8];
    assert_eq!(sink.read_at(2, &mut buffer).unwrap(), 3);
}

#[test]
fn what_is_no_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = ImageSink::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), FaultKind::NotSupported);
    assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    let missing = ImageSink::open(&folder.path().join("no/such")).unwrap_err();
    assert_eq!(missing.kind(), FaultKind::Vanished);
}

#[test]
fn stream_takes_bytes_and_zeros_in_order_and_nothing_else() {
    let sink = StreamSink::new("pipe", Vec::new());
    sink.write_at(0, b"abc").unwrap();
    sink.zero(3, 100_000).unwrap();
    sink.write_at(100_003, b"d").unwrap();
    assert!(sink.write_at(7, b"x").is_err());
    sink.finish().unwrap();
    let written = sink.into_inner();
    assert!(written.len() == 100_004 && written.starts_with(b"abc\0") && written.ends_with(b"\0d"));
}

/// Takes nothing.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn stream_whose_reader_is_gone_says_so() {
    let sink = StreamSink::new("pipe", Closed);
    assert_eq!(sink.write_at(0, b"abc").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(sink.zero(0, 5).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
