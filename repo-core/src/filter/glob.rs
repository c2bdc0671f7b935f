//! One name against one wildcard, by the rules of Go's `filepath.Match`.
//!
//! In: a wildcard of one path component. Out: whether a name matches. `*` is any run of bytes, `?` one
//! character, `[a-z]` and `[^a-z]` one character of a class, `\x` the character x itself. Names need not be
//! UTF-8: a byte that is no part of a character counts as one, and to classes looks like U+FFFD.

/// A broken wildcard: an open bracket, an empty class, a backslash at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadGlob;

/// A wildcard, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Chunk>);

/// What stands between two stars.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Chunk {
    after_star: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyCharacter,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Takes a wildcard apart.
    pub(super) fn parse(pattern: &[u8]) -> Result<Self, BadGlob> {
        let mut chunks = vec![Chunk::default()];
        let mut rest = pattern;
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            let token = match first {
                b'*' => {
                    // Neighbouring stars are one, and nothing stands before a star at the start.
                    match chunks.last_mut() {
                        Some(last) if last.tokens.is_empty() => last.after_star = true,
                        _ => chunks.push(Chunk { after_star: true, tokens: Vec::new() }),
                    }
                    continue;
                }
                b'?' => Token::AnyCharacter,
                b'[' => class(&mut rest)?,
                b'\\' => {
                    let (&escaped, after) = rest.split_first().ok_or(BadGlob)?;
                    rest = after;
                    Token::Byte(escaped)
                }
                byte => Token::Byte(byte),
            };
            if let Some(chunk) = chunks.last_mut() {
                chunk.tokens.push(token);
            }
        }
        Ok(Self(chunks))
    }

    /// Whether the whole name matches.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let mut name = name;
        for (at, chunk) in self.0.iter().enumerate() {
            let is_last = at + 1 == self.0.len();
            if chunk.after_star && chunk.tokens.is_empty() {
                return true; // a star at the end takes all the rest
            }
            // The last chunk must reach the end of the name; the others take the first place that fits.
            let fits = |start: &[u8]| chunk.strip_from(start).is_some_and(|rest| !is_last || rest.is_empty());
            let skips = if chunk.after_star { 0..=name.len() } else { 0..=0 };
            let Some(skip) = skips.into_iter().find(|&skip| name.get(skip..).is_some_and(&fits)) else {
                return false;
            };
            name = name.get(skip..).and_then(|start| chunk.strip_from(start)).unwrap_or_default();
        }
        name.is_empty()
    }
}

impl Chunk {
    /// What is left of the name behind this chunk, if it starts with it.
    fn strip_from<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        self.tokens.iter().try_fold(name, |name, token| {
            let len = match token {
                Token::Byte(byte) => usize::from(name.first() == Some(byte)),
                Token::AnyCharacter => first_char(name)?.1,
                Token::Class { negated, ranges } => {
                    let (character, len) = first_char(name)?;
                    let inside = ranges.iter().any(|(low, high)| (low..=high).contains(&&character));
                    if inside == *negated { 0 } else { len }
                }
            };
            if len == 0 { None } else { name.get(len..) }
        })
    }
}

/// Reads a class behind its opening bracket.
fn class(rest: &mut &[u8]) -> Result<Token, BadGlob> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    while ranges.is_empty() || rest.first() != Some(&b']') {
        let low = class_char(rest)?;
        let mut high = low;
        if rest.first() == Some(&b'-') {
            *rest = &rest[1..];
            high = class_char(rest)?;
        }
        ranges.push((low, high));
    }
    *rest = &rest[1..];
    Ok(Token::Class { negated, ranges })
}

/// One character inside a class; the class does not end with it.
fn class_char(rest: &mut &[u8]) -> Result<char, BadGlob> {
    if let Some(b'-' | b']') = rest.first() {
        return Err(BadGlob);
    }
    if rest.first() == Some(&b'\\') {
        *rest = &rest[1..];
    }
    let (character, len) = first_char(rest).ok_or(BadGlob)?;
    if character == char::REPLACEMENT_CHARACTER && len == 1 {
        return Err(BadGlob);
    }
    *rest = &rest[len..];
    if rest.is_empty() { Err(BadGlob) } else { Ok(character) }
}

/// The first character and its length; a byte that starts none is U+FFFD of length 1, as in Go.
pub(super) fn first_char(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    let len = match first {
        0..0x80 => return Some((char::from(first), 1)),
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => 1,
    };
    let text = bytes.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
    Some(text.and_then(|text| text.chars().next()).map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: Result<bool, BadGlob>) {
        let found = Glob::parse(pattern.as_bytes()).map(|glob| glob.matches(name.as_bytes()));
        assert_eq!(found, expected, "{pattern} on {name}");
    }

    #[test]
    fn wildcards_match_as_in_go() {
        let yes = [
            ("abc", "abc"),
            ("*", ""),
            ("*", "abc"),
            ("*c", "abc"),
            ("a*", "a"),
            ("a*", "abc"),
            ("***", "abc"),
            ("a*b*c*d*e*", "axbxcxdxexxx"),
            ("a*b?c*x", "abxbbxdbxebxczzx"),
            ("*ab", "aab"),
            ("*a?", "aab"),
            ("ab[c]", "abc"),
            ("ab[b-d]", "abc"),
            ("ab[^e-g]", "abc"),
            ("a\\*b", "a*b"),
            ("a?b", "a☺b"),
            ("a[^a]b", "a☺b"),
            ("[a-ζ]*", "α"),
            ("[\\]a]", "]"),
            ("[\\-]", "-"),
            ("[x\\-]", "-"),
            ("[\\-x]", "x"),
            ("[[]x].txt", "[x].txt"),
            ("*x", "xxx"),
            ("a-b]", "a-b]"),
            ("", ""),
        ];
        for (pattern, name) in yes {
            check(pattern, name, Ok(true));
        }
        let no = [
            ("abc", "abd"),
            ("a*b?c*x", "abxbbxdbxebxczzy"),
            ("ab[e-g]", "abc"),
            ("ab[^c]", "abc"),
            ("ab[^b-d]", "abc"),
            ("a\\*b", "ab"),
            ("a???b", "a☺b"),
            ("a[^a][^a][^a]b", "a☺b"),
            ("*[a-ζ]", "A"),
            ("[x\\-]", "z"),
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("[a]", ""),
        ];
        for (pattern, name) in no {
            check(pattern, name, Ok(false));
        }
    }

    #[test]
    fn broken_wildcards_are_told() {
        for pattern in [
            "[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "a*[", "[a\\", "*\\",
            "[a-]b]",
        ] {
            check(pattern, "a", Err(BadGlob));
        }
        assert_eq!(Glob::parse(b"[\xff]"), Err(BadGlob));
    }

    #[test]
    fn bytes_that_are_no_text_count_as_characters() {
        let matches = |pattern: &[u8], name: &[u8]| Glob::parse(pattern).unwrap().matches(name);
        assert!(matches(b"?", b"\xff"));
        assert!(matches(b"\xff*", b"\xffx"));
        assert!(matches(b"???", b"\xed\xa0\x80"));
        assert!(!matches(b"?", b"\xed\xa0\x80"));
        assert!(matches("[\u{fffd}]".as_bytes(), b"\xfe"));
        assert!(!matches(b"\xff", b"\xfe"));
        // A star gives way byte by byte, so that a question mark may take the rest of a character.
        assert!(matches(b"*??", "☺".as_bytes()));
    }
}
