//! Numbers for people: three digits, and confidence in percent.

/// Three significant digits, or all before the decimal point, with thousands separators.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size >= 99.95 || size == size.round() => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.0995 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    let rest =
        if rest.is_empty() { rest } else { rest.trim_end_matches('0').trim_end_matches('.') };
    out.push_str(rest);
    out
}

/// A confidence in percent, with as many nines as it has: no measurement is 100 % certain.
pub fn sure(confidence: f64) -> String {
    let percent = confidence * 100.0;
    let rounded = number(percent);
    if rounded != "100" {
        return rounded;
    }
    let nines = (1..=6).map(|decimals| format!("{percent:.decimals$}"));
    nines.into_iter().find(|text| !text.starts_with("100")).unwrap_or("99.999999".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_enough() {
        let shown = [412.0, 0.5, 12.34, 5000.0, 1_234_567.8, 99.96, 0.0123, -1.5].map(number);
        assert_eq!(shown, ["412", "0.5", "12.3", "5,000", "1,234,568", "100", "0.0123", "-1.5"]);
    }

    #[test]
    fn nothing_is_a_hundred_percent_sure() {
        let shown = [0.95, 0.99, 0.999, 0.9999, 0.999_999, 1.0].map(sure);
        assert_eq!(shown, ["95", "99", "99.9", "99.99", "99.9999", "99.999999"]);
    }
}
