//! A record of checks: which packs were verified, and when.
//!
//! In and out: the plain text of a file in `checked/`, a folder of ours that restic never looks into. A pack is named
//! by the first eight bytes of its id: two packs that share them are both verified again a little early or late, which
//! harms nobody. Losing the record means beginning anew, so nothing depends on it.

use super::error::FormatError;
use super::json::{Array, Base64, Object, Reader, Unknown};
use crate::id::PackId;
use crate::time::Time;

/// Bytes of a pack's id that name it here.
const NAME_LEN: usize = 8;

/// Which packs were verified, by run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// The runs, in no order. A pack that several of them name was verified in all of them.
    pub runs: Vec<CheckRun>,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Unknown,
}

/// The packs that one run has verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckRun {
    /// When the run began.
    pub time: Time,
    /// The packs, each by the beginning of its name.
    pub packs: Vec<u64>,
}

impl Checked {
    /// How a pack is named here.
    pub fn name(pack: &PackId) -> u64 {
        let bytes = pack.id().as_bytes();
        u64::from_be_bytes(std::array::from_fn(|at| bytes[at]))
    }

    /// Reads the plain text.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut checked = Self::default();
        Reader::record(text, |json, key| match key.name() {
            "runs" => json.array(|json| {
                checked.runs.push(CheckRun::read(json)?);
                Ok(())
            }),
            _ => json.keep(key, &mut checked.unknown),
        })?;
        Ok(checked)
    }

    /// The plain text.
    pub fn to_json(&self) -> Vec<u8> {
        let packs: usize = self.runs.iter().map(|run| run.packs.len()).sum();
        let mut out = Vec::with_capacity(packs * NAME_LEN * 4 / 3 + 100 * self.runs.len() + 20);
        let mut object = Object::begin(&mut out);
        let mut runs = Array::begin(object.key("runs"));
        for run in &self.runs {
            let names: Vec<u8> = run.packs.iter().flat_map(|pack| pack.to_be_bytes()).collect();
            let mut object = Object::begin(runs.element());
            object.time("time", run.time).base64("packs", &names);
            object.end();
        }
        runs.end();
        object.unknown(&self.unknown);
        object.end();
        out
    }
}

impl CheckRun {
    fn read(json: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (mut run, mut names) = (Self::default(), Base64::default());
        json.object(|json, key| match key.name() {
            "time" => json.set(&mut run.time),
            "packs" => json.set(&mut names),
            _ => json.skip(),
        })?;
        // A name that is cut off names nothing.
        let (names, _) = names.0.as_chunks::<NAME_LEN>();
        run.packs = names.iter().map(|name| u64::from_be_bytes(*name)).collect();
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn record_survives_the_way_through_text() {
        let at = |seconds| Time::utc(Timestamp { seconds, nanos: 0 });
        let runs = vec![
            CheckRun { time: at(1_700_000_000), packs: vec![1, u64::MAX, 7] },
            CheckRun { time: at(1_800_000_000), packs: Vec::new() },
        ];
        let checked = Checked { runs, ..Checked::default() };
        assert_eq!(Checked::parse(&checked.to_json()).unwrap(), checked);
    }

    #[test]
    fn other_texts_are_read_as_far_as_they_make_sense() {
        assert_eq!(Checked::parse(b"{}").unwrap(), Checked::default());
        let text =
            br#"{"runs":[{"time":"2026-01-02T03:04:05Z","packs":"AAAAAAAAAAEA","new":1}],"later":[1]}"#;
        let checked = Checked::parse(text).unwrap();
        assert_eq!(checked.runs[0].packs, [1]);
        assert!(String::from_utf8(checked.to_json()).unwrap().contains(r#""later":[1]"#));
        assert!(Checked::parse(b"[]").is_err());
    }
}
