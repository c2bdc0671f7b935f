//! `stats`: sizes and counts.

mod sizes; // --mode debug

use anyhow::Result;
use repo_core::format::json::Object;
use repo_core::id::TreeId;
use repo_core::ops::query::stats::{Stats, StatsMode, stats};
use repo_core::repository::{LockKind, Reader};

use crate::args::stats::{Mode, Stats as Args};
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::bytes;
use crate::ui::float::go_float;
use crate::ui::screen::Level;

pub fn run(session: &Session, args: &Args) -> Result<()> {
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let Some(mode) = mode(args.mode) else { return sizes::run(session, &repository) };
    let filter = select::filter(session, &args.filter, Paths::AsTyped);
    let many = select::many(session, &repository, &args.ids, &filter)?;
    let reader = Reader::new(&repository, repository.load_index(&session.context)?);
    session.screen.say(Level::Normal, "scanning...");
    let roots: Vec<TreeId> = many.found.iter().map(|stored| stored.snapshot.tree).collect();
    let counted = stats(&session.context, &reader, &roots, mode)?;
    if session.settings.json {
        let mut line = Vec::new();
        json(&mut line, &counted);
        session.screen.line(String::from_utf8_lossy(&line));
    } else {
        session.screen.lines(text(&counted, args.mode));
    }
    many.verdict(session)
}

/// What to count; nothing of it for restic's developers' mode.
fn mode(typed: Mode) -> Option<StatsMode> {
    Some(match typed {
        Mode::RestoreSize => StatsMode::RestoreSize,
        Mode::FilesByContents => StatsMode::FilesByContents,
        Mode::BlobsPerFile => StatsMode::BlobsPerFile,
        Mode::RawData => StatsMode::RawData,
        Mode::Debug => return None,
    })
}

fn text(stats: &Stats, mode: Mode) -> Vec<String> {
    let mut lines = vec![
        format!("Stats in {} mode:", word(mode)),
        format!("     Snapshots processed:  {}", stats.snapshots),
    ];
    if stats.blobs > 0 {
        lines.push(format!("        Total Blob Count:  {}", stats.blobs));
    }
    if stats.files > 0 {
        lines.push(format!("        Total File Count:  {}", stats.files));
    }
    let compression = stats.compression.filter(|sizes| sizes.uncompressed > 0);
    if let Some(sizes) = compression {
        lines.push(format!(" Total Uncompressed Size:  {:<5}", bytes(sizes.uncompressed)));
    }
    lines.push(format!("              Total Size:  {:<5}", bytes(stats.bytes)));
    if let Some(sizes) = compression {
        let percent = |value: Option<f64>| value.unwrap_or_default();
        lines.push(format!("    Compression Progress:  {:.2}%", percent(sizes.progress_percent())));
        lines.push(format!("       Compression Ratio:  {:.2}x", percent(sizes.ratio())));
        lines.push(format!("Compression Space Saving:  {:.2}%", percent(sizes.saving_percent())));
    }
    lines
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::RestoreSize => "restore-size",
        Mode::FilesByContents => "files-by-contents",
        Mode::BlobsPerFile => "blobs-per-file",
        Mode::RawData => "raw-data",
        Mode::Debug => "debug",
    }
}

fn json(out: &mut Vec<u8>, stats: &Stats) {
    let mut object = Object::begin(out);
    object.number("total_size", stats.bytes);
    if let Some(sizes) = stats.compression {
        object.number_unless_zero("total_uncompressed_size", sizes.uncompressed);
        for (key, value) in [
            ("compression_ratio", sizes.ratio()),
            ("compression_progress", sizes.progress_percent()),
            ("compression_space_saving", sizes.saving_percent()),
        ] {
            if let Some(value) = value.filter(|value| *value != 0.0) {
                object.key(key).extend_from_slice(go_float(value).as_bytes());
            }
        }
    }
    object.number_unless_zero("total_file_count", stats.files);
    object.number_unless_zero("total_blob_count", stats.blobs);
    object.number("snapshots_count", stats.snapshots);
    object.end();
}

#[cfg(test)]
mod tests {
    use repo_core::ops::query::stats::Compression;

    use super::*;

    fn raw() -> Stats {
        let compression = Some(Compression {
            stored: 303_886,
            uncompressed: 309_185,
            compressed_stored: 303_886,
            compressed_uncompressed: 309_185,
        });
        Stats { snapshots: 10, bytes: 303_886, files: 0, blobs: 19, compression }
    }

    #[test]
    fn raw_data_is_shown_as_restic_shows_it() {
        let expected = [
            "Stats in raw-data mode:",
            "     Snapshots processed:  10",
            "        Total Blob Count:  19",
            " Total Uncompressed Size:  301.938 KiB",
            "              Total Size:  296.764 KiB",
            "    Compression Progress:  100.00%",
            "       Compression Ratio:  1.02x",
            "Compression Space Saving:  1.71%",
        ];
        assert_eq!(text(&raw(), Mode::RawData), expected);
    }

    #[test]
    fn json_leaves_out_what_is_zero() {
        let mut line = Vec::new();
        json(&mut line, &Stats { snapshots: 1, ..Stats::default() });
        assert_eq!(String::from_utf8_lossy(&line), r#"{"total_size":0,"snapshots_count":1}"#);
        let mut line = Vec::new();
        json(&mut line, &raw());
        let expected = r#"{"total_size":303886,"total_uncompressed_size":309185,"compression_ratio":1.0174374601001692,"compression_progress":100,"compression_space_saving":1.7138606336012385,"total_blob_count":19,"snapshots_count":10}"#;
        assert_eq!(String::from_utf8_lossy(&line), expected);
    }
}
