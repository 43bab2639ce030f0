//! Figures as people read them: IEC units, percentages, rates, times. Widths are bounded, so that
//! columns hold whatever comes.

/// `bytes` in the largest unit that leaves at least 1: `0 B`, `512 B`, `64.0 KiB`, `1.50 GiB`; at
/// most 9 characters up to 8 EiB, and a sign.
#[must_use]
pub fn bytes(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    let magnitude = bytes.unsigned_abs();
    if magnitude < 1024 {
        return format!("{sign}{magnitude} B");
    }
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = magnitude as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would round to a fifth digit, 1024.0.
    while value >= 1023.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{sign}{} {}", three_digits(value), units[unit])
}

/// Three significant digits: `1.50`, `64.0`, `512`.
fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A share as a percentage, `12.3%`, `-` if there is none. Not clamped: `104.2%` and `-3.1%` mean a
/// state that was read while it changed.
#[must_use]
pub fn percent(fraction: Option<f64>) -> String {
    match fraction {
        None => "-".to_owned(),
        Some(share) => {
            let percent = share * 100.0;
            if percent.abs() >= 999.95 {
                format!("{percent:.0}%")
            } else {
                // No "-0.0%".
                format!("{:.1}%", if percent.abs() < 0.05 { 0.0 } else { percent })
            }
        }
    }
}

/// A count in at most five characters: `999`, `12.3k`, `4.56M`, `789G`.
#[must_use]
pub fn count(count: u64) -> String {
    if count < 10_000 {
        return count.to_string();
    }
    scaled(count as f64)
}

/// As [`count()`], of a number that may be negative.
#[must_use]
pub fn signed_count(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", count(value.unsigned_abs()))
}

/// A change of a count: `+12`, `-3`, `+1.23M`; `0` for none.
#[must_use]
pub fn count_change(change: i64) -> String {
    let sign = if change > 0 { "+" } else { "" };
    format!("{sign}{}", signed_count(change))
}

/// A change in bytes: `+1.50 GiB`, `-512 B`; `0` for none.
#[must_use]
pub fn bytes_change(change: i64) -> String {
    match change {
        0 => "0".to_owned(),
        1.. => format!("+{}", bytes(change)),
        _ => bytes(change),
    }
}

/// A change of a share, in percentage points: `+3.1`, `-0.4`; `0` for none, `-` if one of the two is unknown.
#[must_use]
pub fn percent_change(change: Option<f64>) -> String {
    let Some(points) = change.map(|change| change * 100.0) else { return "-".to_owned() };
    if points.abs() < 0.05 { "0".to_owned() } else { format!("{points:+.1}") }
}

/// A rate per second in at most five characters, `0`, `0.25`, `12.5`, `1.23M`; `-` if unknown.
#[must_use]
pub fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => "-".to_owned(),
        Some(rate) if rate.abs() < 0.005 => "0".to_owned(),
        Some(rate) if rate.abs() < 1000.0 => three_digits(rate),
        Some(rate) => scaled(rate),
    }
}

fn scaled(value: f64) -> String {
    let mut value = value / 1e3;
    let units = ["k", "M", "G", "T", "P", "E"];
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1e3;
        unit += 1;
    }
    format!("{}{}", three_digits(value), units[unit])
}

/// `1 attempt`, `4 attempts`.
#[must_use]
pub fn attempts(count: u32) -> String {
    format!("{count} attempt{}", if count == 1 { "" } else { "s" })
}

/// A rate of states as a person would write it: `4 Hz`, `0.13 Hz`.
#[must_use]
pub fn hertz(rate: f64) -> String {
    format!("{} Hz", (rate * 100.0).round() / 100.0)
}

/// A count with its thousands apart, `1,234,567`.
#[must_use]
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long, in the two largest units: `850 ms`, `12.3 s`, `4m05s`, `2h03m`, `9d04h`.
#[must_use]
pub fn duration(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    match seconds {
        0 => format!("{} ms", nanoseconds / 1_000_000),
        1..60 => format!("{}.{} s", seconds, nanoseconds / 100_000_000 % 10),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// An instant of the process's life, to the microsecond: `12.345678`.
#[must_use]
pub fn instant(uptime_ns: u64) -> String {
    format!("{}.{:06}", uptime_ns / 1_000_000_000, uptime_ns / 1_000 % 1_000_000)
}

/// `2026-11-25 17:40:13 UTC`, of nanoseconds since 1970.
#[must_use]
pub fn utc(unix_ns: u64) -> String {
    const DAY_S: u64 = 86_400;
    let seconds = unix_ns / 1_000_000_000;
    let (days, second) = (seconds / DAY_S, seconds % DAY_S);
    // Years of 12 months from March on, so that a leap day is the last of its year; day 0 is the 1st of March of year 0.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    //! Aim: no figure is wider than its column, and rounding never shows a wrong unit.
    use super::*;

    #[test]
    fn bytes_keep_three_digits_and_their_sign() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.00 KiB");
        assert_eq!(bytes(64 * 1024), "64.0 KiB");
        assert_eq!(bytes(-1_610_612_736), "-1.50 GiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.00 MiB");
        assert_eq!(bytes(i64::MAX), "8.00 EiB");
        assert_eq!(bytes(i64::MIN), "-8.00 EiB");
    }

    #[test]
    fn widths_are_bounded_at_every_power() {
        for shift in 0..63 {
            for value in [(1_i64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                assert!(bytes(value).chars().count() <= 9, "{}", bytes(value));
                assert!(bytes(-value).chars().count() <= 10, "{}", bytes(-value));
                let value = value.unsigned_abs();
                assert!(count(value).chars().count() <= 5, "{}", count(value));
                assert!(rate(Some(value as f64 / 100.0)).chars().count() <= 5);
            }
        }
    }

    #[test]
    fn percentages_are_not_clamped() {
        assert_eq!(percent(None), "-");
        assert_eq!(percent(Some(0.1234)), "12.3%");
        assert_eq!(percent(Some(-0.031)), "-3.1%");
        assert_eq!(percent(Some(1.042)), "104.2%");
        assert_eq!(percent(Some(-0.000_1)), "0.0%");
        assert_eq!(percent(Some(123.0)), "12300%");
    }

    #[test]
    fn rates_of_states_are_rounded_and_one_is_singular() {
        assert_eq!(
            [4.0, 0.125, 0.1, 1.0 / 3.0, 50.0].map(hertz).join(" "),
            "4 Hz 0.13 Hz 0.1 Hz 0.33 Hz 50 Hz"
        );
        assert_eq!((attempts(1), attempts(4)), ("1 attempt".to_owned(), "4 attempts".to_owned()));
    }

    #[test]
    fn counts_rates_and_times() {
        assert_eq!(count(9_999), "9999");
        assert_eq!(count(12_345), "12.3k");
        assert_eq!(count(999_999), "1.00M");
        assert_eq!(signed_count(-12_345), "-12.3k");
        assert_eq!(rate(Some(0.25)), "0.25");
        assert_eq!(rate(Some(1_234_567.0)), "1.23M");
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(duration(850_000_000), "850 ms");
        assert_eq!(duration(12_345_000_000), "12.3 s");
        assert_eq!(duration(245_000_000_000), "4m05s");
        assert_eq!(duration(7_380_000_000_000), "2h03m");
        assert_eq!(instant(12_345_678_901), "12.345678");
    }

    #[test]
    fn dates_know_leap_years() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (u64::MAX / 1_000_000_000, "2554-07-21 23:34:33 UTC"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), text);
        }
    }
}
