//! Random trouble that a number repeats, and a clock on which nobody waits long for it to end.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use repo_core::context::{Cancel, Cancelled, Clock, Context, SystemClock};
use repo_core::time::Timestamp;

use crate::http_proxy::{HttpProxy, Misdeed};
use crate::proxy::{Direction, End, Line, Proxy, Trouble};

/// Runs what `name` names with one seed after the other; a failure says how to repeat it alone.
///
/// `LARDER_TEST_SEED` takes one seed out of them.
pub fn for_seeds(name: &str, seeds: Range<u64>, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let only: Option<u64> = std::env::var("LARDER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seeds.filter(|seed| only.is_none_or(|only| only == *seed)) {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("\nrepeat it with: LARDER_TEST_SEED={seed} cargo nextest run -p tests {name}\n");
            std::panic::resume_unwind(panic);
        }
    }
}

/// How many runs to make: the fixed sample, or as many as `LARDER_TEST_RUNS` says.
pub fn runs(sample: u64) -> u64 {
    std::env::var("LARDER_TEST_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(sample)
}

/// A context in which pauses between repeats are over at once and yet count as time.
pub fn hurried() -> Context {
    Context { clock: Arc::new(Hurried::default()), ..Context::new() }
}

/// A context in which pauses between repeats take a twentieth of their time, for servers that need some to come back.
pub fn brisk() -> Context {
    let clock = Hurried { pause_divisor: 20, ..Hurried::default() };
    Context { clock: Arc::new(clock), ..Context::new() }
}

/// Does not wait between repeats (from half a second to some minutes), nor for a lock to settle; a watch over progress
/// and renewing a lock are real.
struct Hurried {
    system: SystemClock,
    skipped_ms: AtomicU64,
    /// What part of a pause is real.
    pause_divisor: u32,
}

impl Default for Hurried {
    fn default() -> Self {
        Self { system: SystemClock::default(), skipped_ms: AtomicU64::default(), pause_divisor: u32::MAX }
    }
}

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        self.system.now()
    }

    fn elapsed(&self) -> Duration {
        self.system.elapsed() + Duration::from_millis(self.skipped_ms.load(Ordering::SeqCst))
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        const SETTLE: Duration = Duration::from_millis(200);
        if (span < Duration::from_millis(400) && span != SETTLE) || span > Duration::from_mins(4) {
            return self.system.sleep(span, cancel);
        }
        // Long enough for a server to notice that somebody left.
        let real = (span / self.pause_divisor).max(Duration::from_millis(2));
        let skipped = span.saturating_sub(real);
        self.skipped_ms.fetch_add(u64::try_from(skipped.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.system.sleep(real, cancel)
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD134_2543_DE82_EF95))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// Whether something happens that happens so many times out of a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// A line whose first connections meet trouble, and the later ones none: whoever tries again gets through.
pub fn bad_line(seed: u64, target: SocketAddr) -> Proxy {
    let mut random = Random::new(seed);
    let troubled = 1 + random.below(8);
    let line = Line {
        one_way: Duration::from_millis(random.below(3)),
        bytes_per_second: random.percent(10).then_some(4 << 20),
    };
    Proxy::start(target, line, move |number| {
        if number >= troubled || random.percent(15) {
            return None;
        }
        if random.percent(15) {
            return Some(Trouble::Refuse);
        }
        let direction = if random.percent(60) { Direction::Up } else { Direction::Down };
        // From some bytes to half a megabyte, small numbers as likely as large ones.
        let bits = 6 + random.below(13);
        let after = 1 + random.below(1 << bits);
        // A stall takes real time until it is noticed.
        let end = match random.below(50) {
            0 => End::Stall,
            1..=20 => End::Close,
            _ => End::Reset,
        };
        Some(Trouble::Cut { direction, after, end })
    })
}

/// A server that does a request in four wrong, for its first requests; later ones it does right.
pub fn bad_server(seed: u64, target: SocketAddr) -> HttpProxy {
    let mut random = Random::new(seed);
    let troubled = 10 + random.below(60);
    HttpProxy::start(target, move |request| {
        if request.number >= troubled || !random.percent(25) {
            return None;
        }
        Some(match random.below(20) {
            0..=2 => Misdeed::Answer(500, None),
            3..=5 => Misdeed::Answer(503, Some(2)),
            6 => Misdeed::Answer(503, None),
            7..=8 => Misdeed::Answer(429, Some(1)),
            9 => Misdeed::Answer(502, None),
            10..=11 => Misdeed::Reset,
            12..=14 => Misdeed::LoseAnswer,
            15..=16 => Misdeed::Twice,
            17 => Misdeed::Truncate,
            18 if random.percent(5) => Misdeed::Stall,
            _ => Misdeed::Late(Duration::from_millis(random.below(50))),
        })
    })
}
