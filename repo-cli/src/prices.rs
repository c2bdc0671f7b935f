//! The file with what storage charges: text → the prices that fit a location.
//!
//! ```text
//! # what a location charges that begins like this; the longest beginning counts
//! [s3:s3.amazonaws.com/my-bucket]
//! currency = USD
//! get-per-1000 = 0.0004      put-per-1000 = 0.005      delete-per-1000 = 0
//! read-per-gb = 0.09         month-per-gb = 0.0125     minimum-days = 30
//! ```
//!
//! One setting per line. A section `[*]` is for every location.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use repo_core::ops::prune::Prices;

/// Prices, and in what they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tariff {
    pub currency: String,
    pub prices: Prices,
}

/// Reads a file and gives what it says about a location.
pub fn of(file: &Path, location: &str) -> Result<Option<Tariff>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text, location).with_context(|| format!("in {}", file.display()))
}

fn parse(text: &str, location: &str) -> Result<Option<Tariff>> {
    let mut found: Option<(usize, Tariff)> = None;
    let mut fits: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
        let told = |what: &str| anyhow!("line {}: {what}", number + 1);
        if line.is_empty() {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let start = section.strip_suffix(']').ok_or_else(|| told("a section ends with ]"))?;
            fits = match start {
                "*" => Some(0),
                start => location.starts_with(start).then_some(start.len()),
            };
            if let Some(len) = fits {
                let longer = found.as_ref().is_none_or(|(other, _)| *other <= len);
                fits = longer.then_some(len);
                if longer {
                    found = Some((len, Tariff::default()));
                }
            }
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| told("expected NAME = VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        let amount = || {
            let amount = value.parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount >= 0.0);
            amount.ok_or_else(|| told("expected an amount, such as 0.005"))
        };
        let mut ignored = Tariff::default();
        let tariff = match &mut found {
            Some((_, tariff)) if fits.is_some() => tariff,
            _ => &mut ignored,
        };
        match key {
            "currency" => value.clone_into(&mut tariff.currency),
            "get-per-1000" => tariff.prices.get = amount()? / 1000.0,
            "put-per-1000" => tariff.prices.put = amount()? / 1000.0,
            "delete-per-1000" => tariff.prices.remove = amount()? / 1000.0,
            "read-per-gb" => tariff.prices.read_gb = amount()?,
            "month-per-gb" => tariff.prices.month_gb = amount()?,
            "minimum-days" => {
                tariff.prices.days_min = value.parse().map_err(|_| told("expected a number of days"))?;
            }
            _ => return Err(told(&format!("no such price: {key}"))),
        }
    }
    Ok(found.map(|(_, tariff)| tariff))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# all
[*]
currency = EUR
put-per-1000 = 5

[s3:host/bucket]   # nearer
currency = USD
get-per-1000 = 0.4
minimum-days = 30
[s3:host]
get-per-1000 = 7
";

    #[test]
    fn the_longest_beginning_counts() {
        let of = |location| parse(TEXT, location).unwrap().unwrap();
        assert_eq!((of("/folder").currency.as_str(), of("/folder").prices.put), ("EUR", 0.005));
        let near = of("s3:host/bucket/x");
        assert_eq!((near.currency.as_str(), near.prices.get, near.prices.days_min), ("USD", 0.0004, 30));
        assert_eq!((of("s3:host/other").currency.as_str(), of("s3:host/other").prices.get), ("", 0.007));
        assert_eq!(parse("[x]\nput-per-1000 = 1", "y").unwrap(), None);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            ("[x", "line 1"),
            ("[*]\nput = 1", "line 2: no such price"),
            ("[*]\nput-per-1000 = -1", "line 2"),
            ("[*]\nput-per-1000", "line 2"),
        ] {
            assert!(parse(text, "x").unwrap_err().to_string().contains(expected), "{text}");
        }
    }
}
