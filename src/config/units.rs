//! Times and sizes: numbers with a unit.

use std::time::Duration;

use super::value::{Kind, Raw, quoted};

/// A length of time of at least the given one; plain `0` needs no unit.
pub(crate) struct Time(pub Duration);

/// Zero is allowed, and means what the key's documentation says.
pub(crate) const TIME_OR_ZERO: Time = Time(Duration::ZERO);
/// At least a millisecond.
pub(crate) const TIME: Time = Time(Duration::from_millis(1));

impl Kind<Duration> for Time {
    fn read(&self, raw: &Raw) -> Result<Duration, String> {
        let time = match raw {
            Raw::Integer(0) => Duration::ZERO,
            Raw::Integer(number) => {
                return Err(format!(
                    "{number} has no unit: write \"{number}s\" for seconds or \"{number}ms\" for milliseconds"
                ));
            }
            Raw::Bare(text) | Raw::Text(text) => match humantime::parse_duration(text.trim()) {
                Ok(time) => time,
                Err(_) if text.trim().parse::<u64>().is_ok() => {
                    return Err(format!("{text} has no unit: write {text}s for seconds"));
                }
                Err(_) => return Err(raw.expected(r#"a time such as "30s", "500ms" or "1h 30m""#)),
            },
            _ => return Err(raw.expected(r#"a time such as "30s""#)),
        };
        if time < self.0 {
            return Err(raw.expected(format_args!(
                "a time of at least {}",
                humantime::format_duration(self.0)
            )));
        }
        // Beyond a century is a slip, and deadlines computed from it could overflow.
        if time > Duration::from_secs(100 * 365 * 86_400) {
            return Err(raw.expected("at most 100 years"));
        }
        Ok(time)
    }

    fn show(&self, value: &Duration) -> String {
        quoted(&humantime::format_duration(*value).to_string())
    }

    fn takes(&self) -> String {
        if self.0.is_zero() {
            "time, or 0".into()
        } else {
            "time".into()
        }
    }
}

/// A number of bytes within bounds, with PostgreSQL's units: 1 kB is 1024 bytes. No unit is bytes.
pub(crate) struct Size(pub u64, pub u64);

const UNITS: [(&str, u64); 5] = [
    ("TB", 1 << 40),
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("kB", 1 << 10),
    ("B", 1),
];

impl<T: Copy + TryFrom<u64> + TryInto<u64>> Kind<T> for Size {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        let bytes = match raw {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            Raw::Bare(text) | Raw::Text(text) => bytes(text),
            _ => None,
        }
        .ok_or_else(|| raw.expected(r#"a size such as "256MB" or "64kB""#))?;
        if !(self.0..=self.1).contains(&bytes) {
            return Err(raw.expected(format_args!(
                "a size from {} to {}",
                size_text(self.0),
                size_text(self.1)
            )));
        }
        T::try_from(bytes).map_err(|_| raw.expected("a size that fits this machine"))
    }

    fn show(&self, value: &T) -> String {
        let bytes = (*value).try_into().unwrap_or(u64::MAX);
        quoted(&size_text(bytes))
    }

    fn takes(&self) -> String {
        format!("size, {} to {}", size_text(self.0), size_text(self.1))
    }
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    let factor = match text[split..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1u64 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn size_text(bytes: u64) -> String {
    let (unit, factor) = UNITS
        .iter()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// A time given on the command line, at least a millisecond.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    TIME.read(&Raw::Bare(text.into()))
}
