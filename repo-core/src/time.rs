//! Instants, and how the repository writes them.
//!
//! A [`Timestamp`] is a point in time. A [`Time`] adds the offset its clock showed, because records keep the
//! writer's local clock: `2024-02-29T12:00:00.5+01:00`. A [`Zone`] gives the offset for an instant.
//! Nothing here reads a clock or the environment.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const DAY_SECONDS: i64 = 86_400;

/// A point in time: seconds since 1970-01-01T00:00:00Z, and nanoseconds (below 10⁹) on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds since the epoch, negative before it.
    pub seconds: i64,
    /// Nanoseconds after that second, 0 to 999 999 999.
    pub nanos: u32,
}

impl Timestamp {
    /// The later instant; stays at the end of time instead of overflowing.
    pub fn saturating_add(self, span: Duration) -> Self {
        let nanos = self.nanos + span.subsec_nanos();
        let carry = i64::from(nanos / 1_000_000_000);
        let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: self.seconds.saturating_add(seconds).saturating_add(carry),
            nanos: nanos % 1_000_000_000,
        }
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        if self <= earlier {
            return Duration::ZERO;
        }
        let borrow = u32::from(self.nanos < earlier.nanos);
        let seconds = self.seconds.saturating_sub(earlier.seconds) - i64::from(borrow);
        let nanos = self.nanos + borrow * 1_000_000_000 - earlier.nanos;
        Duration::new(u64::try_from(seconds).unwrap_or(0), nanos)
    }
}

/// A date and clock reading of the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Civil {
    /// Year; 0 is 1 BC.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

impl Civil {
    /// Reads the clock at `seconds` after the epoch, offset already added.
    pub fn from_seconds(seconds: i64) -> Self {
        let (days, clock) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        // Days since 0000-03-01, in 400-year eras (H. Hinnant, chrono-compatible low-level date algorithms).
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let small = |value: i64| u8::try_from(value).unwrap_or(u8::MAX);
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: small(month),
            day: small(day_of_year - (153 * shifted_month + 2) / 5 + 1),
            hour: small(clock / 3600),
            minute: small(clock / 60 % 60),
            second: small(clock % 60),
        }
    }

    /// Seconds after the epoch at which a clock without offset shows this.
    ///
    /// Months and days out of range roll over as in Go: 31 February is 3 March (2 March in leap years).
    pub fn to_seconds(self) -> i64 {
        let months = i64::from(self.month) - 1;
        let (year, month) = (self.year + months.div_euclid(12), months.rem_euclid(12) + 1);
        let shifted_year = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * DAY_SECONDS
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }
}

/// An instant together with the offset that the writer's clock had.
///
/// Written as RFC 3339 in Go's way: the fraction without trailing zeros, `Z` for a zero offset, offsets cut
/// toward zero to minutes. Comparing two of them compares instant, then offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// The instant.
    pub instant: Timestamp,
    /// Seconds by which the clock was ahead of UTC.
    pub offset_seconds: i32,
}

impl Time {
    /// What a missing time reads as: `0001-01-01T00:00:00Z`.
    pub const ZERO: Self =
        Self { instant: Timestamp { seconds: -62_135_596_800, nanos: 0 }, offset_seconds: 0 };

    /// The same instant on a clock in UTC.
    pub const fn utc(instant: Timestamp) -> Self {
        Self { instant, offset_seconds: 0 }
    }

    /// Date and clock as the writer saw them.
    pub fn civil(&self) -> Civil {
        Civil::from_seconds(self.instant.seconds.saturating_add(i64::from(self.offset_seconds)))
    }

    /// Moves years beyond 9999 to 9999 and years before 0 to 0, keeping month, day and clock.
    ///
    /// 29 February moves to 1 March when the new year has none. Records cannot hold other years.
    pub fn clamp_year(self) -> Self {
        let civil = self.civil();
        if (0..=9999).contains(&civil.year) {
            return self;
        }
        let civil = Civil { year: civil.year.clamp(0, 9999), ..civil };
        let seconds = civil.to_seconds() - i64::from(self.offset_seconds);
        Self { instant: Timestamp { seconds, ..self.instant }, ..self }
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Time {
    /// Appends the text that `Display` gives; records hold thousands, and formatting machinery is slow.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Civil { year, month, day, hour, minute, second } = self.civil();
        match u32::try_from(year) {
            Ok(year @ 0..=9999) => push_digits::<4>(out, year),
            _ => out.extend_from_slice(format!("{year:04}").as_bytes()),
        }
        for (separator, value) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
            out.push(separator);
            push_digits::<2>(out, u32::from(value));
        }
        if self.instant.nanos != 0 {
            out.push(b'.');
            push_digits::<9>(out, self.instant.nanos);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        // Go decides by the offset in seconds, then cuts to minutes: 30 s ahead is `+00:00`, not `Z`.
        if self.offset_seconds == 0 {
            return out.push(b'Z');
        }
        let minutes = self.offset_seconds / 60;
        out.push(if minutes < 0 { b'-' } else { b'+' });
        push_digits::<2>(out, minutes.unsigned_abs() / 60);
        out.push(b':');
        push_digits::<2>(out, minutes.unsigned_abs() % 60);
    }
}

/// Appends the last `N` decimal digits.
fn push_digits<const N: usize>(out: &mut Vec<u8>, mut value: u32) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(35);
        self.write(&mut text);
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Returned when a text is no RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct ParseTimeError;

impl FromStr for Time {
    type Err = ParseTimeError;

    /// Reads `2006-01-02T15:04:05[.fraction](Z|±hh:mm)`; digits beyond nanoseconds are dropped.
    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        let bytes = text.as_bytes();
        if bytes.len() < 20 || !text.is_ascii() {
            return Err(ParseTimeError);
        }
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if separators.iter().any(|&(at, byte)| bytes[at] != byte) {
            return Err(ParseTimeError);
        }
        let civil = Civil {
            year: i64::from(number(&text[..4], 0, 9999)?),
            month: small(number(&text[5..7], 1, 12)?),
            day: small(number(&text[8..10], 1, 31)?),
            hour: small(number(&text[11..13], 0, 23)?),
            minute: small(number(&text[14..16], 0, 59)?),
            second: small(number(&text[17..19], 0, 59)?),
        };
        if Civil::from_seconds(civil.to_seconds()) != civil {
            return Err(ParseTimeError); // 30 February and the like
        }
        let (nanos, rest) = fraction(&text[19..])?;
        let offset_seconds = offset(rest)?;
        let seconds = civil.to_seconds() - i64::from(offset_seconds);
        Ok(Self { instant: Timestamp { seconds, nanos }, offset_seconds })
    }
}

fn number(text: &str, min: u32, max: u32) -> Result<u32, ParseTimeError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseTimeError);
    }
    text.parse().ok().filter(|value| (min..=max).contains(value)).ok_or(ParseTimeError)
}

fn small(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// Splits `.123…` off the front and gives it in nanoseconds.
fn fraction(text: &str) -> Result<(u32, &str), ParseTimeError> {
    let Some(digits) = text.strip_prefix(['.', ',']) else { return Ok((0, text)) };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return Err(ParseTimeError);
    }
    let (digits, rest) = digits.split_at(count);
    let nanos = (0..9).fold(0, |nanos, at| {
        nanos * 10 + digits.as_bytes().get(at).map_or(0, |digit| u32::from(digit - b'0'))
    });
    Ok((nanos, rest))
}

/// Reads `Z` or `±hh:mm` as seconds.
fn offset(text: &str) -> Result<i32, ParseTimeError> {
    if text == "Z" {
        return Ok(0);
    }
    let (sign, text) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        _ => return Err(ParseTimeError),
    };
    if text.len() != 5 || text.as_bytes()[2] != b':' {
        return Err(ParseTimeError);
    }
    let minutes = number(&text[..2], 0, 24)? * 60 + number(&text[3..], 0, 59)?;
    Ok(sign * i32::try_from(minutes * 60).map_err(|_| ParseTimeError)?)
}

/// A time zone: what a local clock shows at an instant, historic offsets and summer time included.
#[derive(Debug, Clone)]
pub struct Zone(jiff::tz::TimeZone);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// The zone that Go, and so restic, takes for a value of the variable `TZ`.
    ///
    /// Unset means `/etc/localtime`; empty means UTC; a name, with or without a leading colon, is looked up
    /// in the zone database; an absolute path is read as a zone file. Anything else, POSIX rules included,
    /// means UTC.
    pub fn from_tz(value: Option<&str>) -> Self {
        let file = |path: &str| {
            let bytes = std::fs::read(path).ok()?;
            jiff::tz::TimeZone::tzif(path, &bytes).ok()
        };
        let name = value.map(|value| value.strip_prefix(':').unwrap_or(value));
        let zone = match name {
            None => file("/etc/localtime"),
            Some("") => None,
            Some(path) if path.starts_with('/') => file(path),
            Some(name) if name.contains("..") => None,
            Some(name) => {
                ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"]
                    .iter()
                    .find_map(|folder| file(&format!("{folder}/{name}")))
            }
        };
        zone.map_or(Self::UTC, Self)
    }

    /// The instant as this zone's clock shows it.
    pub fn at(&self, instant: Timestamp) -> Time {
        // Offsets are looked up inside the calendar's range; far outside it the nearest one serves.
        let seconds = instant.seconds.clamp(-377_000_000_000, 253_000_000_000);
        let offset_seconds =
            jiff::Timestamp::from_second(seconds).map_or(0, |instant| self.0.to_offset(instant).seconds());
        Time { instant, offset_seconds }
    }

    /// The instant at which this zone's clock shows `civil`; in a gap or fold, the one Go's `time.Date` takes.
    pub fn resolve(&self, civil: Civil) -> Time {
        let local = civil.to_seconds();
        let offset_at = |seconds| self.at(Timestamp { seconds, nanos: 0 }).offset_seconds;
        // As Go: guess with the offset at the local reading taken as UTC, correct once.
        let guess = offset_at(local);
        let mut seconds = local - i64::from(guess);
        let corrected = offset_at(seconds);
        if corrected != guess {
            let retry = local - i64::from(corrected);
            seconds = if offset_at(retry) == corrected { retry } else { seconds };
        }
        self.at(Timestamp { seconds, nanos: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(zone: &str, seconds: i64, nanos: u32, expected: &str) {
        let time = Zone::from_tz(Some(zone)).at(Timestamp { seconds, nanos });
        assert_eq!(time.to_string(), expected, "{zone}");
    }

    /// The worked examples of the format sheet, measured with restic.
    #[test]
    fn time_is_written_as_go_writes_it() {
        check("Europe/Amsterdam", -1_262_304_000, 0, "1930-01-01T00:19:32+00:19");
        check("America/St_Johns", -1_262_304_000, 0, "1929-12-31T20:29:08-03:30");
        check("Africa/Monrovia", 0, 0, "1969-12-31T23:15:30-00:44");
        check("", 0, 500_000_000, "1970-01-01T00:00:00.5Z");
        check("UTC", 1, 10, "1970-01-01T00:00:01.00000001Z");
        check("CET-1CEST,M3.5.0,M10.5.0/3", 0, 0, "1970-01-01T00:00:00Z");
        check("No/Such_Zone", 0, 120_000_000, "1970-01-01T00:00:00.12Z");
        check(":Europe/Berlin", 1_719_000_000, 0, "2024-06-21T22:00:00+02:00");
    }

    #[test]
    fn offset_text_survives_reading_and_writing() {
        for text in
            ["2024-02-29T12:00:00.5+05:45", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999-11:30"]
        {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        assert_eq!(
            "2024-01-01T00:00:00.500+00:00".parse::<Time>().unwrap().to_string(),
            "2024-01-01T00:00:00.5Z"
        );
        assert_eq!(Time::ZERO, "0001-01-01T00:00:00Z".parse().unwrap());
    }

    #[test]
    fn nonsense_is_no_time() {
        for text in [
            "",
            "2024-02-30T00:00:00Z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
        ] {
            assert_eq!(text.parse::<Time>(), Err(ParseTimeError), "{text}");
        }
    }

    #[test]
    fn years_outside_the_format_move_to_its_border() {
        let time = |year, month, day| {
            let civil = Civil { year, month, day, hour: 1, minute: 2, second: 3 };
            Time::utc(Timestamp { seconds: civil.to_seconds(), nanos: 7 }).clamp_year().to_string()
        };
        assert_eq!(time(20_000, 2, 29), "9999-03-01T01:02:03.000000007Z");
        assert_eq!(time(-1, 12, 31), "0000-12-31T01:02:03.000000007Z");
        assert_eq!(time(2024, 2, 29), "2024-02-29T01:02:03.000000007Z");
    }

    #[test]
    fn civil_conversion_is_its_own_inverse() {
        for seconds in (-70_000_000_000_i64..300_000_000_000).step_by(123_456_789) {
            assert_eq!(Civil::from_seconds(seconds).to_seconds(), seconds);
        }
    }

    #[test]
    fn local_clock_readings_resolve_across_summer_time() {
        let berlin = Zone::from_tz(Some("Europe/Berlin"));
        let at = |hour| Civil { year: 2024, month: 3, day: 31, hour, minute: 30, second: 0 };
        assert_eq!(berlin.resolve(at(1)).to_string(), "2024-03-31T01:30:00+01:00");
        assert_eq!(berlin.resolve(at(3)).to_string(), "2024-03-31T03:30:00+02:00");
    }
}
