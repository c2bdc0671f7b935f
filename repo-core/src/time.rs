//! Instants, and how the repository writes them.
//!
//! A [`Timestamp`] is a point in time. A [`Time`] adds the offset its clock showed, because records keep the
//! writer's local clock: `2024-02-29T12:00:00.5+01:00`. A [`Zone`] gives the offset for an instant.
//! Nothing here reads a clock or the environment.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const DAY_SECONDS: i64 = 86_400;

/// Seconds from the epoch to the first of January of the years 0 and 10000, where records' years end.
const YEAR_0: i64 = -62_167_219_200;
const YEAR_10000: i64 = 253_402_300_800;

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
        let era = days.div_euclid(146_097);
        let [day_of_era, clock] =
            [days - era * 146_097, clock].map(|small| u32::try_from(small).unwrap_or(0));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let small = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
        Self {
            year: i64::from(year_of_era) + era * 400 + i64::from(month <= 2),
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

impl Civil {
    /// Year and week as ISO 8601 counts them: weeks begin on Monday and belong to the year of their Thursday.
    pub fn iso_week(self) -> (i64, u8) {
        let day = self.to_seconds().div_euclid(DAY_SECONDS);
        let from_monday = (day + 3).rem_euclid(7); // the epoch was a Thursday
        let thursday = day - from_monday + 3;
        let year = Self::from_seconds(thursday * DAY_SECONDS).year;
        let first = Self { year, month: 1, day: 1, hour: 0, minute: 0, second: 0 };
        let day_of_year = thursday - first.to_seconds().div_euclid(DAY_SECONDS);
        (year, u8::try_from(day_of_year / 7 + 1).unwrap_or(u8::MAX))
    }

    /// The clock reading so many calendar years, months and days earlier, in seconds as [`Self::to_seconds`] gives.
    ///
    /// As in Go the month is counted first, and a day that it does not have rolls over: 31 March less a month is
    /// 31 February, which is 3 March.
    pub fn seconds_before(self, years: u32, months: u32, days: u32) -> i64 {
        let month = i64::from(self.month) - 1 - i64::from(months);
        let year = self.year - i64::from(years) + month.div_euclid(12);
        let month = u8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
        Self { year, month, ..self }.to_seconds() - i64::from(days) * DAY_SECONDS
    }
}

/// An instant together with the offset that the writer's clock had.
///
/// Written as RFC 3339 in Go's way: the fraction without trailing zeros, `Z` for a zero offset, offsets cut
/// toward zero to minutes. Comparing two of them compares instant, then offset.
///
/// ```
/// use repo_core::time::{Time, Timestamp};
///
/// let time: Time = "2024-02-29T12:00:00.5+01:00".parse()?;
/// assert_eq!((time.civil().hour, time.instant.nanos), (12, 500_000_000));
/// assert_eq!(Time::utc(Timestamp { seconds: 0, nanos: 0 }).to_string(), "1970-01-01T00:00:00Z");
/// # Ok::<(), repo_core::time::ParseTimeError>(())
/// ```
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
        let local = self.instant.seconds.saturating_add(i64::from(self.offset_seconds));
        if (YEAR_0..YEAR_10000).contains(&local) {
            return self;
        }
        let civil = self.civil();
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
            Ok(year @ 0..=9999) => out.extend_from_slice(&digits::<4>(year)),
            _ => out.extend_from_slice(format!("{year:04}").as_bytes()),
        }
        for (before, value) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
            let [tens, ones] = pair(value);
            out.extend_from_slice(&[before, tens, ones]);
        }
        if self.instant.nanos != 0 {
            let fraction = digits::<9>(self.instant.nanos);
            let zeros = fraction.iter().rev().take_while(|&&digit| digit == b'0').count();
            out.push(b'.');
            out.extend_from_slice(fraction.get(..9 - zeros).unwrap_or_default());
        }
        // Go decides by the offset in seconds, then cuts to minutes: 30 s ahead is `+00:00`, not `Z`.
        if self.offset_seconds == 0 {
            return out.push(b'Z');
        }
        let minutes = self.offset_seconds / 60;
        let sign = if minutes < 0 { b'-' } else { b'+' };
        for (before, value) in [(sign, minutes.unsigned_abs() / 60), (b':', minutes.unsigned_abs() % 60)] {
            let [tens, ones] = digits(value);
            out.extend_from_slice(&[before, tens, ones]);
        }
    }
}

/// The last `N` decimal digits.
fn digits<const N: usize>(mut value: u32) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    digits
}

/// A number below 100.
const fn pair(value: u8) -> [u8; 2] {
    [b'0' + value / 10 % 10, b'0' + value % 10]
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
        Self::read(text.as_bytes()).ok_or(ParseTimeError)
    }
}

impl Time {
    fn read(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_first_chunk()?;
        let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', n0, n1, b':', s0, s1] = head
        else {
            return None;
        };
        let year = i64::from(number([y0, y1])?) * 100 + i64::from(number([y2, y3])?);
        let month = number([m0, m1]).filter(|month| (1..=12).contains(month))?;
        let civil = Civil {
            year,
            month,
            day: number([d0, d1]).filter(|day| (1..=days_in(year, month)).contains(day))?,
            hour: number([h0, h1]).filter(|&hour| hour < 24)?,
            minute: number([n0, n1]).filter(|&minute| minute < 60)?,
            second: number([s0, s1]).filter(|&second| second < 60)?,
        };
        let (nanos, rest) = read_fraction(rest)?;
        let offset_seconds = read_offset(rest)?;
        let seconds = civil.to_seconds() - i64::from(offset_seconds);
        Some(Self { instant: Timestamp { seconds, nanos }, offset_seconds })
    }
}

fn days_in(year: i64, month: u8) -> u8 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Two digits as a number.
fn number(digits: [u8; 2]) -> Option<u8> {
    digits.iter().all(u8::is_ascii_digit).then(|| (digits[0] - b'0') * 10 + digits[1] - b'0')
}

/// Splits `.123…` off the front and gives it in nanoseconds.
fn read_fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let [b'.' | b',', rest @ ..] = text else { return Some((0, text)) };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(count)?;
    let nanos = digits.iter().take(9).fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    let missing = 9usize.saturating_sub(count);
    (count > 0).then(|| (nanos * 10u32.pow(u32::try_from(missing).unwrap_or(0)), rest))
}

/// Reads `Z` or `±hh:mm` as seconds.
fn read_offset(text: &[u8]) -> Option<i32> {
    let (sign, h0, h1, m0, m1) = match *text {
        [b'Z'] => return Some(0),
        [b'+', h0, h1, b':', m0, m1] => (1, h0, h1, m0, m1),
        [b'-', h0, h1, b':', m0, m1] => (-1, h0, h1, m0, m1),
        _ => return None,
    };
    let hours = number([h0, h1]).filter(|&hours| hours <= 24)?;
    let minutes = number([m0, m1]).filter(|&minutes| minutes < 60)?;
    Some(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60))
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

    /// The zone of that name in the zone database; `None` if there is none. `local` is the machine's own.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "local" => Some(Self::from_tz(None)),
            "" | "UTC" => Some(Self::UTC),
            // An unknown name gives UTC, whose clock says so.
            name => Some(Self::from_tz(Some(name))).filter(|zone| zone.0 != jiff::tz::TimeZone::UTC),
        }
    }

    /// The instant as this zone's clock shows it.
    pub fn at(&self, instant: Timestamp) -> Time {
        // Offsets are looked up inside the calendar's range; far outside it the nearest one serves.
        let seconds = instant.seconds.clamp(-377_000_000_000, 253_000_000_000);
        let offset_seconds =
            jiff::Timestamp::from_second(seconds).map_or(0, |instant| self.0.to_offset(instant).seconds());
        Time { instant, offset_seconds }
    }

    /// What the zone is called at the instant, such as `CEST`.
    pub fn abbreviation(&self, instant: Timestamp) -> String {
        let seconds = instant.seconds.clamp(-377_000_000_000, 253_000_000_000);
        jiff::Timestamp::from_second(seconds)
            .map_or_else(|_| "UTC".to_owned(), |at| self.0.to_offset_info(at).abbreviation().to_owned())
    }

    /// The instant at which this zone's clock shows `civil`; in a gap or fold, the one Go's `time.Date` takes.
    pub fn resolve(&self, civil: Civil) -> Time {
        let local = civil.to_seconds();
        let offset_at = |seconds| self.at(Timestamp { seconds, nanos: 0 }).offset_seconds;
        // As Go: guess with the offset at the local reading taken as UTC, correct once, whatever comes out.
        let corrected = offset_at(local - i64::from(offset_at(local)));
        let seconds = local - i64::from(corrected);
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
        for text in [
            "2024-02-29T12:00:00.5+05:45",
            "2000-02-29T23:59:59Z",
            "1900-03-01T00:00:00.00000001Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999-11:30",
        ] {
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
            "2023-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00+25:00",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00+01:60",
            "2024-01-01T00:00:00ZZ",
            "2024-01-01T00:00:00é",
            "+024-01-01T00:00:00Z",
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
        assert_eq!(time(0, 1, 1), "0000-01-01T01:02:03.000000007Z");
        assert_eq!(time(9999, 12, 31), "9999-12-31T01:02:03.000000007Z");
        assert_eq!(time(10_000, 1, 1), "9999-01-01T01:02:03.000000007Z");
        // What counts is the year that the local clock shows.
        let east = Time { instant: Timestamp { seconds: YEAR_10000 - 1, nanos: 0 }, offset_seconds: 3600 };
        assert_eq!(east.clamp_year().to_string(), "9999-01-01T00:59:59+01:00");
    }

    #[test]
    fn civil_conversion_is_its_own_inverse() {
        for seconds in (-70_000_000_000_i64..300_000_000_000).step_by(123_456_789) {
            assert_eq!(Civil::from_seconds(seconds).to_seconds(), seconds);
        }
    }

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        let check = |date: &str, expected| {
            let time: Time = format!("{date}T12:00:00Z").parse().unwrap();
            assert_eq!(time.civil().iso_week(), expected, "{date}");
        };
        check("2024-12-29", (2024, 52));
        check("2024-12-30", (2025, 1));
        check("2023-01-01", (2022, 52));
        check("2020-12-31", (2020, 53));
        check("2021-01-03", (2020, 53));
        check("2021-01-04", (2021, 1));
        check("1969-12-29", (1970, 1));
    }

    #[test]
    fn months_are_counted_back_as_in_go() {
        let check = |from: &str, (years, months, days): (u32, u32, u32), expected: &str| {
            let from: Time = format!("{from}T01:02:03Z").parse().unwrap();
            let found = Civil::from_seconds(from.civil().seconds_before(years, months, days));
            assert_eq!(format!("{}-{}-{}", found.year, found.month, found.day), expected, "{from}");
        };
        check("2025-03-31", (0, 1, 0), "2025-3-3");
        check("2024-03-31", (0, 1, 0), "2024-3-2");
        check("2024-02-29", (1, 0, 0), "2023-3-1");
        check("2024-01-15", (0, 13, 0), "2022-12-15");
        check("2024-03-01", (0, 0, 1), "2024-2-29");
        check("2024-05-31", (1, 3, 1), "2023-3-2");
    }

    /// What restic makes of `backup --time`.
    #[test]
    fn readings_that_no_clock_showed_resolve_as_in_go() {
        let check = |zone: &str, reading: &str, expected: &str| {
            let civil = format!("{}Z", reading.replace(' ', "T")).parse::<Time>().unwrap().civil();
            assert_eq!(Zone::from_tz(Some(zone)).resolve(civil).to_string(), expected, "{zone} {reading}");
        };
        check("Europe/Berlin", "2024-03-31 02:30:00", "2024-03-31T03:30:00+02:00");
        check("Europe/Berlin", "2024-10-27 02:30:00", "2024-10-27T02:30:00+01:00");
        check("Europe/London", "2024-03-31 01:30:00", "2024-03-31T02:30:00+01:00");
        check("Europe/London", "2024-10-27 01:30:00", "2024-10-27T01:30:00Z");
        check("Atlantic/Azores", "2024-03-31 00:30:00", "2024-03-30T23:30:00-01:00");
        check("Atlantic/Azores", "2024-10-27 00:30:00", "2024-10-27T00:30:00Z");
        check("America/New_York", "2024-03-10 02:30:00", "2024-03-10T01:30:00-05:00");
        check("America/New_York", "2024-11-03 01:30:00", "2024-11-03T01:30:00-04:00");
        check("Australia/Lord_Howe", "2024-10-06 02:15:00", "2024-10-06T02:45:00+11:00");
        check("Australia/Lord_Howe", "2024-04-07 01:45:00", "2024-04-07T01:45:00+10:30");
    }

    #[test]
    fn zones_are_named_or_they_are_none() {
        assert!(Zone::named("Europe/Berlin").is_some());
        assert!(Zone::named("UTC").is_some());
        assert!(Zone::named("local").is_some());
        for name in ["Europe/Nowhere", "CET-1CEST,M3.5.0,M10.5.0/3", "../etc/passwd"] {
            assert!(Zone::named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn local_clock_readings_resolve_across_summer_time() {
        let berlin = Zone::from_tz(Some("Europe/Berlin"));
        let at = |hour| Civil { year: 2024, month: 3, day: 31, hour, minute: 30, second: 0 };
        assert_eq!(berlin.resolve(at(1)).to_string(), "2024-03-31T01:30:00+01:00");
        assert_eq!(berlin.resolve(at(3)).to_string(), "2024-03-31T03:30:00+02:00");
        assert_eq!(berlin.abbreviation(berlin.resolve(at(1)).instant), "CET");
        assert_eq!(berlin.abbreviation(berlin.resolve(at(3)).instant), "CEST");
    }
}
