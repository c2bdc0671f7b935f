//! A lock: who works on the repository, and whether alone.
//!
//! In and out: the plain text of a file in `locks/`. What a lock means, and when it is stale, is decided in
//! the repository room.

use super::error::{FormatError, require};
use super::json::{Object, Reader, Unknown, write_signed};
use crate::time::Time;

/// Who works on the repository, and whether alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// When it was made or last refreshed, by its holder's clock.
    pub time: Time,
    /// Whether nobody else may work at the same time.
    pub exclusive: bool,
    /// The holder's host.
    pub hostname: String,
    /// The holder's user name.
    pub username: String,
    /// The holder's process.
    pub pid: i64,
    /// The holder's user id.
    pub uid: u32,
    /// The holder's group id.
    pub gid: u32,
    /// Ours: which boot of the host's kernel, empty if unknown.
    pub boot_id: String,
    /// Ours: in which process namespace `pid` counts, empty if unknown.
    pub pid_ns: String,
    /// Ours: random, the same in all refreshed locks of one run; empty if unknown.
    pub session: String,
    /// Ours: what the holder does, such as `backup`.
    pub op: String,
    /// Ours: which program holds it.
    pub engine: String,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Unknown,
}

impl Lock {
    /// Reads the plain text.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let (mut lock, mut time, mut pid) = (Self::default(), None, None);
        Reader::record(text, |json, key| match key.name() {
            "time" => json.set(&mut time),
            "exclusive" => json.set(&mut lock.exclusive),
            "hostname" => json.set(&mut lock.hostname),
            "username" => json.set(&mut lock.username),
            "pid" => json.set(&mut pid),
            "uid" => json.set(&mut lock.uid),
            "gid" => json.set(&mut lock.gid),
            "boot_id" => json.set(&mut lock.boot_id),
            "pid_ns" => json.set(&mut lock.pid_ns),
            "session" => json.set(&mut lock.session),
            "op" => json.set(&mut lock.op),
            "engine" => json.set(&mut lock.engine),
            _ => json.keep(key, &mut lock.unknown),
        })?;
        Ok(Self { time: require(time, "time")?, pid: require(pid, "pid")?, ..lock })
    }

    /// The plain text; our own fields only where they are set.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut object = Object::begin(&mut out);
        object.time("time", self.time).bool("exclusive", self.exclusive);
        object.string("hostname", &self.hostname).string("username", &self.username);
        write_signed(object.key("pid"), self.pid);
        object.number_unless_zero("uid", self.uid).number_unless_zero("gid", self.gid);
        for (key, value) in [
            ("boot_id", &self.boot_id),
            ("pid_ns", &self.pid_ns),
            ("session", &self.session),
            ("op", &self.op),
            ("engine", &self.engine),
        ] {
            object.string_unless_empty(key, value);
        }
        object.unknown(&self.unknown);
        object.end();
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn restics_lock_reads_and_writes_the_same() {
        for text in [
            r#"{"time":"2024-01-01T00:00:00.5+01:00","exclusive":false,"hostname":"h","username":"u","pid":8683,"uid":1000,"gid":1000}"#,
            r#"{"time":"2024-01-01T00:00:00Z","exclusive":true,"hostname":"h","username":"root","pid":1}"#,
            r#"{"time":"2024-01-01T00:00:00Z","exclusive":true,"hostname":"","username":"","pid":-1,"session":"s","x":[]}"#,
        ] {
            let lock = Lock::parse(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(lock.to_json()).unwrap(), text);
        }
    }

    #[test]
    fn other_records_are_no_lock() {
        for text in ["", "{}", "[]", "null", r#"{"time":"2024-01-01T00:00:00Z","tree":""}"#, r#"{"pid":1}"#] {
            assert!(Lock::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            exclusive: bool, words: [String; 4], pid: i64, uid: u32, gid: u32,
        ) {
            let [hostname, username, boot_id, engine] = words;
            let lock =
                Lock { exclusive, hostname, username, pid, uid, gid, boot_id, engine, ..Lock::default() };
            prop_assert_eq!(Lock::parse(&lock.to_json()), Ok(lock));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Lock::parse(&bytes);
        }
    }
}
