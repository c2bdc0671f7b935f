//! Texts typed as values: sizes, durations, times, lists. One parser each, all pure.
//!
//! What restic takes is taken, what it refuses is refused, so that a script cannot mean two things.

use std::time::Duration;

use repo_core::MemoryLimit;
use repo_core::ops::check::ReadData;
use repo_core::ops::forget::Count;
use repo_core::time::{Civil, Time, Timestamp, Zone};

/// A value that cannot be read: what was typed, and how it should look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{typed:?} is no {kind}: write {hint}")]
pub struct ValueError {
    typed: String,
    kind: &'static str,
    hint: &'static str,
}

fn wrong(typed: &str, kind: &'static str, hint: &'static str) -> ValueError {
    ValueError { typed: typed.to_owned(), kind, hint }
}

/// A size in bytes: a whole number with at most one letter `b k m g t`, 1024-based, either case.
pub fn size(text: &str) -> Result<u64, ValueError> {
    let error = || wrong(text, "size", "a whole number with one of the letters k, m, g, t, such as 200m");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'b' | b'B') => (&text[..text.len() - 1], 0),
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        Some(b't' | b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(error)
}

/// A limit of memory: a [`size`], not less than any run needs.
pub fn memory(text: &str) -> Result<MemoryLimit, ValueError> {
    let bytes = size(text)?;
    let hint = "128m or more";
    let enough = (bytes >= MemoryLimit::LEAST).then(|| MemoryLimit::bytes(bytes));
    enough.ok_or_else(|| wrong(text, "limit of memory that can be kept", hint))
}

/// A span of time as Go writes it: `90s`, `1h5m`, `1.5h`, `300ms`; a bare `0` needs no unit.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    let error = || wrong(text, "duration", "numbers with units, such as 90s or 1h5m");
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let (unsigned, negative) = unsigned.strip_prefix('-').map_or((unsigned, false), |rest| (rest, true));
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = unsigned;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        if number.bytes().filter(|byte| *byte == b'.').count() > 1 || number == "." {
            return Err(error());
        }
        let number: f64 = number.parse().map_err(|_| error())?;
        seconds += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(error()),
            };
        rest = tail;
    }
    if unsigned.is_empty() {
        return Err(error());
    }
    // A negative span waits no longer than none.
    let span = Duration::try_from_secs_f64(seconds).map_err(|_| error())?;
    Ok(if negative { Duration::ZERO } else { span })
}

/// A span of time as [`duration`] reads it, or whole days: `7d`.
pub fn grace(text: &str) -> Result<Duration, ValueError> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    days.map_or_else(|| duration(text), |days| Ok(Duration::from_hours(24 * u64::from(days))))
}

/// Which packs `check --read-data-subset` reads: `n/t` with t up to 256, `x%`, or a size.
pub fn subset(text: &str) -> Result<ReadData, ValueError> {
    let hint = "n/t with 1 <= n <= t <= 256, a percentage such as 2.5%, or a size such as 10g";
    let error = || wrong(text, "subset", hint);
    if let Some((part, parts)) = text.split_once('/') {
        let (part, parts) = (part.parse().map_err(|_| error())?, parts.parse().map_err(|_| error())?);
        let fits = (1..=256).contains(&parts) && (1..=parts).contains(&part);
        return if fits { Ok(ReadData::Part { part, parts }) } else { Err(error()) };
    }
    if let Some(number) = text.strip_suffix('%') {
        let percent: f64 = number.parse().map_err(|_| error())?;
        let fits = percent > 0.0 && percent <= 100.0;
        return if fits { Ok(ReadData::Percent(percent)) } else { Err(error()) };
    }
    match size(text) {
        Ok(bytes) if bytes > 0 => Ok(ReadData::Bytes(bytes)),
        _ => Err(error()),
    }
}

/// How much that nobody uses may stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unused {
    /// So many bytes.
    Bytes(u64),
    /// So many percent of what remains.
    Percent(f64),
    /// Any amount.
    Unlimited,
}

/// A limit of unused data: a size, a percentage below 100, or `unlimited`.
pub fn unused(text: &str) -> Result<Unused, ValueError> {
    let error =
        || wrong(text, "limit", "a size such as 10g, a percentage below 100 such as 5%, or unlimited");
    if text == "unlimited" {
        return Ok(Unused::Unlimited);
    }
    let Some(number) = text.strip_suffix('%') else {
        return size(text).map(Unused::Bytes).map_err(|_| error());
    };
    let percent: f64 = number.parse().map_err(|_| error())?;
    if (0.0..100.0).contains(&percent) { Ok(Unused::Percent(percent)) } else { Err(error()) }
}

/// How many snapshots a rule keeps: a number or `unlimited`.
pub fn count(text: &str) -> Result<Count, ValueError> {
    if text == "unlimited" {
        return Ok(Count::Unlimited);
    }
    let number: i64 = text.parse().map_err(|_| wrong(text, "count", "a whole number or unlimited"))?;
    match u64::try_from(number) {
        Ok(number) => Ok(Count::AtMost(number)),
        Err(_) => Err(wrong(text, "count", "unlimited instead of a negative number")),
    }
}

/// A zone of the zone database, or `local`.
pub fn zone(text: &str) -> Result<Zone, ValueError> {
    Zone::named(text).ok_or_else(|| wrong(text, "time zone", "a name such as Europe/Berlin, or local"))
}

/// A yes or no as Go reads it.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The tags of one `--tag`: split at commas, blanks around them trimmed.
pub fn tags(text: &str) -> Vec<String> {
    text.split(',').map(|tag| tag.trim().to_owned()).collect()
}

/// The time of a new snapshot: `YYYY-MM-DD hh:mm:ss` on the clock of `zone`.
pub fn snapshot_time(text: &str, zone: &Zone) -> Result<Time, ValueError> {
    let error = || wrong(text, "time", "YYYY-MM-DD hh:mm:ss, such as '2012-11-01 22:08:41'");
    let (date, clock) = text.split_once(' ').ok_or_else(error)?;
    let (date, clock) = (iso_date(date).ok_or_else(error)?, clock_reading(clock, true).ok_or_else(error)?);
    Ok(local(date, clock, zone))
}

/// A time to compare with: an ISO or `dd.mm.yyyy` date, perhaps with a clock reading, perhaps with an offset
/// or a zone's abbreviation; or what the program `date` prints, with an offset before the zone.
pub fn loose_time(text: &str, zone: &Zone) -> Result<Time, ValueError> {
    let error =
        || wrong(text, "time", "YYYY-MM-DD, perhaps followed by hh:mm:ss and an offset such as +0200");
    let words: Vec<&str> = text.split(' ').collect();
    let date = |word: &str| iso_date(word).or_else(|| dotted_date(word)).ok_or_else(error);
    match words[..] {
        [day] => Ok(local(date(day)?, (0, 0, 0, 0), zone)),
        [day, clock] => {
            let clock =
                clock_reading(clock, true).or_else(|| clock_reading(clock, false)).ok_or_else(error)?;
            Ok(local(date(day)?, clock, zone))
        }
        [day, clock, place] => {
            let (date, clock) = (date(day)?, clock_reading(clock, true).ok_or_else(error)?);
            placed(date, clock, place, zone).ok_or_else(error)
        }
        [weekday, month, ref days @ .., clock, offset, place, year] => {
            let day = match days {
                [day] | ["", day] => *day,
                _ => return Err(error()),
            };
            let known = WEEKDAYS.contains(&weekday) && abbreviation(place);
            let month = MONTHS.iter().position(|name| *name == month).ok_or_else(error)?;
            let (year, day) = (digits(year, 4..=4).ok_or_else(error)?, digits(day, 1..=2).ok_or_else(error)?);
            let date = date_of(year, u32::try_from(month + 1).unwrap_or(0), day).ok_or_else(error)?;
            let clock = clock_reading(clock, true).ok_or_else(error)?;
            let offset = numeric_offset(offset).filter(|_| known).ok_or_else(error)?;
            Ok(at_offset(date, clock, offset))
        }
        _ => Err(error()),
    }
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Hour, minute, second, nanosecond.
type Clock = (u8, u8, u8, u32);

fn digits(text: &str, len: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let fits = len.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| fits)
}

fn date_of(year: u32, month: u32, day: u32) -> Option<Civil> {
    let civil = Civil {
        year: i64::from(year),
        month: u8::try_from(month).ok()?,
        day: u8::try_from(day).ok()?,
        hour: 0,
        minute: 0,
        second: 0,
    };
    // A 30 February rolls over and comes back as another date.
    (month > 0 && Civil::from_seconds(civil.to_seconds()) == civil).then_some(civil)
}

fn iso_date(text: &str) -> Option<Civil> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let civil = date_of(digits(year, 4..=4)?, digits(month, 2..=2)?, digits(day, 2..=2)?);
    civil.filter(|_| parts.next().is_none())
}

fn dotted_date(text: &str) -> Option<Civil> {
    let mut parts = text.split('.');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let civil = date_of(digits(year, 4..=4)?, digits(month, 2..=2)?, digits(day, 2..=2)?);
    civil.filter(|_| parts.next().is_none())
}

/// `hh:mm:ss` with an optional fraction, or `hh:mm`.
fn clock_reading(text: &str, with_seconds: bool) -> Option<Clock> {
    let mut parts = text.split(':');
    let (hour, minute) = (digits(parts.next()?, 1..=2)?, digits(parts.next()?, 2..=2)?);
    let (mut second, mut nanos) = (0, 0);
    if with_seconds {
        let (whole, fraction) = parts.next().map(|part| part.split_once('.').unwrap_or((part, "0")))?;
        second = digits(whole, 2..=2)?;
        nanos = digits(&format!("{fraction:0<9}"), 9..=9).filter(|_| !fraction.is_empty())?;
    }
    let valid = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    valid.then_some((u8::try_from(hour).ok()?, u8::try_from(minute).ok()?, u8::try_from(second).ok()?, nanos))
}

/// `+hhmm` in seconds.
fn numeric_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let number = digits(rest, 4..=4)?;
    let (hours, minutes) = (number / 100, number % 100);
    (hours <= 24 && minutes < 60).then_some(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?)
}

fn abbreviation(text: &str) -> bool {
    let name = text.strip_prefix("GMT").filter(|rest| !rest.is_empty());
    name.is_some_and(|rest| gmt_hours(rest).is_some())
        || ((3..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase()))
}

fn gmt_hours(text: &str) -> Option<i32> {
    let hours: i32 = text.parse().ok()?;
    (text.starts_with(['+', '-']) && (-23..=23).contains(&hours)).then_some(hours)
}

fn at_offset(date: Civil, (hour, minute, second, nanos): Clock, offset_seconds: i32) -> Time {
    let civil = Civil { hour, minute, second, ..date };
    let seconds = civil.to_seconds() - i64::from(offset_seconds);
    Time { instant: Timestamp { seconds, nanos }, offset_seconds }
}

fn local(date: Civil, (hour, minute, second, nanos): Clock, zone: &Zone) -> Time {
    let time = zone.resolve(Civil { hour, minute, second, ..date });
    Time { instant: Timestamp { nanos, ..time.instant }, ..time }
}

/// With an offset, or with a zone's abbreviation: the local zone's own one is taken at its word, `UTC` and
/// `GMT+2` are known, any other stands for no offset, as in Go.
fn placed(date: Civil, clock: Clock, place: &str, zone: &Zone) -> Option<Time> {
    if let Some(offset) = numeric_offset(place) {
        return Some(at_offset(date, clock, offset));
    }
    if !abbreviation(place) {
        return None;
    }
    let here = local(date, clock, zone);
    if zone.abbreviation(here.instant) == place {
        return Some(here);
    }
    let hours = place.strip_prefix("GMT").and_then(gmt_hours).unwrap_or(0);
    Some(at_offset(date, clock, hours * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_one_letter() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(size(text).ok(), expected, "{text}");
        check("0", Some(0));
        check("1023", Some(1023));
        check("5b", Some(5));
        check("1k", Some(1024));
        check("3M", Some(3 << 20));
        check("2G", Some(2 << 30));
        check("1t", Some(1 << 40));
        for text in ["", "k", "1.5k", "1kb", "1KiB", "1 M", "-1", "9999999999t", "ä"] {
            check(text, None);
        }
    }

    #[test]
    fn durations_need_a_unit_as_in_go() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(duration(text).ok(), ms.map(Duration::from_millis), "{text}");
        };
        check("90s", Some(90_000));
        check("1h5m", Some(3_900_000));
        check("1.5h", Some(5_400_000));
        check("300ms", Some(300));
        check(".5s", Some(500));
        check("0", Some(0));
        check("-3s", Some(0));
        for text in ["", "5", "1d", "s", "1h5", "1.2.3s", ".s", "--1s", "1 s"] {
            check(text, None);
        }
    }

    #[test]
    fn subsets_are_a_part_a_percentage_or_a_size() {
        let check =
            |text: &str, expected: Option<ReadData>| assert_eq!(subset(text).ok(), expected, "{text}");
        check("1/5", Some(ReadData::Part { part: 1, parts: 5 }));
        check("256/256", Some(ReadData::Part { part: 256, parts: 256 }));
        check("2.5%", Some(ReadData::Percent(2.5)));
        check("100%", Some(ReadData::Percent(100.0)));
        check("1M", Some(ReadData::Bytes(1 << 20)));
        for text in ["0/5", "6/5", "1/257", "1/", "/", "0%", "101%", "x%", "0", "1.5M", ""] {
            check(text, None);
        }
    }

    #[test]
    fn unused_data_is_limited_by_size_by_share_or_not_at_all() {
        let check = |text: &str, expected: Option<Unused>| assert_eq!(unused(text).ok(), expected, "{text}");
        check("5%", Some(Unused::Percent(5.0)));
        check("0%", Some(Unused::Percent(0.0)));
        check("2.5%", Some(Unused::Percent(2.5)));
        check("1k", Some(Unused::Bytes(1024)));
        check("0", Some(Unused::Bytes(0)));
        check("unlimited", Some(Unused::Unlimited));
        for text in ["", "100%", "-1%", "x%", "%", "NaN%", "1.5k", "Unlimited"] {
            check(text, None);
        }
    }

    #[test]
    fn counts_are_numbers_or_unlimited() {
        let check = |text: &str, expected: Option<Count>| assert_eq!(count(text).ok(), expected, "{text}");
        check("0", Some(Count::AtMost(0)));
        check("+7", Some(Count::AtMost(7)));
        check("unlimited", Some(Count::Unlimited));
        for text in ["", "-1", "x", "1.5", "9999999999999999999", "++1", "all"] {
            check(text, None);
        }
    }

    #[test]
    fn tags_are_trimmed_between_commas() {
        assert_eq!(tags("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(tags(""), [""]);
    }

    #[test]
    fn snapshot_times_have_exactly_one_form() {
        let berlin = Zone::from_tz(Some("Europe/Berlin"));
        let check = |text: &str, expected: Option<&str>| {
            let time = snapshot_time(text, &berlin).ok().map(|time| time.to_string());
            assert_eq!(time.as_deref(), expected, "{text}");
        };
        check("2012-11-01 22:08:41", Some("2012-11-01T22:08:41+01:00"));
        check("2012-06-01 02:08:41.25", Some("2012-06-01T02:08:41.25+02:00"));
        for text in ["foo", "2012-11-01", "2012-11-01T22:08:41", "2012-02-30 00:00:00", "2012-11-01 22:08"] {
            check(text, None);
        }
    }

    #[test]
    fn loose_times_have_eleven_forms() {
        let berlin = Zone::from_tz(Some("Europe/Berlin"));
        let check = |text: &str, expected: Option<&str>| {
            let time = loose_time(text, &berlin).ok().map(|time| Time::utc(time.instant).to_string());
            assert_eq!(time.as_deref(), expected, "{text}");
        };
        check("2024-07-01", Some("2024-06-30T22:00:00Z"));
        check("2024-07-01 12:30", Some("2024-07-01T10:30:00Z"));
        check("2024-07-01 12:30:15", Some("2024-07-01T10:30:15Z"));
        check("2024-07-01 12:30:15 -0700", Some("2024-07-01T19:30:15Z"));
        check("2024-07-01 12:30:15 CEST", Some("2024-07-01T10:30:15Z"));
        check("2024-07-01 12:30:15 UTC", Some("2024-07-01T12:30:15Z"));
        check("2024-07-01 12:30:15 GMT+2", Some("2024-07-01T10:30:15Z"));
        check("2024-07-01 12:30:15 PDT", Some("2024-07-01T12:30:15Z"));
        check("01.07.2024", Some("2024-06-30T22:00:00Z"));
        check("01.07.2024 12:30", Some("2024-07-01T10:30:00Z"));
        check("01.07.2024 12:30:15", Some("2024-07-01T10:30:15Z"));
        check("01.07.2024 12:30:15 +0100", Some("2024-07-01T11:30:15Z"));
        check("Mon Jul 1 12:30:15 -0700 MST 2024", Some("2024-07-01T19:30:15Z"));
        for text in
            ["", "now", "2024-7-1", "2024-07-01 25:00", "2024-07-01 12:30 CEST", "1.7.2024", "Mon Jul 1"]
        {
            check(text, None);
        }
    }
}
