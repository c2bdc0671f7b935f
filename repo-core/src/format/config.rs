//! The config: what kind of repository this is.
//!
//! In and out: the plain text of the file `config`, which is sealed but never compressed. It is written once.

use super::error::{FormatError, require};
use super::json::{Object, Reader, Unknown};
use super::limits::{DATA_BLOB_BYTES_CEILING, DATA_BLOB_BYTES_MAX};
use crate::id::Id;

/// Our own field beside restic's; restic and others step over it.
const CHUNKER: &str = "larder_chunker";

/// What kind of repository this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// 1 or 2; only 2 compresses.
    pub version: u32,
    /// 32 random bytes that name the repository, for instance in caches; no hash of anything.
    pub id: Id,
    /// The polynomial of restic's chunker; bit i is the coefficient of xⁱ. Not checked here.
    pub chunker_polynomial: u64,
    /// Another chunker that our own backups into this repository use.
    pub chunker: Option<ChunkerField>,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Unknown,
}

/// A chunker other than restic's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkerField {
    /// `FastCDC` with these lengths in bytes.
    FastCdc {
        /// No chunk but a file's last is shorter.
        min: u32,
        /// What random data comes to.
        average: u32,
        /// No chunk is longer.
        max: u32,
    },
    /// A chunker this version does not know, as raw JSON: reading works, making backups does not.
    Other(Box<str>),
}

impl Config {
    /// A config with the three fields that every program writes.
    pub fn new(version: u32, id: Id, chunker_polynomial: u64) -> Self {
        Self { version, id, chunker_polynomial, chunker: None, unknown: Unknown::new() }
    }

    /// Reads the plain text.
    ///
    /// Returns [`FormatError::Version`] for a repository of a version other than 1 or 2.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let (mut version, mut id, mut polynomial) = (None::<u64>, None, None::<String>);
        let (mut chunker, mut unknown) = (None, Unknown::new());
        Reader::record(text, |json, key| match key.name() {
            "version" => json.set(&mut version),
            "id" => json.set(&mut id),
            "chunker_polynomial" => json.set(&mut polynomial),
            CHUNKER if json.null() => Ok(()),
            CHUNKER => json.raw().map(|raw| chunker = Some(ChunkerField::parse(raw))),
            _ => json.keep(key, &mut unknown),
        })?;
        let version = match require(version, "version")? {
            1 => 1,
            2 => 2,
            version => return Err(FormatError::Version { version }),
        };
        let polynomial = require(polynomial, "chunker_polynomial")?;
        // `from_str_radix` alone would take a leading plus sign.
        let polynomial = Some(&*polynomial).filter(|digits| !digits.starts_with('+'));
        let chunker_polynomial = polynomial
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or(FormatError::Value { at: 0, expected: "a polynomial in hex digits" })?;
        Ok(Self { version, id: require(id, "id")?, chunker_polynomial, chunker, unknown })
    }

    /// The plain text.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        let mut object = Object::begin(&mut out);
        object.number("version", self.version).id("id", self.id);
        object.string("chunker_polynomial", format!("{:x}", self.chunker_polynomial));
        if let Some(chunker) = &self.chunker {
            chunker.write(object.key(CHUNKER));
        }
        object.unknown(&self.unknown);
        object.end();
        out
    }

    /// Whether blobs and files may be compressed.
    pub fn compresses(&self) -> bool {
        self.version >= 2
    }

    /// The greatest length in bytes of a plain data blob here.
    ///
    /// More than restic's 8 MiB only where the config names a chunker with larger chunks, rustic's field
    /// `chunk_max_size` included; never more than 1 GiB.
    pub fn data_blob_bytes_max(&self) -> u32 {
        let ours = match self.chunker {
            Some(ChunkerField::FastCdc { max, .. }) => max,
            _ => 0,
        };
        let foreign = self.unknown.iter().rev().find(|(key, _)| key == "chunk_max_size");
        let foreign = foreign.and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or(0);
        let foreign = u32::try_from(foreign).unwrap_or(u32::MAX);
        ours.max(foreign).clamp(DATA_BLOB_BYTES_MAX, DATA_BLOB_BYTES_CEILING)
    }
}

impl ChunkerField {
    fn parse(raw: Box<str>) -> Self {
        let (mut name, mut min, mut average, mut max) = (String::new(), 0, 0, 0);
        let read = Reader::record(raw.as_bytes(), |json, key| match key.name() {
            "name" => json.set(&mut name),
            "min" => json.set(&mut min),
            "average" => json.set(&mut average),
            "max" => json.set(&mut max),
            _ => json.skip(),
        });
        let sensible = 0 < min && min <= average && average <= max;
        if read.is_ok() && name == "fastcdc" && sensible {
            Self::FastCdc { min, average, max }
        } else {
            Self::Other(raw)
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Other(raw) => out.extend_from_slice(raw.as_bytes()),
            &Self::FastCdc { min, average, max } => {
                let mut object = Object::begin(out);
                object.string("name", "fastcdc");
                object.number("min", min).number("average", average).number("max", max);
                object.end();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "abababababababababababababababababababababababababababababababab";

    fn parse(text: &str) -> Result<Config, FormatError> {
        Config::parse(text.replace("ID", ID).as_bytes())
    }

    /// `expected` is what is written after reading; `None` means that the text is refused.
    fn check(text: &str, expected: Option<&str>) {
        let written = parse(text).ok().map(|config| String::from_utf8(config.to_json()).unwrap());
        assert_eq!(written, expected.map(|text| text.replace("ID", ID)), "{text}");
    }

    #[test]
    fn config_is_read_as_liberally_as_restic_reads_it() {
        let good = r#"{"version":2,"id":"ID","chunker_polynomial":"3da3358b4dc173"}"#;
        check(good, Some(good));
        check(
            r#" { "Id" : "ID", "Version": 1, "version": 2, "CHUNKER_polynomial": "3DA3358B4DC173" } "#,
            Some(good),
        );
        check(&format!("{good} x"), None);
        check(r#"{"version":2,"id":"ID"}"#, None);
        check(r#"{"version":2,"id":"ab","chunker_polynomial":"1"}"#, None);
        check(r#"{"version":2,"id":"ID","chunker_polynomial":"+1"}"#, None);
        check(r#"{"version":2,"id":null,"chunker_polynomial":"1"}"#, None);
        check("", None);
    }

    #[test]
    fn unknown_fields_survive_a_rewrite() {
        let tail = r#""a":[1,{"b":null}],"chunk_max_size":16777216,"c\n":"\u003c""#;
        let text = format!(r#"{{"version":2,"id":"ID","chunker_polynomial":"1",{tail}}}"#);
        check(&text, Some(&text));
        assert_eq!(parse(&text).unwrap().data_blob_bytes_max(), 16 << 20);
    }

    #[test]
    fn largest_chunk_stays_between_restics_and_the_ceiling() {
        for (value, expected) in
            [("1", 8 << 20), ("8388609", 8_388_609), ("1073741825", 1 << 30), ("1e30", 8 << 20)]
        {
            let mut config = Config::new(2, Id::new([1; 32]), 1);
            config.unknown.push(("chunk_max_size".to_owned(), value.into()));
            assert_eq!(config.data_blob_bytes_max(), expected, "{value}");
        }
    }

    #[test]
    fn other_versions_are_refused_by_number() {
        for version in [0, 3, u64::MAX] {
            let text = format!(r#"{{"version":{version},"id":"ID","chunker_polynomial":"1"}}"#);
            assert_eq!(parse(&text), Err(FormatError::Version { version }));
        }
    }

    #[test]
    fn a_chunker_that_is_not_known_is_kept_as_it_is() {
        for raw in [r#"{"name":"new","key":"x"}"#, "7", r#"{"name":"fastcdc","min":9,"average":1,"max":9}"#] {
            let text =
                format!(r#"{{"version":2,"id":"ID","chunker_polynomial":"1","larder_chunker":{raw}}}"#);
            check(&text, Some(&text));
            assert_eq!(parse(&text).unwrap().chunker, Some(ChunkerField::Other(raw.into())));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            version in 1u32..=2, id: [u8; 32], polynomial: u64, sizes: Option<[u32; 3]>,
        ) {
            let mut config = Config::new(version, Id::new(id), polynomial);
            config.chunker = sizes.map(|mut sizes| {
                sizes = sizes.map(|size| size.max(1));
                sizes.sort_unstable();
                ChunkerField::FastCdc { min: sizes[0], average: sizes[1], max: sizes[2] }
            });
            prop_assert_eq!(Config::parse(&config.to_json()), Ok(config));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Config::parse(&bytes);
        }
    }
}
