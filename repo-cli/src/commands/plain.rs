//! `options`, `features`, `self-update`: what can be said without a repository.

use anyhow::Result;
use backends::Options;

use crate::args::plain::Features;
use crate::config::FEATURES;
use crate::exit::wrong;
use crate::session::Session;

/// Kinds of storage, in the order of the list.
const KINDS: [&str; 9] = ["azure", "b2", "gs", "local", "rclone", "rest", "s3", "sftp", "swift"];

/// `options`: every extended option, in restic's layout.
pub fn options(session: &Session) {
    let mut lines: Vec<(String, String)> = Vec::new();
    for kind in KINDS {
        for setting in Options::settings_of(kind) {
            lines.push((format!("{kind}.{setting}"), about(kind, setting).to_owned()));
        }
    }
    lines.sort_unstable();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    session.screen.line("All Extended Options:");
    session.screen.lines(lines.iter().map(|(name, about)| format!("  {name:<width$}  {about}")));
}

/// What an option is for.
fn about(kind: &str, setting: &str) -> &'static str {
    match (kind, setting) {
        ("local", "connections") => "how many calls are made at a time (default: 2)",
        (_, "connections") => "how many requests are made at a time (default: 5)",
        ("azure", "access-tier") => "tier of new packs of data",
        ("gs", "region") => "region of a new bucket (default: us)",
        ("rclone", "program") => "which rclone to start (default: rclone)",
        ("rclone", "args") => "its arguments (default: serve restic --stdio --b2-hard-delete)",
        ("rclone", "timeout") => "how long to wait for it to answer (default: 1m)",
        ("s3", "region") => "region of the bucket",
        ("s3", "bucket-lookup") => {
            "where the bucket's name stands in addresses: auto, dns or path (default: auto)"
        }
        ("s3", "storage-class") => "class of new objects; metadata stays out of the cold ones",
        ("s3", "list-objects-v1") => "list with the old call",
        ("s3", "retries") => "how often the client itself tries again",
        ("s3", "unsafe-anonymous-auth") => "without credentials",
        ("s3", "enable-restore") => "thaw cold packs before they are read",
        ("s3", "restore-days") => "for how many days they stay warm (default: 7)",
        ("s3", "restore-tier") => "how fast they are thawed: Standard, Bulk or Expedited (default: Standard)",
        ("s3", "restore-timeout") => "how long to wait for them (default: 24h)",
        ("s3", "layout") => "of old, ignored",
        ("s3", "sse") => "encryption by the server, as AES256 or aws:kms",
        ("s3", "sse-kms-key-id") => "the key for that",
        ("s3", "checksum") => "whether uploads carry checksums for the server to verify",
        ("sftp", "command") => "whole command to start instead of ssh",
        ("sftp", "args") => "more arguments for ssh",
        _ => "",
    }
}

/// `features`: every switch, in restic's layout.
pub fn features(session: &Session, args: &Features) -> Result<()> {
    if !args.extra.is_empty() {
        return Err(wrong("the feature command expects no arguments", "Run `larder features` alone."));
    }
    let width = FEATURES.iter().map(|feature| feature.name.len()).max().unwrap_or_default();
    let row = |name: &str, kind: &str, default: &str, about: &str| {
        format!("{name:<width$}  {kind:<6}  {default:<7}  {about}")
    };
    let rows: Vec<String> = FEATURES
        .iter()
        .map(|feature| row(feature.name, feature.kind, &feature.default.to_string(), feature.about))
        .collect();
    let border = "-".repeat(rows.iter().map(String::len).max().unwrap_or_default());
    session.screen.line("All Feature Flags:");
    session.screen.line(row("Name", "Type", "Default", "Description"));
    session.screen.line(&border);
    session.screen.lines(&rows);
    session.screen.line(&border);
    Ok(())
}

/// `self-update`: a program that replaces itself would have to be trusted with more than this one asks for.
pub fn self_update() -> Result<()> {
    Err(wrong(
        "larder does not update itself",
        "Update it the way it was installed: with the system's packages, or by building the new version with cargo.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_explained() {
        for kind in KINDS {
            for setting in Options::settings_of(kind) {
                assert_ne!(about(kind, setting), "", "{kind}.{setting}");
            }
        }
    }
}
