//! Floating-point numbers in JSON, as Go writes them.

/// The shortest text that reads back the same: plain, or with an exponent if very large or very small.
pub fn go_float(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "0".to_owned(); // JSON knows no such numbers
    }
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        // Rust writes 1e21 and 1e-7; Go writes 1e+21 and 1e-7.
        return match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
            _ => text,
        };
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::unreadable_literal, reason = "written as they appear in the text")]
    fn numbers_are_as_short_as_go_writes_them() {
        let check = |value: f64, expected: &str| assert_eq!(go_float(value), expected);
        check(0.0, "0");
        check(1.0, "1");
        check(100.0, "100");
        check(0.07591300231861361, "0.07591300231861361");
        check(1.0174374601001692, "1.0174374601001692");
        check(0.000001, "0.000001");
        check(0.00000015, "1.5e-7");
        check(1e21, "1e+21");
        check(f64::NAN, "0");
    }
}
