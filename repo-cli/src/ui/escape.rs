//! Names from outside → text that a terminal cannot be tricked with.
//!
//! A name with control characters, invisible characters or bytes that are no UTF-8 is shown in quotes with
//! escapes, as restic shows it; any other name as it is.

use std::fmt::Write;

/// A name for people: as it is if all of it can be seen, else quoted.
pub fn visible(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if text.chars().all(is_graphic) => text.to_owned(),
        _ => quoted(name),
    }
}

/// The same for text that came through `Display`.
pub fn visible_text(text: &str) -> String {
    if text.chars().all(|symbol| symbol == '\n' || is_graphic(symbol)) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut out, symbol| {
        if symbol == '\n' || is_graphic(symbol) {
            out.push(symbol);
        } else {
            escape(&mut out, symbol);
        }
        out
    })
}

/// Whether a terminal shows the character as itself. The space is the only blank that does.
fn is_graphic(symbol: char) -> bool {
    if symbol.is_control() || symbol == char::REPLACEMENT_CHARACTER {
        return false;
    }
    !matches!(u32::from(symbol),
        0x00a0 | 0x00ad | 0x0600..=0x0605 | 0x061c | 0x06dd | 0x070f | 0x1680 | 0x180e
        | 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0x3000 | 0xd800..=0xf8ff
        | 0xfeff | 0xfff9..=0xfffb | 0xfffe | 0xffff | 0xe_0000..=0xe_0fff | 0xf_0000..=0x10_ffff)
}

fn quoted(name: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in name.utf8_chunks() {
        for symbol in chunk.valid().chars() {
            match symbol {
                '"' | '\\' => {
                    out.push('\\');
                    out.push(symbol);
                }
                _ if is_graphic(symbol) => out.push(symbol),
                _ => escape(&mut out, symbol),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, symbol: char) {
    let short = match symbol {
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        _ => "",
    };
    out.push_str(short);
    let code = u32::from(symbol);
    let _ = match code {
        _ if !short.is_empty() => Ok(()),
        0..=0x7f => write!(out, "\\x{code:02x}"),
        0x80..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_anything_unseen_are_quoted() {
        let check = |name: &[u8], expected: &str| assert_eq!(visible(name), expected, "{name:?}");
        check(b"/odd/plain name", "/odd/plain name");
        check("/odd/ünï 😀".as_bytes(), "/odd/ünï 😀");
        check(br#"quo"te\"#, r#"quo"te\"#);
        check(b"new\nline", r#""new\nline""#);
        check(b"esc\x1b[31m", r#""esc\x1b[31m""#);
        check(b"inv\xff", r#""inv\xff""#);
        check("nbsp\u{a0}".as_bytes(), r#""nbsp\u00a0""#);
        check("rtl\u{202e}".as_bytes(), r#""rtl\u202e""#);
        check(b"\"\n\\", r#""\"\n\\""#);
        check("c1\u{9b}".as_bytes(), r#""c1\u009b""#);
    }

    #[test]
    fn messages_keep_their_lines_and_lose_their_control_characters() {
        assert_eq!(visible_text("one\ntwo\x1b[2J"), "one\ntwo\\x1b[2J");
    }
}
