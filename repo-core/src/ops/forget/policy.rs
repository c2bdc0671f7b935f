//! The policy: which of some snapshots to keep, and why. Pure, restic's rules bit for bit.
//!
//! In: rules, and the snapshots of one group, newest first. Out: for each the reasons to keep it; none means that it
//! goes. Nothing is read, nothing is removed, and protected snapshots always have a reason.
//!
//! A rule that counts keeps the newest snapshot of each of the last so many hours, days … *that have one*, and the
//! oldest snapshot of all while the count is not used up. Hours and days are those on the clock that the snapshot's
//! writer saw, unless a zone to judge in is given. Spans are measured back from the newest snapshot that is not
//! in the future, not from now.

use std::fmt;
use std::str::FromStr;

use crate::snapshots::{Stored, has_tags, is_protected};
use crate::time::{Civil, Time, Timestamp, Zone};

/// What to keep. The default has no rule at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Keeps the newest, whenever they were made.
    pub last: Count,
    /// Keeps the newest of each period.
    pub each: Each<Count>,
    /// Keeps all within a span.
    pub within: Span,
    /// Keeps the newest of each period within a span.
    pub each_within: Each<Span>,
    /// Keeps what has all tags of any of these sets.
    pub tags: Vec<Vec<String>>,
}

/// One value for each kind of period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Each<T> {
    /// Per hour.
    pub hourly: T,
    /// Per day.
    pub daily: T,
    /// Per ISO week.
    pub weekly: T,
    /// Per month.
    pub monthly: T,
    /// Per year.
    pub yearly: T,
}

impl<T: Copy> Each<T> {
    /// The periods with their values, shortest first.
    fn pairs(&self) -> [(Period, T); 5] {
        [
            (Period::Hourly, self.hourly),
            (Period::Daily, self.daily),
            (Period::Weekly, self.weekly),
            (Period::Monthly, self.monthly),
            (Period::Yearly, self.yearly),
        ]
    }
}

/// How many a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// At most so many; zero means that there is no such rule.
    AtMost(u64),
    /// All.
    Unlimited,
}

impl Default for Count {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

impl Policy {
    /// Whether there is no rule, so that nothing but protected snapshots would be kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rules that count.
    fn counted(&self) -> impl Iterator<Item = (Period, Count)> {
        std::iter::once((Period::Last, self.last)).chain(self.each.pairs())
    }
}

/// A span of calendar time, such as `2y5m7d3h`; zero if it is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// Calendar years.
    pub years: u32,
    /// Calendar months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

impl Span {
    /// Whether it is not set.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// The instant that lies so far before `time` on its writer's clock.
    ///
    /// As in Go, a time whose offset is the one that `local` has at that instant counts on the clock of `local`,
    /// summer time included; any other has its offset for good.
    pub fn before(self, time: Time, local: &Zone) -> Timestamp {
        let reading = time.civil().seconds_before(self.years, self.months, self.days);
        let seconds = if local.at(time.instant).offset_seconds == time.offset_seconds {
            local.resolve(Civil::from_seconds(reading)).instant.seconds
        } else {
            reading - i64::from(time.offset_seconds)
        };
        Timestamp { seconds: seconds - i64::from(self.hours) * 3600, nanos: time.instant.nanos }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, unit) in [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

/// A text that is no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    /// A number is missing, or is too large.
    #[error("no number found")]
    NoNumber,
    /// A number without a unit.
    #[error("no unit found after number {number}")]
    NoUnit {
        /// The number.
        number: u32,
    },
    /// A unit that is none of y, m, d, h.
    #[error("invalid unit {unit:?} found after number {number}")]
    Unit {
        /// What was found instead.
        unit: char,
        /// The number before it.
        number: u32,
    },
    /// Time does not run backwards.
    #[error("durations containing negative values are not allowed for --keep-within*")]
    Negative,
}

impl FromStr for Span {
    type Err = SpanError;

    /// Reads numbers with one of the letters y, m, d, h, in any order; of a repeated letter the last one counts.
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let mut span = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            if rest.starts_with('-') && rest[1..].starts_with(|first: char| first.is_ascii_digit()) {
                return Err(SpanError::Negative);
            }
            let number: u32 = number.parse().map_err(|_| SpanError::NoNumber)?;
            let unit = tail.chars().next().ok_or(SpanError::NoUnit { number })?;
            match unit {
                'y' => span.years = number,
                'm' => span.months = number,
                'd' => span.days = number,
                'h' => span.hours = number,
                unit => return Err(SpanError::Unit { unit, number }),
            }
            rest = &tail[1..];
        }
        Ok(span)
    }
}

/// What snapshots are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// Each counts.
    Last,
    /// One per hour.
    Hourly,
    /// One per day.
    Daily,
    /// One per ISO week.
    Weekly,
    /// One per month.
    Monthly,
    /// One per year.
    Yearly,
}

impl Period {
    /// Restic's word in reasons.
    pub fn word(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The number of the period that a clock reading falls into; `place` counts snapshots from the newest.
    fn bucket(self, clock: Civil, place: usize) -> i64 {
        let month = clock.year * 100 + i64::from(clock.month);
        let day = month * 100 + i64::from(clock.day);
        match self {
            Self::Last => i64::try_from(place).unwrap_or(i64::MAX),
            Self::Hourly => day * 100 + i64::from(clock.hour),
            Self::Daily => day,
            Self::Weekly => {
                let (year, week) = clock.iso_week();
                year * 100 + i64::from(week)
            }
            Self::Monthly => month,
            Self::Yearly => clock.year,
        }
    }
}

/// Why a snapshot is kept. The text is restic's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is protected.
    Protected,
    /// It has all tags of a set.
    Tags(Vec<String>),
    /// It is not older than a span.
    Within(Span),
    /// All that stays needs no more than so many bytes.
    Size(u64),
    /// A rule keeps one of its period.
    Period {
        /// Which rule.
        period: Period,
        /// Only because it is the oldest of all.
        oldest: bool,
        /// The span of the rule, if it has one.
        within: Option<Span>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected => f.write_str("protected"),
            Self::Tags(tags) => write!(f, "has tags [{}]", tags.join(", ")),
            Self::Within(span) => write!(f, "within {span}"),
            Self::Size(bytes) => {
                let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
                let unit = units.iter().find(|(bits, _)| *bytes > 0 && bytes.trailing_zeros() >= *bits);
                match unit {
                    Some((bits, unit)) => write!(f, "within size {}{unit}", bytes >> bits),
                    None => write!(f, "within size {bytes}"),
                }
            }
            Self::Period { period, oldest, within } => {
                let oldest = if *oldest { "oldest " } else { "" };
                match within {
                    None => write!(f, "{oldest}{} snapshot", period.word()),
                    Some(span) => write!(f, "{oldest}{} within {span}", period.word()),
                }
            }
        }
    }
}

/// When to judge, and on whose clock.
#[derive(Debug, Clone)]
pub struct Judge<'a> {
    /// Now: what is later lies in the future.
    pub now: Timestamp,
    /// The zone of this machine; see [`Span::before`].
    pub local: &'a Zone,
    /// Whose clock tells hours and days; `None` means the one that each snapshot's writer saw.
    pub zone: Option<&'a Zone>,
}

/// What the policy looks at in a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// When it was made.
    pub time: Time,
    /// Its tags.
    pub tags: &'a [String],
}

impl<'a> From<&'a Stored> for Candidate<'a> {
    fn from(stored: &'a Stored) -> Self {
        Self { time: stored.snapshot.time, tags: &stored.snapshot.tags }
    }
}

/// A rule that keeps one per period, at work.
struct Bucket {
    period: Period,
    left: Count,
    /// The span, and the instant after which it lies.
    within: Option<(Span, Timestamp)>,
    /// The period of the snapshot it kept last.
    kept: Option<i64>,
}

impl Bucket {
    /// Keeps a snapshot or not.
    fn offer(&mut self, place: usize, time: Time, is_oldest: bool) -> Option<Reason> {
        if self.left == Count::AtMost(0) || self.within.is_some_and(|(_, start)| time.instant <= start) {
            return None;
        }
        let bucket = self.period.bucket(time.civil(), place);
        let same = self.kept == Some(bucket);
        if same && !is_oldest {
            return None;
        }
        self.kept = Some(bucket);
        if let Count::AtMost(left) = &mut self.left {
            *left -= 1;
        }
        Some(Reason::Period { period: self.period, oldest: same, within: self.within.map(|(span, _)| span) })
    }
}

/// Gives the reasons to keep each snapshot of a group, newest first; one without reasons is to be removed.
///
/// ```
/// use repo_core::ops::forget::{Candidate, Count, Judge, Policy, judge};
/// use repo_core::time::{Timestamp, Zone};
///
/// let mut policy = Policy::default();
/// policy.each.daily = Count::AtMost(2);
/// let times = ["2024-05-02T20:00:00Z", "2024-05-02T08:00:00Z", "2024-05-01T20:00:00Z", "2024-04-30T20:00:00Z"];
/// let snapshots: Vec<_> =
///     times.iter().map(|time| Candidate { time: time.parse().expect("a time"), tags: &[] }).collect();
/// let now = Timestamp { seconds: 1_800_000_000, nanos: 0 };
/// let reasons = judge(&policy, &Judge { now, local: &Zone::UTC, zone: None }, &snapshots);
/// assert_eq!(reasons[0][0].to_string(), "daily snapshot");
/// assert!(reasons[1].is_empty() && !reasons[2].is_empty() && reasons[3].is_empty());
/// ```
pub fn judge(policy: &Policy, view: &Judge<'_>, newest_first: &[Candidate<'_>]) -> Vec<Vec<Reason>> {
    let seen = |time: Time| view.zone.map_or(time, |zone| zone.at(time.instant));
    let past = newest_first.iter().map(|candidate| candidate.time).find(|time| time.instant < view.now);
    let newest = past.map_or(Time::ZERO, seen);
    let start = |span: Span| span.before(newest, view.zone.unwrap_or(view.local));

    let within = (!policy.within.is_zero()).then(|| start(policy.within));
    let mut buckets = buckets(policy, start);
    let oldest = newest_first.len().saturating_sub(1);
    let reasons = |(place, candidate): (usize, &Candidate<'_>)| {
        let mut reasons = Vec::new();
        if is_protected(candidate.tags) {
            reasons.push(Reason::Protected);
        }
        let sets = policy.tags.iter().filter(|set| has_tags(candidate.tags, set));
        reasons.extend(sets.map(|set| Reason::Tags(set.clone())));
        if within.is_some_and(|start| candidate.time.instant > start) {
            reasons.push(Reason::Within(policy.within));
        }
        let time = seen(candidate.time);
        reasons.extend(buckets.iter_mut().filter_map(|bucket| bucket.offer(place, time, place == oldest)));
        reasons
    };
    newest_first.iter().enumerate().map(reasons).collect()
}

/// The rules of a policy that keep one per period, in the order in which reasons are told.
fn buckets(policy: &Policy, start: impl Fn(Span) -> Timestamp) -> Vec<Bucket> {
    let counted = policy.counted().map(|(period, count)| (period, count, None));
    let spanned = policy.each_within.pairs().into_iter().filter(|(_, span)| !span.is_zero());
    let spanned = spanned.map(|(period, span)| (period, Count::Unlimited, Some((span, start(span)))));
    let rules = counted.chain(spanned).filter(|(_, left, _)| *left != Count::AtMost(0));
    rules.map(|(period, left, within)| Bucket { period, left, within, kept: None }).collect()
}

/// Restic's words for a policy, such as `keep 3 latest, 2 yearly snapshots`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |period| if period == Period::Last { "latest" } else { Period::word(period) };
        let counted = self.counted().filter_map(|(period, count)| match count {
            Count::AtMost(0) => None,
            Count::AtMost(count) => Some(format!("{count} {}", word(period))),
            Count::Unlimited => Some(format!("all {}", word(period))),
        });
        let counted = counted.collect::<Vec<_>>().join(", ");
        let spans = self.each_within.pairs().into_iter().filter(|(_, span)| !span.is_zero());
        let each = spans.map(|(period, span)| format!("{} snapshots within {span}", period.word()));

        let counted = (!counted.is_empty()).then(|| format!("{counted} snapshots"));
        let mut parts = vec![counted.into_iter().chain(each).collect::<Vec<_>>().join(", ")];
        if !self.tags.is_empty() {
            let sets: Vec<_> = self.tags.iter().map(|set| format!("[{}]", set.join(", "))).collect();
            parts.push(format!("all snapshots with tags [{}]", sets.join(" ")));
        }
        if !self.within.is_zero() {
            parts.push(format!("all snapshots within {} of the newest", self.within));
        }
        parts.retain(|part| !part.is_empty());
        if parts.is_empty() { f.write_str("remove") } else { write!(f, "keep {}", parts.join(" and ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshots::PROTECTED;

    const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

    /// Judges snapshots at those times; a word after a blank is a tag. Gives the places of those kept.
    fn kept(policy: &Policy, local: &str, zone: Option<&str>, snapshots: &[&str]) -> Vec<String> {
        let parsed: Vec<(Time, Vec<String>)> = snapshots
            .iter()
            .map(|text| {
                let mut words = text.split(' ');
                (words.next().unwrap().parse().unwrap(), words.map(str::to_owned).collect())
            })
            .collect();
        let candidates: Vec<_> = parsed.iter().map(|(time, tags)| Candidate { time: *time, tags }).collect();
        let local = Zone::from_tz(Some(local));
        let zone = zone.map(|name| Zone::named(name).unwrap());
        let view = Judge { now: NOW, local: &local, zone: zone.as_ref() };
        let told = |(place, reasons): (usize, &Vec<Reason>)| {
            let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
            (!reasons.is_empty()).then(|| format!("{place} {}", reasons.join(", ")))
        };
        judge(&policy.clone(), &view, &candidates).iter().enumerate().filter_map(told).collect()
    }

    fn daily(count: u64) -> Policy {
        let each = Each { daily: Count::AtMost(count), ..Each::default() };
        Policy { each, ..Policy::default() }
    }

    fn within(text: &str) -> Policy {
        Policy { within: text.parse().unwrap(), ..Policy::default() }
    }

    #[test]
    fn days_are_those_of_the_writers_clock_unless_a_zone_is_given() {
        let times = [
            "2025-03-30T09:00:00Z",
            "2025-03-29T22:30:00-04:00",
            "2025-03-30T03:00:00+09:00",
            "2025-03-29T10:00:00Z",
        ];
        let check = |zone, places: &[usize]| {
            let expected: Vec<_> = places.iter().map(|place| format!("{place} daily snapshot")).collect();
            assert_eq!(kept(&daily(5), "UTC", zone, &times), expected, "{zone:?}");
        };
        check(None, &[0, 1, 2, 3]);
        let oldest = kept(&daily(5), "UTC", Some("UTC"), &times);
        assert_eq!(oldest, ["0 daily snapshot", "2 daily snapshot", "3 oldest daily snapshot"]);
    }

    #[test]
    fn oldest_is_kept_while_a_count_is_not_used_up() {
        let times = ["2024-01-02T02:00:00Z", "2024-01-01T02:00:00Z", "2024-01-01T01:00:00Z"];
        let expected = ["0 daily snapshot", "1 daily snapshot", "2 oldest daily snapshot"];
        assert_eq!(kept(&daily(3), "UTC", None, &times), expected);
        assert_eq!(kept(&daily(2), "UTC", None, &times), expected[..2]);
    }

    #[test]
    fn spans_are_measured_from_the_newest_that_is_not_in_the_future() {
        let times = [
            "2099-01-01T00:00:00Z",
            "2024-03-31T00:00:00Z",
            "2024-03-02T00:00:00.5Z",
            "2024-03-02T00:00:00Z",
        ];
        let expected = ["0 within 1m", "1 within 1m", "2 within 1m"];
        assert_eq!(kept(&within("1m"), "UTC", None, &times), expected, "31 February is 2 March");
        assert_eq!(kept(&within("1m"), "UTC", None, &times[..1]), ["0 within 1m"]);
    }

    /// Half a year back from summer in Berlin is winter in Berlin, an hour off, if the program runs there.
    #[test]
    fn spans_follow_summer_time_where_the_program_runs() {
        let times = ["2024-07-01T12:00:00+02:00", "2024-01-01T10:30:00Z"];
        assert_eq!(kept(&within("6m"), "UTC", None, &times), ["0 within 6m", "1 within 6m"]);
        assert_eq!(kept(&within("6m"), "Europe/Berlin", None, &times), ["0 within 6m"]);
        assert_eq!(kept(&within("6m"), "UTC", Some("Europe/Berlin"), &times), ["0 within 6m"]);
    }

    #[test]
    fn tags_keep_in_restics_way_and_protection_always_does() {
        let protected = format!("2024-01-01T00:00:00Z {PROTECTED}");
        let times = ["2024-01-03T00:00:00Z a b", "2024-01-02T00:00:00Z", &protected];
        let tags = |sets: &[&[&str]]| Policy {
            tags: sets.iter().map(|set| set.iter().map(|&tag| tag.to_owned()).collect()).collect(),
            ..Policy::default()
        };
        let check = |sets: &[&[&str]], expected: &[&str]| {
            assert_eq!(kept(&tags(sets), "UTC", None, &times), expected, "{sets:?}");
        };
        check(&[&["a", "b"], &["a"]], &["0 has tags [a, b], has tags [a]", "2 protected"]);
        check(&[&["a", "c"]], &["2 protected"]);
        check(&[&[""]], &["1 has tags []", "2 protected"]);
        check(&[&["", "a"]], &["1 has tags [, a]", "2 protected"]);
        check(&[&["a", ""]], &["2 protected"]);
    }

    #[test]
    fn spans_read_as_restics_and_are_told_in_one_form() {
        let check = |text: &str, expected: Option<&str>| {
            let span = text.parse::<Span>().ok().map(|span| span.to_string());
            assert_eq!(span.as_deref(), expected, "{text:?}");
        };
        check("2y5m7d3h", Some("2y5m7d3h"));
        check(" 3h2y ", Some("2y3h"));
        check("1m2m", Some("2m"));
        check("0d", Some(""));
        check("", Some(""));
        for text in ["5", "d", "1w", "1D", "1.5d", "+1d", "-1d", "1d1", "99999999999d", "1ä", "- d", "-ä"] {
            check(text, None);
        }
        assert_eq!("-1d".parse::<Span>(), Err(SpanError::Negative));
    }

    #[test]
    fn policies_are_told_in_restics_words() {
        let mut policy = Policy::default();
        assert_eq!(policy.to_string(), "remove");
        policy.within = "2y5m7d3h".parse().unwrap();
        assert_eq!(policy.to_string(), "keep all snapshots within 2y5m7d3h of the newest");
        policy.last = Count::AtMost(2);
        policy.each.yearly = Count::Unlimited;
        policy.each_within.daily = "1d".parse().unwrap();
        policy.tags = vec![vec!["a".into(), "b".into()], vec![String::new()]];
        assert_eq!(
            policy.to_string(),
            "keep 2 latest, all yearly snapshots, daily snapshots within 1d and all snapshots with tags \
             [[a, b] []] and all snapshots within 2y5m7d3h of the newest"
        );
    }
}
