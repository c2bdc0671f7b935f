//! Numbers for people, written as restic writes them: bytes, seconds, percent, dates.

use std::time::Duration;

use repo_core::time::{Time, Zone};

/// `123 B`, `1.635 KiB`, `2.003 MiB`: three decimals, units of 1024.
#[expect(clippy::cast_precision_loss, reason = "three decimals are shown")]
pub fn bytes(count: u64) -> String {
    let count_float = count as f64;
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{:.3} {name}", count_float / *unit as f64),
        None => format!("{count} B"),
    }
}

/// `3:07`, or `1:02:07` from an hour on.
pub fn clock(span: Duration) -> String {
    let seconds = span.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `32.45%`; never above 100, empty when there is no whole.
#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    format!("{:.2}%", (part.min(whole) as f64 / whole as f64) * 100.0)
}

/// `0.032s`, always seconds.
pub fn seconds(span: Duration) -> String {
    format!("{:.3}s", span.as_secs_f64())
}

/// A span as Go prints it: `21.846316891s`, `1m30s`, `2h0m5s`, `350ms`, `12.5µs`, `0s`.
pub fn go_duration(span: Duration) -> String {
    let nanos = span.as_nanos();
    let fraction = |whole: u128, unit: u128| {
        let rest = format!("{:0width$}", whole % unit, width = unit.ilog10() as usize);
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() { format!("{}", whole / unit) } else { format!("{}.{rest}", whole / unit) }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `2006-01-02 15:04:05`, on the clock the time carries.
pub fn date_time(time: Time) -> String {
    let civil = time.civil();
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second
    )
}

/// `2006-01-02 15:04:05.999 +0100 CET`: a time with everything, as Go prints it.
///
/// The zone has a name only where the offset is UTC's or that of the local zone.
pub fn full_time(time: Time, local: &Zone) -> String {
    let fraction = match time.instant.nanos {
        0 => String::new(),
        nanos => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
    };
    let minutes = time.offset_seconds / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let offset = format!("{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60);
    let name = match time.offset_seconds {
        0 => "UTC".to_owned(),
        seconds if local.at(time.instant).offset_seconds == seconds => local.abbreviation(time.instant),
        _ => offset.clone(),
    };
    format!("{}{fraction} {offset} {name}", date_time(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_decimals_and_binary_units() {
        let check = |count, expected: &str| assert_eq!(bytes(count), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.000 KiB");
        check(1674, "1.635 KiB");
        check(300_013, "292.981 KiB");
        check(2_100_307, "2.003 MiB");
        check(5 << 30, "5.000 GiB");
        check(u64::MAX, "16777216.000 TiB");
    }

    #[test]
    fn spans_are_shown_as_on_a_clock() {
        let check = |seconds, expected: &str| assert_eq!(clock(Duration::from_secs(seconds)), expected);
        check(0, "0:00");
        check(187, "3:07");
        check(3727, "1:02:07");
    }

    #[test]
    fn percentages_never_pass_a_hundred() {
        assert_eq!(percent(1, 3), "33.33%");
        assert_eq!(percent(4, 3), "100.00%");
        assert_eq!(percent(0, 0), "");
    }

    #[test]
    fn spans_are_written_as_go_writes_them() {
        let check = |nanos, expected: &str| assert_eq!(go_duration(Duration::from_nanos(nanos)), expected);
        check(0, "0s");
        check(350_000_000, "350ms");
        check(12_500, "12.5µs");
        check(21_846_316_891, "21.846316891s");
        check(90_000_000_000, "1m30s");
        check(7_205_000_000_000, "2h0m5s");
        check(3_000_000_000, "3s");
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        let time = "2026-11-21T01:19:40.13524718+01:00".parse().unwrap();
        assert_eq!(date_time(time), "2026-11-21 01:19:40");
        let full = |time: &str, tz| full_time(time.parse().unwrap(), &Zone::from_tz(Some(tz)));
        assert_eq!(full("2026-11-21T01:19:40Z", "Europe/Berlin"), "2026-11-21 01:19:40 +0000 UTC");
        let time = "2026-11-21T01:19:40.13524718+01:00";
        assert_eq!(full(time, "Europe/Berlin"), "2026-11-21 01:19:40.13524718 +0100 CET");
        assert_eq!(full(time, "UTC"), "2026-11-21 01:19:40.13524718 +0100 +0100");
    }
}
