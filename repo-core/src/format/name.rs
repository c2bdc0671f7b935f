//! Names in directories: how a tree quotes them, and which of them are safe to use.
//!
//! A name is bytes. In a tree it stands as Go's `strconv.Quote` gives it, and that inside a JSON string, so
//! every backslash is doubled once more. Only names are quoted so, no other text.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::isprint::is_print;
use super::limits::NAME_BYTES_MAX;

/// Why a name must not be used as a name of a file.
///
/// Nodes with such names come from hostile or broken writers. They are never restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No byte at all.
    #[error("the name is empty")]
    Empty,
    /// `.` or `..`, which name other directories.
    #[error("the name means the directory itself or the one above")]
    Dots,
    /// A `/`: more than one component, or an absolute path.
    #[error("the name contains a path separator")]
    Separator,
    /// A zero byte, where operating systems end the name.
    #[error("the name contains a zero byte")]
    Nul,
    /// More than 255 bytes.
    #[error("the name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
}

/// Gives the name back if it is exactly one component of a path.
pub fn checked_name(name: &[u8]) -> Result<&[u8], NameError> {
    match name {
        [] => Err(NameError::Empty),
        b"." | b".." => Err(NameError::Dots),
        _ if name.contains(&b'/') => Err(NameError::Separator),
        _ if name.contains(&0) => Err(NameError::Nul),
        _ if name.len() > NAME_BYTES_MAX => Err(NameError::TooLong),
        _ => Ok(name),
    }
}

/// The name as Go's `strconv.Quote` writes it, without the quotes around it.
pub fn quote_name(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(name)
        && text.chars().all(stands_for_itself)
    {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        for symbol in chunk.valid().chars() {
            quote_symbol(&mut quoted, symbol);
        }
        for byte in chunk.invalid() {
            push_hex(&mut quoted, 'x', u32::from(*byte));
        }
    }
    Cow::Owned(quoted)
}

fn stands_for_itself(symbol: char) -> bool {
    is_print(symbol) && !matches!(symbol, '"' | '\\')
}

fn quote_symbol(quoted: &mut String, symbol: char) {
    let code = u32::from(symbol);
    match symbol {
        '"' => quoted.push_str("\\\""),
        '\\' => quoted.push_str("\\\\"),
        _ if is_print(symbol) => quoted.push(symbol),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0c' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x0b' => quoted.push_str("\\v"),
        '\0'..='\x1f' | '\x7f' => push_hex(quoted, 'x', code),
        '\u{80}'..='\u{ffff}' => push_hex(quoted, 'u', code),
        _ => push_hex(quoted, 'U', code),
    }
}

/// Appends a backslash, the kind of escape, and as many hex digits as that kind has.
fn push_hex(quoted: &mut String, kind: char, code: u32) {
    let width = hex_digits(kind);
    // Writing to a string cannot fail.
    let _ = write!(quoted, "\\{kind}{code:0width$x}");
}

fn hex_digits(kind: char) -> usize {
    match kind {
        'x' => 2,
        'u' => 4,
        _ => 8,
    }
}

/// The bytes of a quoted name, as Go's `strconv.Unquote` reads it; `None` if it is not quoted properly.
pub(super) fn unquote_name(quoted: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        let (plain, special) = rest.split_at_checked(at)?;
        name.extend_from_slice(plain.as_bytes());
        rest = unescape(special.strip_prefix('\\')?, &mut name)?;
    }
    name.extend_from_slice(rest.as_bytes());
    Some(name)
}

/// Reads what follows a backslash, appends what it stands for, and gives the rest.
fn unescape<'a>(text: &'a str, name: &mut Vec<u8>) -> Option<&'a str> {
    let kind = text.chars().next()?;
    let rest = text.get(kind.len_utf8()..)?;
    let byte = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '"' => u8::try_from(kind).ok()?,
        'x' => u8::try_from(digits(rest, 2, 16)?).ok()?,
        '0'..='7' => u8::try_from(digits(text, 3, 8)?).ok()?,
        'u' | 'U' => {
            let len = hex_digits(kind);
            let symbol = char::from_u32(digits(rest, len, 16)?)?;
            name.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes());
            return rest.get(len..);
        }
        _ => return None,
    };
    name.push(byte);
    match kind {
        'x' | '0'..='7' => rest.get(2..),
        _ => Some(rest),
    }
}

/// Reads exactly `len` digits.
fn digits(text: &str, len: usize, radix: u32) -> Option<u32> {
    let digits = text.get(..len)?;
    digits
        .chars()
        .try_fold(0u32, |value, digit| value.checked_mul(radix)?.checked_add(digit.to_digit(radix)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(name: &[u8], quoted: &str) {
        assert_eq!(quote_name(name), quoted, "{name:x?}");
        assert_eq!(unquote_name(quoted).as_deref(), Some(name), "{quoted}");
    }

    /// The rows of section 6.3, before JSON escapes them again.
    #[test]
    fn names_are_quoted_as_go_quotes_them() {
        check(b"plain <gt> & 'apo' percent%20 $x *", "plain <gt> & 'apo' percent%20 $x *");
        check(b"new\nline", r"new\nline");
        check(b"quo\"te", r#"quo\"te"#);
        check(b"back\\slash", r"back\\slash");
        check(b"\t\r\x07\x08\x0b\x0c\x1b\x7f\x00", r"\t\r\a\b\v\f\x1b\x7f\x00");
        check(b"invalid-\xff\xfe", r"invalid-\xff\xfe");
        check(b"trunc-\xe2\x82", r"trunc-\xe2\x82");
        check(b"\xed\xa0\x80 \xc0\xaf", r"\xed\xa0\x80 \xc0\xaf");
        check("\u{2028}\u{a0}\u{feff}\u{85}\u{ad}".as_bytes(), r"\u2028\u00a0\ufeff\u0085\u00ad");
        check("\u{1f600}ä\u{fffd}\u{61d}".as_bytes(), "\u{1f600}ä\u{fffd}\u{61d}");
        check("\u{e000}\u{e0001}\u{10ffff}".as_bytes(), r"\ue000\U000e0001\U0010ffff");
        check(b"", "");
    }

    #[test]
    fn unquoting_takes_what_go_takes() {
        for (quoted, name) in [
            (r"\101\377\000", Some(&b"A\xff\x00"[..])),
            (r"\xFf\u00E4\U0001F600", Some(b"\xff\xc3\xa4\xf0\x9f\x98\x80")),
            ("raw\ttab\u{85}", Some("raw\ttab\u{85}".as_bytes())),
            (r"\400", None),
            (r"\08", None),
            (r"\18", None),
            (r"\x1", None),
            (r"\x1g", None),
            (r"\x+1", None),
            (r"\ud800", None),
            (r"\U00110000", None),
            (r"\UFFFFFFFF", None),
            (r"\u123", None),
            (r"\uä1", None),
            (r"\'", None),
            (r"\e", None),
            (r"\ä", None),
            (r"\", None),
            (r#"a"b"#, None),
            ("a\nb", None),
        ] {
            assert_eq!(unquote_name(quoted).as_deref(), name, "{quoted}");
        }
    }

    #[test]
    fn only_single_components_are_names() {
        for (name, expected) in [
            (&b"a"[..], Ok(())),
            (b"...", Ok(())),
            (b" ", Ok(())),
            (b"\\", Ok(())),
            (b"\xff\n", Ok(())),
            (&[b'x'; 254], Ok(())),
            (&[b'x'; 255], Ok(())),
            (&[b'x'; 256], Err(NameError::TooLong)),
            (b"", Err(NameError::Empty)),
            (b".", Err(NameError::Dots)),
            (b"..", Err(NameError::Dots)),
            (b"/", Err(NameError::Separator)),
            (b"/etc", Err(NameError::Separator)),
            (b"a/b", Err(NameError::Separator)),
            (b"../x", Err(NameError::Separator)),
            (b"a\0b", Err(NameError::Nul)),
        ] {
            assert_eq!(checked_name(name).map(drop), expected, "{name:x?}");
        }
    }

    proptest! {
        #[test]
        fn quoting_and_unquoting_are_inverse(name: Vec<u8>) {
            prop_assert_eq!(unquote_name(&quote_name(&name)), Some(name));
        }

        #[test]
        fn quoting_and_unquoting_text_are_inverse(name: String) {
            prop_assert_eq!(unquote_name(&quote_name(name.as_bytes())), Some(name.into_bytes()));
        }

        #[test]
        fn no_text_makes_unquoting_panic(text in r#"(\\[abfnrtvxuU0-9"'\\ä]|[0-9a-fA-F"\n]){0,12}"#) {
            let _ = unquote_name(&text);
        }
    }
}
