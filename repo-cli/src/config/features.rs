//! restic's feature switches: known by name, mostly without effect here.

use anyhow::Result;

use super::Environment;
use crate::args::values;
use crate::exit::wrong;

/// A feature switch of restic.
#[derive(Debug)]
pub struct Feature {
    /// Its name in `RESTIC_FEATURES`.
    pub name: &'static str,
    /// alpha, beta, or stable: a stable one cannot be switched any more.
    pub kind: &'static str,
    /// Whether it is on if nobody says anything.
    pub default: bool,
    /// What larder does about it.
    pub about: &'static str,
}

/// The feature switches restic knows.
pub const FEATURES: [Feature; 7] = [
    Feature {
        name: "backend-error-redesign",
        kind: "beta",
        default: true,
        about: "requests that stand still are repeated; larder always does so",
    },
    Feature {
        name: "deprecate-legacy-index",
        kind: "stable",
        default: true,
        about: "index files of restic 0.1 are not read",
    },
    Feature {
        name: "deprecate-s3-legacy-layout",
        kind: "stable",
        default: true,
        about: "the layout that restic 0.7 had in buckets is not read",
    },
    Feature {
        name: "device-id-for-hardlinks",
        kind: "alpha",
        default: false,
        about: "device numbers for hard links only; accepted, larder stores them always",
    },
    Feature {
        name: "explicit-s3-anonymous-auth",
        kind: "stable",
        default: true,
        about: "a bucket is used without credentials only with -o s3.unsafe-anonymous-auth",
    },
    Feature {
        name: "s3-restore",
        kind: "alpha",
        default: false,
        about: "cold packs are thawed with -o s3.enable-restore; larder does not ask for the switch",
    },
    Feature {
        name: "safe-forget-keep-tags",
        kind: "stable",
        default: true,
        about: "a policy with an unknown tag does not remove everything",
    },
];

/// Checks `RESTIC_FEATURES`; gives a warning for every switch that cannot be switched any more.
pub(super) fn check(environment: &Environment) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let text = environment.get("FEATURES").unwrap_or_default();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let correct = "Correct the variable RESTIC_FEATURES.";
        let Some(feature) = FEATURES.iter().find(|known| known.name == name) else {
            return Err(wrong(format!("unknown feature flag {name:?}"), correct));
        };
        if values::boolean(value).is_none() {
            return Err(wrong(format!("failed to parse value {value:?} for feature flag {name}"), correct));
        }
        if feature.kind == "stable" {
            warnings.push(format!(
                "feature flag {name:?} is always enabled and will be removed in a future release"
            ));
        }
    }
    Ok(warnings)
}
