//! Times written after a sample, as Go does it.
//!
//! The sample is the moment `Mon Jan 2 15:04:05 MST 2006`, written as the user likes; `2006-01-02` asks for
//! `2024-05-06`. Source: the constants and the rules of Go's package `time`. Pure.

use std::fmt::Write;

use crate::time::{Civil, Time, Zone};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// What a piece of a sample asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Year,
    ShortYear,
    Month,
    ShortMonth,
    Number(Field, Pad),
    Weekday,
    ShortWeekday,
    UpperHalf,
    LowerHalf,
    ZoneName,
    /// An offset, with `Z` for none; its parts and whether colons stand between them.
    Offset {
        z: bool,
        parts: u8,
        colons: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Month,
    Day,
    DayOfYear,
    Hour,
    Hour12,
    Minute,
    Second,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pad {
    No,
    Zero,
    Blank,
}

/// Samples, of those that begin alike the longest first.
const PIECES: &[(&str, Piece)] = &[
    ("January", Piece::Month),
    ("Jan", Piece::ShortMonth),
    ("Monday", Piece::Weekday),
    ("Mon", Piece::ShortWeekday),
    ("MST", Piece::ZoneName),
    ("002", Piece::Number(Field::DayOfYear, Pad::Zero)),
    ("01", Piece::Number(Field::Month, Pad::Zero)),
    ("02", Piece::Number(Field::Day, Pad::Zero)),
    ("03", Piece::Number(Field::Hour12, Pad::Zero)),
    ("04", Piece::Number(Field::Minute, Pad::Zero)),
    ("05", Piece::Number(Field::Second, Pad::Zero)),
    ("06", Piece::ShortYear),
    ("15", Piece::Number(Field::Hour, Pad::Zero)),
    ("1", Piece::Number(Field::Month, Pad::No)),
    ("2006", Piece::Year),
    ("2", Piece::Number(Field::Day, Pad::No)),
    ("__2", Piece::Number(Field::DayOfYear, Pad::Blank)),
    ("_2", Piece::Number(Field::Day, Pad::Blank)),
    ("3", Piece::Number(Field::Hour12, Pad::No)),
    ("4", Piece::Number(Field::Minute, Pad::No)),
    ("5", Piece::Number(Field::Second, Pad::No)),
    ("PM", Piece::UpperHalf),
    ("pm", Piece::LowerHalf),
    ("-070000", Piece::Offset { z: false, parts: 3, colons: false }),
    ("-07:00:00", Piece::Offset { z: false, parts: 3, colons: true }),
    ("-0700", Piece::Offset { z: false, parts: 2, colons: false }),
    ("-07:00", Piece::Offset { z: false, parts: 2, colons: true }),
    ("-07", Piece::Offset { z: false, parts: 1, colons: false }),
    ("Z070000", Piece::Offset { z: true, parts: 3, colons: false }),
    ("Z07:00:00", Piece::Offset { z: true, parts: 3, colons: true }),
    ("Z0700", Piece::Offset { z: true, parts: 2, colons: false }),
    ("Z07:00", Piece::Offset { z: true, parts: 2, colons: true }),
    ("Z07", Piece::Offset { z: true, parts: 1, colons: false }),
];

/// Writes a time after Go's sample date.
///
/// A time keeps the offset that it was recorded with. The name of its zone is that of `zone` if the offsets are
/// equal, `UTC` for none, and the offset otherwise.
///
/// ```
/// use repo_core::time::{Time, Timestamp, Zone};
/// use repo_core::view::format_go_time;
///
/// let time = Time { instant: Timestamp { seconds: 1_714_979_289, nanos: 0 }, offset_seconds: 7200 };
/// assert_eq!(format_go_time("Mon _2 Jan 2006, 3:04pm", time, &Zone::UTC), "Mon  6 May 2024, 9:08am");
/// assert_eq!(format_go_time("2006-01-02T15:04:05Z07:00", time, &Zone::UTC), "2024-05-06T09:08:09+02:00");
/// ```
pub fn format(sample: &str, time: Time, zone: &Zone) -> String {
    let mut out = String::new();
    let mut rest = sample;
    while let Some(letter) = rest.chars().next() {
        let before = out.len();
        let len = if let Some((text, piece)) = piece(rest) {
            write_piece(&mut out, piece, time, zone);
            text.len()
        } else if let Some(len) = fraction(rest) {
            write_fraction(&mut out, &rest[..len], time.instant.nanos);
            len
        } else {
            out.push(letter);
            letter.len_utf8()
        };
        debug_assert!(len > 0 && out.len() >= before);
        rest = &rest[len..];
    }
    out
}

fn piece(rest: &str) -> Option<(&'static str, Piece)> {
    // `_2006` is an underscore and a year.
    if rest.starts_with("_2006") {
        return None;
    }
    let (text, piece) = *PIECES.iter().find(|(text, _)| rest.starts_with(text))?;
    // `Jane` and `Month` are words.
    let is_word = matches!(piece, Piece::ShortMonth | Piece::ShortWeekday)
        && rest[text.len()..].starts_with(|next: char| next.is_ascii_lowercase());
    (!is_word).then_some((text, piece))
}

/// The length of `.000` or `,999`, if it stands here and no further digit follows.
fn fraction(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digit = *bytes.get(1)?;
    if !matches!(bytes[0], b'.' | b',') || !matches!(digit, b'0' | b'9') {
        return None;
    }
    let len = 1 + bytes[1..].iter().take_while(|byte| **byte == digit).count();
    (!bytes.get(len).is_some_and(u8::is_ascii_digit)).then_some(len)
}

/// Zeros ask for that many digits, nines for at most that many.
fn write_fraction(out: &mut String, sample: &str, nanos: u32) {
    let mut digits = format!("{nanos:09}");
    let wanted = sample.len() - 1;
    digits.truncate(wanted);
    let cut = if sample.ends_with('9') { digits.trim_end_matches('0') } else { &digits };
    if sample.ends_with('9') && cut.is_empty() {
        return;
    }
    out.push_str(&sample[..1]);
    out.push_str(cut);
    out.extend(std::iter::repeat_n('0', if sample.ends_with('0') { wanted.saturating_sub(9) } else { 0 }));
}

fn write_piece(out: &mut String, piece: Piece, time: Time, zone: &Zone) {
    let civil = time.civil();
    let month = MONTHS[usize::from(civil.month) - 1];
    let weekday = DAYS[weekday(civil)];
    match piece {
        Piece::Year => put(out, format_args!("{:04}", civil.year)),
        Piece::ShortYear => put(out, format_args!("{:02}", civil.year.rem_euclid(100))),
        Piece::Month => out.push_str(month),
        Piece::ShortMonth => out.push_str(&month[..3]),
        Piece::Weekday => out.push_str(weekday),
        Piece::ShortWeekday => out.push_str(&weekday[..3]),
        Piece::UpperHalf => out.push_str(if civil.hour < 12 { "AM" } else { "PM" }),
        Piece::LowerHalf => out.push_str(if civil.hour < 12 { "am" } else { "pm" }),
        Piece::ZoneName => write_zone_name(out, time, zone),
        Piece::Offset { z: true, .. } if time.offset_seconds == 0 => out.push('Z'),
        Piece::Offset { parts, colons, .. } => write_offset(out, time.offset_seconds, parts, colons),
        Piece::Number(field, pad) => {
            let (number, width) = match field {
                Field::Month => (civil.month.into(), 2),
                Field::Day => (civil.day.into(), 2),
                Field::DayOfYear => (day_of_year(civil), 3),
                Field::Hour => (civil.hour.into(), 2),
                Field::Hour12 => ((i64::from(civil.hour) + 11) % 12 + 1, 2),
                Field::Minute => (civil.minute.into(), 2),
                Field::Second => (civil.second.into(), 2),
            };
            match pad {
                Pad::No => put(out, format_args!("{number}")),
                Pad::Zero => put(out, format_args!("{number:0width$}")),
                Pad::Blank => put(out, format_args!("{number:width$}")),
            }
        }
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

fn write_zone_name(out: &mut String, time: Time, zone: &Zone) {
    if time.offset_seconds == 0 {
        out.push_str("UTC");
    } else if zone.at(time.instant).offset_seconds == time.offset_seconds {
        out.push_str(&zone.abbreviation(time.instant));
    } else {
        write_offset(out, time.offset_seconds, 2, false);
    }
}

fn write_offset(out: &mut String, seconds: i32, parts: u8, colons: bool) {
    out.push(if seconds < 0 { '-' } else { '+' });
    let seconds = seconds.unsigned_abs();
    let numbers = [seconds / 3600, seconds / 60 % 60, seconds % 60];
    for (at, number) in numbers.iter().take(parts.into()).enumerate() {
        let colon = if colons && at > 0 { ":" } else { "" };
        put(out, format_args!("{colon}{number:02}"));
    }
}

fn days(civil: Civil) -> i64 {
    civil.to_seconds().div_euclid(86_400)
}

fn weekday(civil: Civil) -> usize {
    // The epoch was a Thursday.
    usize::try_from((days(civil) + 4).rem_euclid(7)).expect("below 7")
}

fn day_of_year(civil: Civil) -> i64 {
    days(civil) - days(Civil { month: 1, day: 1, ..civil }) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn at(text: &str) -> Time {
        text.parse().expect("a time")
    }

    fn check(sample: &str, expected: &str) {
        // Monday, the 127th day of a leap year.
        let time = at("2024-05-06T15:08:09.0120304+02:00");
        assert_eq!(format(sample, time, &Zone::UTC), expected, "{sample}");
    }

    #[test]
    fn every_sample_asks_for_its_part_of_the_time() {
        check("2006 06 January Jan 01 1 Monday Mon 02 2 _2", "2024 24 May May 05 5 Monday Mon 06 6  6");
        check("002 __2 15 03 3 04 4 05 5 PM pm", "127 127 15 03 3 08 8 09 9 PM pm");
        check("-07 -0700 -07:00 -070000 -07:00:00", "+02 +0200 +02:00 +020000 +02:00:00");
        check("Z07 Z0700 Z07:00 Z070000 Z07:00:00 MST", "+02 +0200 +02:00 +020000 +02:00:00 +0200");
        check("05.000 05,000000000 05.999999999 .0000000000", "09.012 09,012030400 09.0120304 .0120304000");
        check("", "");
    }

    #[test]
    fn what_is_no_sample_stands_for_itself() {
        check("Jane Month Januar Monde", "Jane Month Januar Monde");
        check("v0 7 8 9 ü T Z _2006 a.0b .01 .5", "v0 7 8 9 ü T Z _2024 a.0b .05 .9");
    }

    #[test]
    fn noon_midnight_and_times_without_an_offset_are_written_as_go_does() {
        let check = |time: &str, sample: &str, expected: &str| {
            assert_eq!(format(sample, at(time), &Zone::UTC), expected, "{time} {sample}");
        };
        check("2023-12-31T00:00:00Z", "3PM 002 Z07:00 -07:00 MST 5.999 5.00", "12AM 365 Z +00:00 UTC 0 0.00");
        check("2023-01-01T12:59:00-03:30", "03pm __2 Mon MST", "12pm   1 Sun -0330");
        check("0001-01-01T00:00:00Z", "2006 06 Monday", "0001 01 Monday");
    }

    #[test]
    fn the_zone_s_own_name_is_used_where_the_offsets_agree() {
        let berlin = Zone::named("Europe/Berlin").expect("it is in the zone database");
        let check = |time: &str, expected: &str| {
            assert_eq!(format("MST", at(time), &berlin), expected, "{time}");
        };
        check("2024-05-06T15:08:09+02:00", "CEST");
        check("2024-01-06T15:08:09+01:00", "CET");
        check("2024-01-06T15:08:09+02:00", "+0200");
    }

    #[test]
    fn extreme_times_do_not_panic() {
        for seconds in [i64::MIN / 4, i64::MAX / 4] {
            let time = Time { instant: Timestamp { seconds, nanos: 0 }, offset_seconds: -1 };
            format("Mon Jan 2 15:04:05 MST 2006 002", time, &Zone::UTC);
        }
    }
}
