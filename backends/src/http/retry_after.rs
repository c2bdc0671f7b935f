//! How long a server asks us to wait: `Retry-After`, in seconds or as a date.
//!
//! In: an answer's headers, and what time it is here. Out: whole seconds. A date is compared with the server's own
//! `Date`, so that a clock that is wrong on either side does no harm. Pure.
//! Source: RFC 9110, sections 5.6.7 and 10.2.3.

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// Waits that are longer than this are not believed.
const SECONDS_MAX: i64 = 24 * 60 * 60;

/// The seconds to wait, if the headers say so; `now` is in seconds since 1970.
pub(super) fn seconds(headers: &HeaderMap, now: i64) -> Option<u32> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().unwrap_or(SECONDS_MAX)
    } else {
        let theirs = headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(date);
        date(value)? - theirs.unwrap_or(now)
    };
    u32::try_from(wait.clamp(0, SECONDS_MAX)).ok()
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers write today.
fn date(text: &str) -> Option<i64> {
    let mut words = text.split_ascii_whitespace();
    let _weekday = words.next()?.strip_suffix(',')?;
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)?;
    let number = |text: &str| text.parse::<u32>().ok().map(i64::from);
    let mut parts = time.split(':').map(number);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let fits = words.next().is_none() && zone == "GMT" && hours < 24 && minutes < 60 && seconds <= 60;
    let days = days_since_1970(number(year)?, i64::try_from(month).ok()?, number(day)?)?;
    fits.then_some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Counts days with years that begin in March, so that a leap day is the last one; `month` counts from 0.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let (from_march, until_1970) = ((month * 153 + 2) / 5, 719_469);
    Some(year * 365 + year / 4 - year / 100 + year / 400 + from_march + day - until_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_in_seconds() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 29 Feb 2000 23:59:59 GMT", Some(951_868_799)),
            ("Wed, 01 Mar 2000 00:00:00 GMT", Some(951_868_800)),
            ("Fri, 31 Dec 2027 00:00:00 GMT", Some(1_830_211_200)),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Nov 1994", None),
            ("Sun, 06 Nov 1994 25:00:00 GMT", None),
            ("Sun, 06 Nov 99999999999 08:49:37 GMT", None),
            ("soon", None),
        ] {
            assert_eq!(date(text), expected, "{text}");
        }
    }

    #[test]
    fn waits_are_whole_seconds_whatever_the_clocks_say() {
        let now = 784_111_777;
        for (after, date, expected) in [
            ("7", None, Some(7)),
            (" 0 ", None, Some(0)),
            ("99999999999999999999", None, Some(86_400)),
            ("-1", None, None),
            ("Sun, 06 Nov 1994 08:50:37 GMT", None, Some(60)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some("Sun, 06 Nov 1994 08:50:30 GMT"), Some(7)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some("Mon, 07 Nov 1994 08:50:30 GMT"), Some(0)),
            ("Fri, 31 Dec 2027 00:00:00 GMT", None, Some(86_400)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(seconds(&headers, now), expected, "{after} {date:?}");
        }
        assert_eq!(seconds(&HeaderMap::new(), now), None);
    }
}
