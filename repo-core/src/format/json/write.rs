//! The writer: values appended to a byte vector, compact, with Go's escapes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Unknown;
use crate::id::Id;
use crate::time::Time;

/// One JSON object in the making; fields come out in the order of the calls.
///
/// The methods that end in `_unless_empty` or `_unless_zero` do what `omitempty` does in Go.
///
/// ```
/// use repo_core::format::json::Object;
///
/// let mut text = Vec::new();
/// let mut object = Object::begin(&mut text);
/// object.string("name", "<a>").number_unless_zero("size", 0u32);
/// object.end();
/// assert_eq!(text, br#"{"name":"\u003ca\u003e"}"#);
/// ```
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out }
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push(b'}');
    }

    /// Writes a key that needs no escapes; the caller writes the value.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        separate(self.out, b'{');
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A string; bytes that are not UTF-8 become `\ufffd`, one each.
    pub fn string(&mut self, key: &str, value: impl AsRef<[u8]>) -> &mut Self {
        write_string(self.key(key), value.as_ref());
        self
    }

    /// A string, unless it is empty.
    pub fn string_unless_empty(&mut self, key: &str, value: impl AsRef<[u8]>) -> &mut Self {
        if !value.as_ref().is_empty() {
            self.string(key, value);
        }
        self
    }

    /// An integer.
    pub fn number(&mut self, key: &str, value: impl Into<u64>) -> &mut Self {
        write_number(self.key(key), value.into());
        self
    }

    /// An integer, unless it is zero.
    pub fn number_unless_zero(&mut self, key: &str, value: impl Into<u64>) -> &mut Self {
        let value = value.into();
        if value != 0 {
            self.number(key, value);
        }
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// 64 hex digits.
    pub fn id(&mut self, key: &str, value: impl Into<Id>) -> &mut Self {
        write_id(self.key(key), &value.into());
        self
    }

    /// 64 hex digits, if there is an id.
    pub fn id_if_some(&mut self, key: &str, value: Option<impl Into<Id>>) -> &mut Self {
        if let Some(id) = value {
            self.id(key, id);
        }
        self
    }

    /// An RFC 3339 time; years that the format cannot hold are moved to its border.
    pub fn time(&mut self, key: &str, value: Time) -> &mut Self {
        let out = self.key(key);
        out.push(b'"');
        value.clamp_year().write(out);
        out.push(b'"');
        self
    }

    /// Bytes as padded base64.
    pub fn base64(&mut self, key: &str, value: &[u8]) -> &mut Self {
        let out = self.key(key);
        out.push(b'"');
        write_base64(out, value);
        out.push(b'"');
        self
    }

    /// An array of strings.
    pub fn strings<S: AsRef<[u8]>>(&mut self, key: &str, values: &[S]) -> &mut Self {
        let mut array = Array::begin(self.key(key));
        for value in values {
            write_string(array.element(), value.as_ref());
        }
        array.end();
        self
    }

    /// An array of strings, unless it is empty.
    pub fn strings_unless_empty<S: AsRef<[u8]>>(&mut self, key: &str, values: &[S]) -> &mut Self {
        if !values.is_empty() {
            self.strings(key, values);
        }
        self
    }

    /// A value that is JSON already, under any key.
    pub fn raw(&mut self, key: &str, value: &str) -> &mut Self {
        separate(self.out, b'{');
        write_string(self.out, key.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    /// Fields kept from reading, as they are.
    pub fn unknown(&mut self, fields: &Unknown) -> &mut Self {
        for (key, value) in fields {
            self.raw(key, value);
        }
        self
    }
}

/// One JSON array in the making.
#[derive(Debug)]
pub struct Array<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Array<'a> {
    /// Opens an array at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out }
    }

    /// Makes room for the next element; the caller writes it.
    pub fn element(&mut self) -> &mut Vec<u8> {
        separate(self.out, b'[');
        self.out
    }

    /// Closes the array.
    pub fn end(self) {
        self.out.push(b']');
    }
}

/// A comma, unless the bracket has only just been opened.
fn separate(out: &mut Vec<u8>, open: u8) {
    if out.last() != Some(&open) {
        out.push(b',');
    }
}

/// Appends a string with its quotes.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Appends what stands between the quotes of a string.
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|&byte| is_plain(byte)) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        write_escaped_text(out, chunk.valid());
        for _ in chunk.invalid() {
            out.extend_from_slice(br"\ufffd");
        }
    }
}

fn write_escaped_text(out: &mut Vec<u8>, text: &str) {
    for symbol in text.chars() {
        match symbol {
            '"' => out.extend_from_slice(br#"\""#),
            '\\' => out.extend_from_slice(br"\\"),
            '\n' => out.extend_from_slice(br"\n"),
            '\r' => out.extend_from_slice(br"\r"),
            '\t' => out.extend_from_slice(br"\t"),
            '\x08' => out.extend_from_slice(br"\b"), // since Go 1.22; before, \u0008 and \u000c
            '\x0c' => out.extend_from_slice(br"\f"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(symbol)).as_bytes());
            }
            _ => out.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Whether a byte stands for itself whatever surrounds it.
pub(crate) const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

/// Appends a decimal integer.
pub fn write_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20]; // u64::MAX has 20
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        start -= 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends a decimal integer with its sign.
pub(crate) fn write_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_number(out, value.unsigned_abs());
}

/// Appends 64 hex digits with their quotes.
pub fn write_id(out: &mut Vec<u8>, id: &Id) {
    out.push(b'"');
    out.extend_from_slice(&id.hex());
    out.push(b'"');
}

/// Encodes in place, so that a secret leaves no second copy behind.
fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let space = out.get_mut(start..).unwrap_or_default();
    STANDARD.encode_slice(bytes, space).expect("four digits for every three bytes are enough");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expected: &str) {
        let mut out = Vec::new();
        write_escaped(&mut out, input);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{input:x?}");
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        check(b"plain / ' \x7f", "plain / ' \x7f");
        check(b"\"\\", r#"\"\\"#);
        check(b"\n\r\t\x08\x0c", r"\n\r\t\b\f");
        check(b"\x00\x1b\x1f", r"\u0000\u001b\u001f");
        check(b"<a href=x&y>", r"\u003ca href=x\u0026y\u003e");
        check("\u{2028}\u{2029}\u{202a}".as_bytes(), "\\u2028\\u2029\u{202a}");
        check("ä\u{a0}\u{85}\u{feff}\u{1f600}\u{fffd}".as_bytes(), "ä\u{a0}\u{85}\u{feff}\u{1f600}\u{fffd}");
    }

    #[test]
    fn each_invalid_byte_becomes_one_replacement() {
        check(b"x\xe2\x82y\xed\xa0\x80z\xf0\x9f\x98", r"x\ufffd\ufffdy\ufffd\ufffd\ufffdz\ufffd\ufffd\ufffd");
        check(b"\xc0\xaf", r"\ufffd\ufffd");
        check(b"\xff", r"\ufffd");
        check(b"\xf4\x90\x80\x80", r"\ufffd\ufffd\ufffd\ufffd");
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, 99, 100, 4_294_967_296, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
        let mut out = Vec::new();
        write_signed(&mut out, i64::MIN);
        assert_eq!(out, i64::MIN.to_string().as_bytes());
    }

    #[test]
    fn objects_and_arrays_separate_their_members() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.strings("none", &[""; 0]).strings("two", &["a", "b"]).bool("yes", true);
        object.base64("bytes", &[0, 1, 255]).time("time", Time::ZERO);
        object.unknown(&vec![("x\"".to_owned(), "[1]".into())]);
        object.end();
        let expected = r#"{"none":[],"two":["a","b"],"yes":true,"bytes":"AAH/","time":"0001-01-01T00:00:00Z","x\"":[1]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
