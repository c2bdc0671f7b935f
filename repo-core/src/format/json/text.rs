//! What the reader does to the insides of strings.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Folds case as Go does, which also takes U+017F for s and U+212A for k; `None` if nothing changes.
pub(super) fn fold(text: &str) -> Option<String> {
    let folds = text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    folds.then(|| text.replace('\u{17f}', "s").replace('\u{212a}', "k").to_ascii_lowercase())
}

/// How many bytes come before the first quote, backslash or control character.
pub(super) fn plain_len(text: &[u8]) -> usize {
    /// This byte in all eight places of a word.
    const fn all(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let (words, _) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high bit of a byte is set if the byte is below 0x20, a quote or a backslash; a borrow can set
        // more, but only in the bytes after the first.
        let below = |word: u64, bound: u8| word.wrapping_sub(all(bound)) & !word & all(0x80);
        let special = below(word, 0x20) | below(word ^ all(b'"'), 1) | below(word ^ all(b'\\'), 1);
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let (done, rest) = (words.len() * 8, text.get(words.len() * 8..).unwrap_or_default());
    done + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count()
}

/// Text with every byte that is not UTF-8 replaced by U+FFFD.
pub(super) fn repaired(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// Drops the blanks between tokens and escapes what Go escapes inside strings.
pub(super) fn compact(json: &[u8]) -> Box<str> {
    let text = repaired(json);
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for symbol in text.chars() {
        match symbol {
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(symbol)); // a String takes everything
                continue;
            }
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = symbol == '\\' && !escaped;
        out.push(symbol);
    }
    out.into()
}
