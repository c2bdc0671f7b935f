//! A key file: the master key, sealed under a key that is derived from a password.
//!
//! In and out: the clear text of a file in `keys/`, and the text of the master key inside it. Secrets are
//! wiped when they are dropped and never shown.

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::error::{FormatError, require, within};
use super::json::{Base64, Object, Reader};
use super::limits::{
    KEY_DATA_BYTES_MAX, KEY_DATA_BYTES_MIN, KEY_FILE_BYTES_MAX, KEY_SALT_BYTES_MAX, KEY_SALT_BYTES_MIN,
};
use crate::time::Time;

/// The master key, sealed under a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// When it was made; some programs do not say.
    pub created: Option<Time>,
    /// Who made it, empty if unknown.
    pub username: String,
    /// Where it was made, empty if unknown.
    pub hostname: String,
    /// Scrypt's cost; memory is 128·n·r bytes. The three parameters are not judged here.
    pub n: u64,
    /// Scrypt's block size.
    pub r: u32,
    /// Scrypt's parallelism.
    pub p: u32,
    /// Scrypt's salt, 16 bytes to 1 KiB; 64 bytes in all that restic wrote.
    pub salt: Vec<u8>,
    /// The sealed text of the master key.
    pub data: Vec<u8>,
}

impl KeyFile {
    /// Reads the clear text.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let limit = usize::try_from(KEY_FILE_BYTES_MAX).unwrap_or(usize::MAX);
        within("a key file", text.len(), 0, limit)?;
        let (mut created, mut username, mut hostname) = (None, String::new(), String::new());
        let (mut kdf, mut n, mut r, mut p) = (None::<String>, None, None, None);
        let (mut salt, mut data) = (None::<Base64>, None::<Base64>);
        Reader::record(text, |json, key| match key.name() {
            "created" => json.set(&mut created),
            "username" => json.set(&mut username),
            "hostname" => json.set(&mut hostname),
            "kdf" => json.set(&mut kdf),
            "n" => json.set(&mut n),
            "r" => json.set(&mut r),
            "p" => json.set(&mut p),
            "salt" => json.set(&mut salt),
            "data" => json.set(&mut data),
            _ => json.skip(),
        })?;
        if require(kdf, "kdf")? != "scrypt" {
            return Err(FormatError::Derivation);
        }
        let (n, r, p) = (require(n, "N")?, require(r, "r")?, require(p, "p")?);
        let (salt, data) = (require(salt, "salt")?.0, require(data, "data")?.0);
        within("the salt", salt.len(), KEY_SALT_BYTES_MIN, KEY_SALT_BYTES_MAX)?;
        within("the sealed master key", data.len(), KEY_DATA_BYTES_MIN, KEY_DATA_BYTES_MAX)?;
        Ok(Self { created, username, hostname, n, r, p, salt, data })
    }

    /// The clear text.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let mut object = Object::begin(&mut out);
        if let Some(created) = self.created {
            object.time("created", created);
        }
        object.string("username", &self.username).string("hostname", &self.hostname);
        object.string("kdf", "scrypt").number("N", self.n).number("r", self.r).number("p", self.p);
        object.base64("salt", &self.salt).base64("data", &self.data);
        object.end();
        out
    }
}

/// The master key as it stands inside a key file; wiped when dropped, deliberately without `Debug`.
#[derive(ZeroizeOnDrop)]
pub struct MasterKeyJson {
    /// Encrypts: AES-256.
    pub encrypt: [u8; 32],
    /// Authenticates: the AES-128 key that makes a nonce into Poly1305's second half.
    pub mac_k: [u8; 16],
    /// Authenticates: Poly1305's r, masked or not.
    pub mac_r: [u8; 16],
}

impl MasterKeyJson {
    /// Reads the opened text of a key file's data.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        let mut seen = [false; 3];
        Reader::record(text, |json, field| match field.name() {
            "encrypt" => secret(json, &mut key.encrypt).map(|()| seen[0] = true),
            "mac" => json.object(|json, field| match field.name() {
                "k" => secret(json, &mut key.mac_k).map(|()| seen[1] = true),
                "r" => secret(json, &mut key.mac_r).map(|()| seen[2] = true),
                _ => json.skip(),
            }),
            _ => json.skip(),
        })?;
        for (seen, field) in seen.into_iter().zip(["encrypt", "mac.k", "mac.r"]) {
            require(seen.then_some(()), field)?;
        }
        Ok(key)
    }

    /// The text to seal.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // Large enough from the start: growing would leave a copy behind.
        let mut out = Zeroizing::new(Vec::with_capacity(256));
        let mut object = Object::begin(&mut out);
        let mut mac = Object::begin(object.key("mac"));
        mac.base64("k", &self.mac_k).base64("r", &self.mac_r);
        mac.end();
        object.base64("encrypt", &self.encrypt);
        object.end();
        out
    }
}

/// Reads base64 of exactly the key's length and wipes what it went through.
fn secret<const N: usize>(json: &mut Reader<'_>, key: &mut [u8; N]) -> Result<(), FormatError> {
    let mut bytes = Base64::default();
    let read = json.set(&mut bytes);
    let bytes = Zeroizing::new(std::mem::take(&mut bytes.0));
    read?;
    within("a part of the master key", bytes.len(), N, N)?;
    key.copy_from_slice(&bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VECTORS: &str = include_str!("../../../tests/fixtures/crypto-vectors.json");

    fn vector(path: &str) -> String {
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        vectors.pointer(path).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn restics_key_file_reads_and_writes_the_same() {
        let text = vector("/key_file/json");
        let key = KeyFile::parse(text.as_bytes()).unwrap();
        assert_eq!((key.n, key.r, key.p, key.salt.len()), (1024, 8, 1, 64));
        assert_eq!(String::from_utf8(key.to_json()).unwrap(), text);
    }

    #[test]
    fn restics_master_key_reads_and_writes_the_same() {
        let text = vector("/key/master_key_json");
        let key = MasterKeyJson::parse(text.as_bytes()).unwrap();
        assert_eq!(key.mac_k[..2], [0xa7, 0x33]);
        assert_eq!(*key.to_json(), text.as_bytes());
    }

    #[test]
    fn master_key_needs_all_its_parts_in_full_length() {
        let text = vector("/key/master_key_json");
        for broken in [
            text.replace("encrypt", "other"),
            text.replace(r#""k":"#, r#""x":"#),
            text.replace("GWcD", ""),
            text.replace("vBbD", "vBbDvBbD"),
            text.replace("vBbD", "v-_D"),
            text.replace(r#""mac":{"#, r#""mac":[{"#),
        ] {
            assert!(MasterKeyJson::parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    fn sized(salt: usize, data: usize) -> KeyFile {
        KeyFile {
            created: None,
            username: String::new(),
            hostname: "h<".to_owned(),
            n: 32768,
            r: 8,
            p: 5,
            salt: vec![7; salt],
            data: vec![9; data],
        }
    }

    #[test]
    fn salt_and_data_keep_their_bounds() {
        for (salt, data, good) in [
            (15, 163, false),
            (16, 163, true),
            (17, 163, true),
            (1023, 163, true),
            (1024, 163, true),
            (1025, 163, false),
            (64, 31, false),
            (64, 32, true),
            (64, 33, true),
            (64, 4095, true),
            (64, 4096, true),
            (64, 4097, false),
        ] {
            assert_eq!(KeyFile::parse(&sized(salt, data).to_json()).is_ok(), good, "{salt} {data}");
        }
    }

    #[test]
    fn key_file_keeps_its_length() {
        let mut text = sized(64, 163).to_json();
        for (len, good) in [(65535, true), (65536, true), (65537, false)] {
            text.resize(len, b' ');
            assert_eq!(KeyFile::parse(&text).is_ok(), good, "{len}");
        }
    }

    #[test]
    fn fields_for_information_may_be_missing_but_no_others() {
        let text = String::from_utf8(sized(16, 32).to_json()).unwrap();
        for (field, good) in [
            ("username", true),
            ("hostname", true),
            ("kdf", false),
            ("N", false),
            ("salt", false),
            ("data", false),
        ] {
            let text = text.replace(&format!("\"{field}\""), "\"other\"");
            assert_eq!(KeyFile::parse(text.as_bytes()).is_ok(), good, "{field}");
        }
        let other = text.replace("scrypt", "argon2id");
        assert_eq!(KeyFile::parse(other.as_bytes()), Err(FormatError::Derivation));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(n: u64, r: u32, p: u32, salt in 16usize..99, host: String) {
            let key = KeyFile { n, r, p, hostname: host, created: Some(Time::ZERO), ..sized(salt, 99) };
            prop_assert_eq!(KeyFile::parse(&key.to_json()), Ok(key));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = KeyFile::parse(&bytes);
            let _ = MasterKeyJson::parse(&bytes);
        }
    }
}
