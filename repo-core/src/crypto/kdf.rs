//! Password → key, by scrypt.
//!
//! In: password bytes as given (no Unicode normalisation), the salt and cost of a key file. Out: a [`Key`].
//! The cost stands in a file that anybody with access to the storage can write, so it is checked before memory
//! is spent on it.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::context::Clock;
use crate::crypto::{InvalidKey, Key};

/// Length of the salt in key files, in bytes.
pub const SALT_LEN: usize = 64;

/// Memory one derivation may ask for by default, in bytes: eight times what restic's calibration gives.
pub const KDF_MEMORY_MAX: u64 = 256 << 20;

/// Memory times passes one derivation may ask for, in bytes; about ten seconds of one core.
pub const KDF_WORK_MAX: u64 = 4 << 30;

/// How long opening a key may take when the cost is chosen here.
const CALIBRATE_TO: Duration = Duration::from_millis(500);

/// At most so many passes are chosen here, however fast the machine.
const PASSES_MAX: u32 = 32;

/// Why a password gave no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KdfError {
    /// The numbers describe no scrypt.
    #[error("scrypt cost N={n} r={r} p={p} is not valid")]
    Invalid {
        /// Table rows.
        n: u64,
        /// Row size in 128 bytes.
        r: u32,
        /// Passes.
        p: u32,
    },
    /// Deriving would need more memory or work than allowed.
    #[error("scrypt cost N={n} r={r} p={p} is above the limit")]
    Excessive {
        /// Table rows.
        n: u64,
        /// Row size in 128 bytes.
        r: u32,
        /// Passes.
        p: u32,
    },
    /// The derived key has a part that is all zero.
    #[error(transparent)]
    Key(#[from] InvalidKey),
}

/// The cost of deriving a key with scrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScryptParams {
    /// Table rows, a power of two from 2 on.
    pub n: u64,
    /// Row size in units of 128 bytes.
    pub r: u32,
    /// Independent passes.
    pub p: u32,
}

impl ScryptParams {
    /// What restic's calibration gives on every machine but for the passes: 32 MiB, one pass.
    pub const ONE_PASS: Self = Self { n: 1 << 15, r: 8, p: 1 };

    /// Bytes one pass needs: 128 · N · r.
    fn memory(self) -> Option<u64> {
        self.n.checked_mul(u64::from(self.r))?.checked_mul(128)
    }

    /// Refuses costs that are no scrypt, need more than `memory_max` bytes (for the table, or for the passes'
    /// starting points), or more than [`KDF_WORK_MAX`] in all passes. Usual limit: [`KDF_MEMORY_MAX`].
    pub fn check(self, memory_max: u64) -> Result<(), KdfError> {
        let Self { n, r, p } = self;
        if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
            return Err(KdfError::Invalid { n, r, p });
        }
        let passes = u64::from(p);
        let fits = self.memory().is_some_and(|memory| {
            let starts = u64::from(r).saturating_mul(passes).saturating_mul(128);
            let work = memory.saturating_mul(passes);
            memory <= memory_max && starts <= memory_max && work <= KDF_WORK_MAX
        });
        if fits { Ok(()) } else { Err(KdfError::Excessive { n, r, p }) }
    }

    /// Whether the cost is below one pass of restic's, so that a stolen key file resists guessing less well.
    pub fn is_weak(self) -> bool {
        let work = |params: Self| params.memory().map(|memory| u128::from(memory) * u128::from(params.p));
        work(self).is_some_and(|own| Some(own) < work(Self::ONE_PASS))
    }
}

/// Derives the key of a password; takes as long as the cost says, on all cores.
///
/// Needs 128 · N · r bytes per pass in flight; passes run side by side as long as they stay together below
/// [`KDF_MEMORY_MAX`]. Call [`ScryptParams::check`] first with the limit that holds: here only costs above
/// [`KDF_WORK_MAX`] are refused.
pub fn derive(password: &[u8], salt: &[u8], params: ScryptParams) -> Result<Key, KdfError> {
    let ScryptParams { n, r, p } = params;
    params.check(KDF_WORK_MAX)?;
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| KdfError::Invalid { n, r, p })?;
    let cost = scrypt::Params::new(log_n, r, p).map_err(|_| KdfError::Invalid { n, r, p })?;
    let mut bytes = Zeroizing::new([0; 64]);
    let mut run =
        || scrypt::scrypt(password, salt, &cost, &mut *bytes).map_err(|_| KdfError::Invalid { n, r, p });
    let side_by_side = KDF_MEMORY_MAX / params.memory().unwrap_or(u64::MAX).max(1);
    if side_by_side >= u64::from(p).min(rayon::current_num_threads() as u64) {
        run()?;
    } else {
        // The crate runs its passes on the pool it finds: give it a smaller one.
        let threads = usize::try_from(side_by_side.max(1)).unwrap_or(1);
        match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
            Ok(pool) => pool.install(run)?,
            Err(_) => run()?,
        }
    }
    Ok(Key::from_bytes(&bytes)?)
}

/// Chooses the cost for a new key on this machine: restic's N = 32768 and r = 8 (32 MiB), and as many passes as
/// one core does in half a second, 1 to 32.
///
/// Times one pass, so it takes a tenth of that. One core is what counts: attackers have theirs, and other
/// programs that open the key run the passes one after another.
pub fn calibrate(clock: &dyn Clock) -> ScryptParams {
    let start = clock.elapsed();
    let params = ScryptParams::ONE_PASS;
    // The outcome does not matter, only how long it took.
    let _ = derive(b"calibrate", &[0; SALT_LEN], params);
    let pass = clock.elapsed().saturating_sub(start);
    let fit = CALIBRATE_TO.as_micros().checked_div(pass.as_micros());
    // A clock that stands still says nothing about the machine.
    let p = fit.map_or(1, |fit| u32::try_from(fit).unwrap_or(PASSES_MAX).clamp(1, PASSES_MAX));
    ScryptParams { p, ..params }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::context::{Cancel, Cancelled};
    use crate::crypto::vectors::{hex, vectors};
    use crate::time::Timestamp;

    fn params(row: &serde_json::Value) -> ScryptParams {
        let number = |name: &str| u32::try_from(row[name].as_u64().unwrap()).unwrap();
        ScryptParams { n: number("N").into(), r: number("r"), p: number("p") }
    }

    fn base64(value: &serde_json::Value) -> Vec<u8> {
        STANDARD.decode(value.as_str().unwrap()).unwrap()
    }

    #[test]
    fn vectors_derive_to_the_byte() {
        let vectors = vectors();
        for row in vectors["kdf"].as_array().unwrap() {
            let password = row["password"].as_str().unwrap().as_bytes();
            let key = derive(password, &base64(&row["salt_b64"]), params(row)).unwrap();
            let bytes = [&key.encrypt()[..], key.mac_k(), key.mac_r()].concat();
            assert_eq!(bytes, hex(&row["derived_64_bytes_hex"]), "{}", row["password"]);
        }
    }

    #[test]
    fn password_of_the_key_file_opens_its_master_key() {
        let vectors = vectors();
        let file: serde_json::Value =
            serde_json::from_str(vectors["key_file"]["json"].as_str().unwrap()).unwrap();
        let password = vectors["key_file"]["password"].as_str().unwrap().as_bytes();
        let key = derive(password, &base64(&file["salt"]), params(&file)).unwrap();
        let mut json = Vec::new();
        key.open(&base64(&file["data"]), &mut json).unwrap();
        assert_eq!(json, vectors["key"]["master_key_json"].as_str().unwrap().as_bytes());
        let wrong = derive(b"Fixture", &base64(&file["salt"]), params(&file)).unwrap();
        assert!(wrong.open(&base64(&file["data"]), &mut json).is_err());
    }

    #[test]
    fn costs_are_allowed_up_to_the_limits_and_not_beyond() {
        #[derive(Debug, PartialEq)]
        enum Verdict {
            Fine,
            Invalid,
            Excessive,
        }
        use Verdict::{Excessive, Fine, Invalid};
        let check = |n: u64, r: u32, p: u32, expected: Verdict| {
            let verdict = match (ScryptParams { n, r, p }).check(KDF_MEMORY_MAX) {
                Ok(()) => Fine,
                Err(KdfError::Excessive { .. }) => Excessive,
                Err(_) => Invalid,
            };
            assert_eq!(verdict, expected, "N={n} r={r} p={p}");
        };
        check(2, 1, 1, Fine);
        check(1 << 15, 8, 9, Fine);
        check(1 << 17, 8, 1, Fine); // rustic's
        check(0, 8, 1, Invalid);
        check(1, 8, 1, Invalid);
        check((1 << 15) - 1, 8, 1, Invalid);
        check((1 << 15) + 1, 8, 1, Invalid);
        check(1 << 15, 0, 1, Invalid);
        check(1 << 15, 8, 0, Invalid);
        // memory: 128 · 2^18 · 8 = 256 MiB
        check(1 << 18, 7, 1, Fine);
        check(1 << 18, 8, 1, Fine);
        check(1 << 18, 9, 1, Excessive);
        check(1 << 19, 8, 1, Excessive);
        // work: 128 · 2^15 · 8 · 128 = 4 GiB
        check(1 << 15, 8, 127, Fine);
        check(1 << 15, 8, 128, Fine);
        check(1 << 15, 8, 129, Excessive);
        // the passes' starting points: 128 · r · p = 256 MiB
        check(2, 8, (1 << 18) - 1, Fine);
        check(2, 8, 1 << 18, Fine);
        check(2, 8, (1 << 18) + 1, Excessive);
        check(1 << 63, 8, 1, Excessive);
        check(2, u32::MAX, u32::MAX, Excessive);
    }

    #[test]
    fn limit_can_be_raised() {
        let cost = ScryptParams { n: 1 << 20, r: 8, p: 1 };
        assert!(cost.check(KDF_MEMORY_MAX).is_err());
        assert!(cost.check(1 << 30).is_ok());
    }

    #[test]
    fn absurd_costs_are_refused_without_the_check_too() {
        let absurd = [(1 << 63, 8, 1), (1 << 40, 8, 1), (3, 8, 1), (2, u32::MAX, u32::MAX)];
        for (n, r, p) in absurd {
            assert!(derive(b"", &[0; 64], ScryptParams { n, r, p }).is_err(), "N={n} r={r} p={p}");
        }
    }

    #[test]
    fn cost_below_one_pass_of_restic_is_weak() {
        assert!(ScryptParams { n: 1 << 14, r: 8, p: 1 }.is_weak());
        assert!(!ScryptParams { n: 1 << 14, r: 8, p: 2 }.is_weak());
        assert!(!ScryptParams::ONE_PASS.is_weak());
    }

    /// A clock that advances by a fixed span at every look.
    struct Ticking(Duration, AtomicU64);

    impl Clock for Ticking {
        fn now(&self) -> Timestamp {
            Timestamp::default()
        }

        fn elapsed(&self) -> Duration {
            self.0 * u32::try_from(self.1.fetch_add(1, Ordering::Relaxed)).unwrap()
        }

        fn sleep(&self, _: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
            cancel.check()
        }
    }

    #[test]
    fn passes_fill_half_a_second() {
        let check = |pass_ms: u64, expected: u32| {
            let clock = Ticking(Duration::from_millis(pass_ms), AtomicU64::new(0));
            assert_eq!(calibrate(&clock), ScryptParams { n: 32768, r: 8, p: expected }, "{pass_ms} ms");
        };
        check(0, 1);
        check(1, 32);
        check(60, 8);
        check(250, 2);
        check(2000, 1);
    }
}
