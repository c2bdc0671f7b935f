//! The reader: pulls values from a byte slice, as liberal as Go and no more.
//!
//! Keys match without regard to case, a repeated key's last value wins, `null` leaves a field as it is,
//! invalid UTF-8 and lone surrogates become U+FFFD. Strings are borrowed where they need no change.
//! Nesting is bounded; nothing here panics or recurses deeper than that.

use std::borrow::Cow;

use super::Unknown;
use super::text::{compact, fold, plain_len, repaired};
use super::value::Value;
use crate::format::error::FormatError;
use crate::format::limits::JSON_DEPTH_MAX;
use crate::id::Id;
use crate::time::Time;

pub(super) type Result<T> = std::result::Result<T, FormatError>;

/// A field's name.
#[derive(Clone, Copy)]
pub(crate) struct Key<'k> {
    text: &'k str,
    folded: &'k str,
}

impl<'k> Key<'k> {
    /// The name in lower case, to match against: every field we know is written so, but for one `N`.
    pub(crate) fn name(self) -> &'k str {
        self.folded
    }
}

/// A place in a JSON text.
pub(crate) struct Reader<'a> {
    input: &'a [u8],
    /// The input again if all of it is UTF-8, which saves looking at each string.
    text: Option<&'a str>,
    at: usize,
    depth: usize,
    /// The last time read: in a node, the second one nearly always says the same again.
    time: (Cow<'a, str>, Time),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            text: str::from_utf8(input).ok(),
            at: 0,
            depth: 0,
            time: (Cow::Borrowed(""), Time::ZERO),
        }
    }

    /// Reads one object that is the whole text.
    pub(crate) fn record(input: &'a [u8], field: impl FnMut(&mut Self, Key<'_>) -> Result<()>) -> Result<()> {
        let mut json = Self::new(input);
        json.object(field)?;
        json.end()
    }

    /// Checks that nothing but white space follows.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.syntax()) }
    }

    /// Where the next value begins, in bytes.
    pub(crate) fn at(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// Reads an object, one call per field; the call reads the value.
    pub(crate) fn object(&mut self, mut field: impl FnMut(&mut Self, Key<'_>) -> Result<()>) -> Result<()> {
        self.open(b'{', "an object")?;
        if self.accept(b'}') {
            return self.close();
        }
        loop {
            let text = self.string()?;
            self.expect(b':')?;
            let folded = fold(&text);
            field(self, Key { text: &text, folded: folded.as_deref().unwrap_or(&text) })?;
            if self.accept(b'}') {
                return self.close();
            }
            self.expect(b',')?;
        }
    }

    /// Reads an array, one call per element; the call reads the element.
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.open(b'[', "an array")?;
        if self.accept(b']') {
            return self.close();
        }
        loop {
            element(self)?;
            if self.accept(b']') {
                return self.close();
            }
            self.expect(b',')?;
        }
    }

    /// Reads a value into a field; `null` leaves or empties it, as Go does for its type.
    pub(crate) fn set<T: Value>(&mut self, field: &mut T) -> Result<()> {
        if self.null() {
            field.set_null();
        } else {
            *field = T::read(self)?;
        }
        Ok(())
    }

    /// Keeps a field that the record does not know.
    pub(crate) fn keep(&mut self, key: Key<'_>, unknown: &mut Unknown) -> Result<()> {
        unknown.push((key.text.to_owned(), self.raw()?));
        Ok(())
    }

    /// Reads `null` if it is next.
    pub(crate) fn null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.word("null")
    }

    /// Reads any value and gives it as compact JSON.
    pub(crate) fn raw(&mut self) -> Result<Box<str>> {
        let start = self.at();
        self.skip()?;
        Ok(compact(self.input.get(start..self.at).unwrap_or_default()))
    }

    /// Reads any value and drops it.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'{') => self.object(|json, _| json.skip()),
            Some(b'[') => self.array(Self::skip),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number_text().map(drop),
            _ if self.word("true") || self.word("false") || self.word("null") => Ok(()),
            _ => Err(self.syntax()),
        }
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong("a string"));
        }
        self.at += 1;
        let rest = self.rest();
        let Some((plain, [end, ..])) = rest.split_at_checked(plain_len(rest)) else {
            return Err(self.syntax());
        };
        let start = self.at;
        self.at += plain.len();
        match end {
            b'"' => {
                self.at += 1;
                let text = self.text.and_then(|text| text.get(start..start + plain.len()));
                Ok(text.map_or_else(|| repaired(plain), Cow::Borrowed))
            }
            b'\\' => self.string_with_escapes(repaired(plain).into_owned()).map(Cow::Owned),
            _ => Err(self.syntax()),
        }
    }

    /// Reads the rest of a string from its first escape on.
    fn string_with_escapes(&mut self, mut text: String) -> Result<String> {
        loop {
            let rest = self.rest();
            let Some((plain, [end, ..])) = rest.split_at_checked(plain_len(rest)) else {
                return Err(self.syntax());
            };
            text.push_str(&repaired(plain));
            self.at += plain.len() + 1;
            match end {
                b'"' => return Ok(text),
                b'\\' => text.push(self.escape()?),
                _ => return Err(self.syntax()),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char> {
        let byte = self.rest().first().copied().ok_or_else(|| self.syntax())?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex4(0).ok_or_else(|| self.syntax())?;
                self.at += 4;
                char::from_u32(unit).unwrap_or_else(|| self.low_surrogate(unit))
            }
            _ => return Err(self.syntax()),
        })
    }

    /// Completes a surrogate pair; a lone one becomes U+FFFD and what follows is read by itself.
    fn low_surrogate(&mut self, high: u32) -> char {
        let low = if self.rest().starts_with(br"\u") { self.hex4(2) } else { None };
        match (high, low) {
            (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
                self.at += 6;
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => char::REPLACEMENT_CHARACTER,
        }
    }

    /// Four hex digits that begin `skip` bytes ahead.
    fn hex4(&self, skip: usize) -> Option<u32> {
        let digits = self.rest().get(skip..skip + 4)?;
        digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
    }

    /// Reads an integer without a sign.
    pub(super) fn unsigned<T: TryFrom<u64>>(&mut self) -> Result<T> {
        let start = self.at();
        let mut value = Some(0u64);
        while let Some(digit @ b'0'..=b'9') = self.input.get(self.at) {
            value = value.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            self.at += 1;
        }
        if self.at == start {
            return Err(self.wrong("an unsigned integer"));
        }
        let leading_zero = self.at > start + 1 && self.input.get(start) == Some(&b'0');
        let more = matches!(self.rest().first(), Some(b'.' | b'e' | b'E'));
        let value = value.filter(|_| !leading_zero && !more).and_then(|value| T::try_from(value).ok());
        value.ok_or(FormatError::Value { at: start, expected: "an unsigned integer in range" })
    }

    /// Reads an integer that may have a sign.
    pub(super) fn signed(&mut self) -> Result<i64> {
        let at = self.at();
        if !matches!(self.rest().first(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.wrong("an integer"));
        }
        self.number_text()?.parse().map_err(|_| FormatError::Value { at, expected: "an integer in range" })
    }

    /// Reads `true` or `false`.
    pub(super) fn bool(&mut self) -> Result<bool> {
        self.peek();
        let found = self.word("true");
        if found || self.word("false") { Ok(found) } else { Err(self.wrong("true or false")) }
    }

    /// Reads an RFC 3339 time.
    pub(super) fn time(&mut self) -> Result<Time> {
        let at = self.at();
        let text = self.string()?;
        if text != self.time.0 || text.is_empty() {
            let expected = "an RFC 3339 time";
            self.time.1 = text.parse().map_err(|_| FormatError::Value { at, expected })?;
            self.time.0 = text;
        }
        Ok(self.time.1)
    }

    /// Reads a number as text, by the grammar of JSON.
    fn number_text(&mut self) -> Result<&'a str> {
        let start = self.at;
        self.accept_here(b'-');
        if !self.accept_here(b'0') {
            self.digits()?;
        }
        if self.accept_here(b'.') {
            self.digits()?;
        }
        if self.accept_here(b'e') || self.accept_here(b'E') {
            let _ = self.accept_here(b'+') || self.accept_here(b'-');
            self.digits()?;
        }
        let text = self.input.get(start..self.at).unwrap_or_default();
        str::from_utf8(text).map_err(|_| self.syntax())
    }

    /// Steps over one digit or more.
    fn digits(&mut self) -> Result<()> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.syntax()) } else { Ok(()) }
    }

    /// Reads 64 hex digits.
    pub(super) fn id(&mut self) -> Result<Id> {
        let start = self.at();
        self.string()?.parse().map_err(|_| FormatError::Value { at: start, expected: "64 hex digits" })
    }

    fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.input.get(self.at) {
            self.at += 1;
        }
        self.input.get(self.at).copied()
    }

    /// Steps over `byte` if it is next after white space.
    fn accept(&mut self, byte: u8) -> bool {
        self.peek() == Some(byte) && self.accept_here(byte)
    }

    /// Steps over `byte` if it stands right here.
    fn accept_here(&mut self, byte: u8) -> bool {
        let found = self.input.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.accept(byte) { Ok(()) } else { Err(self.syntax()) }
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<()> {
        if !self.accept(bracket) {
            return Err(self.wrong(expected));
        }
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX { Err(FormatError::TooDeep { at: self.at }) } else { Ok(()) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it ends functions that give a result")]
    fn close(&mut self) -> Result<()> {
        self.depth -= 1;
        Ok(())
    }

    /// The text is no JSON from here on.
    fn syntax(&self) -> FormatError {
        FormatError::Syntax { at: self.at }
    }

    /// The text may be JSON, but another kind of value is wanted here.
    fn wrong(&self, expected: &'static str) -> FormatError {
        match self.rest().first() {
            Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                FormatError::Value { at: self.at, expected }
            }
            _ => self.syntax(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `expected` is `None` for text that is refused.
    fn check_string(text: &[u8], expected: Option<&str>) {
        let mut json = Reader::new(text);
        let read = json.string().ok().filter(|_| json.peek().is_none());
        assert_eq!(read.as_deref(), expected, "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn strings_are_read_as_go_reads_them() {
        check_string(br#" "plain / ' <" "#, Some("plain / ' <"));
        check_string(br#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\x08\x0c\n\r\t"));
        check_string(br#""\u00e4\u00E4\u2028""#, Some("ää\u{2028}"));
        check_string(br#""\ud83d\ude00""#, Some("\u{1f600}"));
        check_string(br#""\ud83dx""#, Some("\u{fffd}x"));
        check_string(br#""\ud83d\u0041""#, Some("\u{fffd}A"));
        check_string(br#""\ud83d\ud83d\ude00""#, Some("\u{fffd}\u{1f600}"));
        check_string(br#""\ude00\ud83d""#, Some("\u{fffd}\u{fffd}"));
        check_string(b"\"x\xe2\x82y\xff\"", Some("x\u{fffd}\u{fffd}y\u{fffd}"));
        check_string(b"\"\xff\\n\xfe\"", Some("\u{fffd}\n\u{fffd}"));
        for refused in
            [&br#""\x41""#[..], br#""\u12""#, br#""\u12g4""#, b"\"", b"\"\\", b"\"\n\"", b"\"\\n\x1f\"", b"x"]
        {
            check_string(refused, None);
        }
    }

    #[test]
    fn integers_keep_to_their_width() {
        fn check<T: Value + PartialEq + std::fmt::Debug>(text: &str, expected: Option<&T>) {
            let mut json = Reader::new(text.as_bytes());
            let read = T::read(&mut json).ok().filter(|_| json.peek().is_none());
            assert_eq!(read.as_ref(), expected, "{text}");
        }
        check("4294967295", Some(&u32::MAX));
        check::<u32>("4294967296", None);
        check("18446744073709551615", Some(&u64::MAX));
        check::<u64>("18446744073709551616", None);
        check("-9223372036854775808", Some(&i64::MIN));
        for refused in ["-1", "-0", "1.0", "1e3", "01", "+1", "", "-", "\"1\"", "null", "0x1", "1."] {
            check::<u64>(refused, None);
        }
    }

    #[test]
    fn fields_are_filled_as_go_fills_them() {
        let text = br#"{"A":1,"a":2,"text":"x","text":null,"list":[1],"list":null,"some":7,"some":null,"\u212aey":9}"#;
        let (mut a, mut text_field, mut list, mut some, mut folded) =
            (0u64, String::new(), vec![0u64], Some(0u64), 0u64);
        Reader::record(text, |json, key| match key.name() {
            "a" => json.set(&mut a),
            "text" => json.set(&mut text_field),
            "list" => json.set(&mut list),
            "some" => json.set(&mut some),
            "key" => json.set(&mut folded),
            _ => json.skip(),
        })
        .unwrap();
        assert_eq!((a, &*text_field, list, some, folded), (2, "x", vec![], None, 9));
    }

    #[test]
    fn kept_values_become_compact() {
        fn check(text: &[u8], expected: &str) {
            assert_eq!(&*Reader::new(text).raw().unwrap(), expected);
        }
        check(b" { \"a b\" : [ 1 , 2.5e3 ] } ", r#"{"a b":[1,2.5e3]}"#);
        check(br#""a \" b <&>""#, r#""a \" b \u003c\u0026\u003e""#);
        check(br#"["\\", " "]"#, r#"["\\"," "]"#);
        check(b"\"\xff\"", "\"\u{fffd}\"");
    }

    #[test]
    fn depth_is_bounded() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for (depth, good) in
                [(JSON_DEPTH_MAX - 1, true), (JSON_DEPTH_MAX, true), (JSON_DEPTH_MAX + 1, false)]
            {
                let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                assert_eq!(Reader::new(text.as_bytes()).skip().is_ok(), good, "{depth}");
            }
        }
        assert!(Reader::new("[".repeat(1_000_000).as_bytes()).skip().is_err());
    }

    /// Whether all of `text` is one JSON value, and the value as compact text.
    fn whole(text: &[u8]) -> Option<Box<str>> {
        let mut json = Reader::new(text);
        json.raw().ok().filter(|_| json.peek().is_none())
    }

    proptest! {
        /// The oracle is `serde_json`, which agrees with Go about what is JSON where text is UTF-8, apart
        /// from lone surrogates and numbers that no `f64` holds.
        #[test]
        fn accepts_what_is_json_and_nothing_else(
            text in r#"([\[\]{},:" -]|"[a\\"]*"|-?[0-9.eE]{1,3}|true|null|\\u00[0-9a-f]{2}){0,12}"#,
        ) {
            let oracle = serde_json::from_str::<serde_json::Value>(&text);
            let ours = whole(text.as_bytes());
            prop_assert_eq!(ours.is_some(), oracle.is_ok());
            if let (Some(ours), Ok(oracle)) = (ours, oracle) {
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&ours).unwrap(), oracle);
            }
        }

        #[test]
        fn strings_survive_the_way_through_text(text: String) {
            let mut out = Vec::new();
            crate::format::json::write_string(&mut out, text.as_bytes());
            prop_assert_eq!(&*Reader::new(&out).string().unwrap(), &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Reader::new(&bytes).raw();
            let _ = Reader::new(&bytes).string();
        }
    }
}
