//! Patterns from a text file.
//!
//! In: the file's bytes, and the variables of the environment as a function. Out: one pattern per line, without
//! blanks around it, comments and empty lines; `$NAME` and `${NAME}` are replaced, `$$` is a dollar sign.

use std::borrow::Cow;

use super::glob::first_char;

/// The patterns in a file's content, as they would be typed.
///
/// ```
/// let home = |name: &str| (name == "HOME").then(|| "/home/ann".to_owned());
/// let lines = repo_core::filter::pattern_lines(b"# caches\n  $HOME/.cache \n", home);
/// assert_eq!(lines, [b"/home/ann/.cache"]);
/// ```
pub fn pattern_lines(content: &[u8], variable: impl Fn(&str) -> Option<String>) -> Vec<Vec<u8>> {
    let text = decode_text(content);
    text.split(|&byte| byte == b'\n')
        .map(trim)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| expand(line, &variable))
        .collect()
}

/// The text without its byte order mark; UTF-16 is told by that mark and becomes UTF-8.
pub fn decode_text(content: &[u8]) -> Cow<'_, [u8]> {
    let units = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.chunks(2).map(|pair| match pair {
            [first, second] => unit([*first, *second]),
            _ => 0xfffd, // half a unit at the end
        });
        let text: String =
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        Cow::Owned(text.into_bytes())
    };
    if let Some(rest) = content.strip_prefix(b"\xef\xbb\xbf") {
        Cow::Borrowed(rest)
    } else if let Some(rest) = content.strip_prefix(b"\xff\xfe") {
        units(rest, u16::from_le_bytes)
    } else if let Some(rest) = content.strip_prefix(b"\xfe\xff") {
        units(rest, u16::from_be_bytes)
    } else {
        Cow::Borrowed(content)
    }
}

/// The line without white space around it.
fn trim(line: &[u8]) -> &[u8] {
    let (mut start, mut end, mut at) = (line.len(), 0, 0);
    while let Some((character, len)) = line.get(at..).and_then(first_char) {
        if !character.is_whitespace() {
            start = start.min(at);
            end = at + len;
        }
        at += len;
    }
    line.get(start..end).unwrap_or_default()
}

/// Replaces variables as Go's `os.Expand` does; unknown ones become nothing.
fn expand(line: &[u8], variable: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'$' || after.is_empty() {
            expanded.push(first);
            continue;
        }
        let (name, len) = shell_name(after);
        rest = after.get(len..).unwrap_or_default();
        match name {
            b"" if len == 0 => expanded.push(b'$'), // no name follows
            b"" => {}                               // `${}` and an open brace are dropped
            b"$" => expanded.push(b'$'),
            name => {
                let value = std::str::from_utf8(name).ok().and_then(&variable);
                expanded.extend_from_slice(value.unwrap_or_default().as_bytes());
            }
        }
    }
    expanded
}

/// The name that follows a dollar sign, and how many bytes it takes with its braces.
fn shell_name(text: &[u8]) -> (&[u8], usize) {
    let is_special = |byte: &u8| b"*#$@!?-0123456789".contains(byte);
    match text {
        [b'{', special, b'}', ..] if is_special(special) => (&text[1..2], 3),
        [b'{', rest @ ..] => match rest.iter().position(|&byte| byte == b'}') {
            Some(len) => (&rest[..len], len + 2),
            None => (b"", 1),
        },
        [special, ..] if is_special(special) => (&text[..1], 1),
        _ => {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let len = text.iter().position(|byte| !is_word(byte)).unwrap_or(text.len());
            (&text[..len], len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &[u8]) -> Vec<String> {
        let variable = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
        let lines = pattern_lines(content, variable);
        lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn blanks_comments_and_empty_lines_vanish() {
        let content = "\n  # comment\n\t*.o \r\n\u{a0}a b\u{2003}\n#x\n!keep # not a comment";
        assert_eq!(lines(content.as_bytes()), ["*.o", "a b", "!keep # not a comment"]);
    }

    #[test]
    fn variables_are_replaced_as_go_replaces_them() {
        let check = |line: &str, expected: &str| assert_eq!(lines(line.as_bytes()), [expected], "{line}");
        check("$HOME/x", "/home/u/x");
        check("${HOME}x", "/home/ux");
        check("a$$b", "a$b");
        check("a${$}b", "a$b");
        check("x$UNKNOWN/y", "x/y");
        check("x$*y", "xy");
        check("a${}b", "ab");
        check("a${HOME", "aHOME");
        check("a$", "a$");
        check("a$ b", "a$ b");
        check("$HOMER$HOME", "/home/u");
    }

    #[test]
    fn byte_order_marks_are_understood() {
        assert_eq!(lines(b"\xef\xbb\xbfa"), ["a"]);
        assert_eq!(lines(b"\xff\xfea\0\n\0\xe4\0"), ["a", "ä"]);
        assert_eq!(lines(b"\xfe\xff\0a\0\n\xd8\x3d\xde\x00"), ["a", "😀"]);
        assert_eq!(lines(b"\xff\xfe\x00\xd8a"), ["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn line_that_is_no_text_stays_as_it_is() {
        assert_eq!(pattern_lines(b" \xff\xfe/x \n", |_| None), [b"\xff\xfe/x"]);
    }
}
