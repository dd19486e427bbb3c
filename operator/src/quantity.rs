use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// One, in billionths.
const ONE: i128 = 1_000_000_000;

/// Size of a quantity in billionths, so that `1`, `1000m` and `1e0` are equal. `None` if it is none.
pub fn nanos(quantity: &Quantity) -> Option<i128> {
    parse(&quantity.0)
}

/// The quantity as a number, where it is a whole one.
pub fn whole(quantity: &Quantity) -> Option<i128> {
    nanos(quantity).filter(|size| size % ONE == 0).map(|size| size / ONE)
}

/// The quantity as bytes, where it is none below zero; a part of a byte is dropped.
pub fn bytes(quantity: &Quantity) -> Option<u64> {
    u64::try_from(nanos(quantity)? / ONE).ok()
}

/// As [`nanos`], for a quantity inside JSON.
pub fn parse(text: &str) -> Option<i128> {
    let digits_end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(digits_end);
    let (numerator, denominator) = scale(suffix)?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let places = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let size = mantissa.checked_mul(numerator)? / denominator.checked_mul(places)?;
    Some(if negative { -size } else { size })
}

/// What one unit of the suffix is in billionths, as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let fraction = match suffix {
        "" => (ONE, 1),
        "n" => (ONE, ONE),
        "u" => (ONE, 1_000_000),
        "m" => (ONE, 1_000),
        "k" => (ONE * 1_000, 1),
        "M" => (ONE * 1_000_000, 1),
        "G" => (ONE * 1_000_000_000, 1),
        "T" => (ONE * 1_000_000_000_000, 1),
        "P" => (ONE * 1_000_000_000_000_000, 1),
        "E" => (ONE * 1_000_000_000_000_000_000, 1),
        "Ki" => (ONE << 10, 1),
        "Mi" => (ONE << 20, 1),
        "Gi" => (ONE << 30, 1),
        "Ti" => (ONE << 40, 1),
        "Pi" => (ONE << 50, 1),
        "Ei" => (ONE << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10_i128.checked_pow(power.unsigned_abs().min(27))?;
            if power < 0 { (ONE, size) } else { (ONE.checked_mul(size)?, 1) }
        }
    };
    Some(fraction)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn spellings_of_one_size_are_equal() {
        for same in [["1", "1000m"], ["1Gi", "1024Mi"], ["0.5", "500m"], ["1e3", "1k"], ["100e-3", "0.1"]] {
            assert!(parse(same[0]).is_some(), "{same:?}");
            assert_eq!(parse(same[0]), parse(same[1]), "{same:?}");
        }
        assert_ne!(parse("1G"), parse("1Gi"));
        assert_eq!(parse("-1"), Some(-1_000_000_000));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "Gi", "1 Gi", "1gi", "a", "1e", "--1", "1.1.1"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
