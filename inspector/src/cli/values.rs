//! Values on the command line: each is understood whole, or refused with what it may be.

use crate::tui;

/// The least recording: the greeting and a small state, twice.
const LEAST_RECORDING: u64 = 64 << 10;

/// Bytes, with a unit or without.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let scale = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = text[..digits].parse::<u64>().ok().zip(scale).and_then(|(n, s)| n.checked_mul(s));
    match bytes {
        Some(bytes) if bytes >= LEAST_RECORDING => Ok(bytes),
        _ => Err("a size of at least 64K, such as 64M or 1G".to_owned()),
    }
}

/// How much faster a recording is shown than it was made.
pub(super) fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("a factor, from 0.01 to 1000".to_owned()),
    }
}

/// A length of time.
pub(super) fn parse_seconds(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.chars().last() {
        Some('s') => (&text[..text.len() - 1], 1.0),
        Some('m') => (&text[..text.len() - 1], 60.0),
        Some('h') => (&text[..text.len() - 1], 3600.0),
        _ => (text, 1.0),
    };
    match number.parse::<f64>().map(|number| number * scale) {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds, from 0.1 to 86400, or such as 90s, 10m, 1h".to_owned()),
    }
}

/// A time since the beginning.
pub(super) fn parse_from(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("seconds, 0 or more".to_owned()),
    }
}

/// States a second.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if tui::RATES_HZ.contains(&rate) => Ok(rate),
        _ => Err("states a second, from 0.1 to 50".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the ends of every range are taken, what lies beyond is not.
    use super::*;

    #[test]
    fn ranges_end_where_they_say() {
        for (text, speed) in [("0.01", 0.01), ("1", 1.0), ("1000", 1000.0)] {
            assert_eq!(parse_speed(text), Ok(speed));
        }
        for text in ["0", "0.009", "1000.1", "-1", "NaN", "inf", "", "4x"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
        assert_eq!((parse_from("0"), parse_from("2.5")), (Ok(0.0), Ok(2.5)));
        for text in ["-0.1", "1e10", "NaN", "inf", "soon"] {
            assert!(parse_from(text).is_err(), "{text}");
        }
        for (text, bytes) in
            [("64K", 64 << 10), ("65536", 64 << 10), ("3MiB", 3 << 20), ("1g", 1 << 30)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["63K", "65535", "1T", "K", "-1M", "99999999999G", "1.5G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_seconds("0.1").is_ok() && parse_seconds("0.09").is_err());
        assert_eq!((parse_seconds("60s"), parse_seconds("1.5m")), (Ok(60.0), Ok(90.0)));
        assert!(parse_seconds("24h").is_ok() && parse_seconds("25h").is_err());
        assert!(["s", "", "m5", "5x", "é"].iter().all(|text| parse_seconds(text).is_err()));
        assert!(parse_seconds("86400").is_ok() && parse_seconds("86401").is_err());
    }
}
