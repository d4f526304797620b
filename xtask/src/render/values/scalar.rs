//! Values that check themselves while they are read: a name that Kubernetes would refuse never
//! reaches a template.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::explain::Explain;

/// Declares a text that is checked while it is read.
macro_rules! checked_text {
    ($($(#[doc = $doc:literal])+ $name:ident, $unit:literal, $check:expr;)*) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// A default from the source code.
            pub fn fixed(text: &'static str) -> $name {
                $name(text.into())
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok($name(text))
                } else {
                    Err(format!("`{}` is not {}", text.escape_debug(), $unit))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl Explain for $name {
            const UNIT: &'static str = $unit;
        }
    )* };
}

checked_text! {
    /// The name of an object: a DNS label short enough for what Kubernetes appends to it.
    Name, "a DNS label of at most 52 characters", |text| text.len() <= 52 && is_dns_label(text);
    /// A name that may contain dots, as Secrets and DNS hosts do.
    DnsName, "a DNS name of at most 253 characters",
        |text| text.len() <= 253 && text.split('.').all(is_dns_label);
    /// A database, role, schema or extension: an SQL name that needs no quotes.
    Identifier, "a lower-case SQL name", is_identifier;
    /// The name of a PostgreSQL setting, with its extension's prefix where it has one.
    Setting, "a PostgreSQL setting", |text| text.len() <= 126 && text.split('.').all(is_identifier);
    /// A key of a Secret.
    SecretKey, "a key of a Secret", |text| matches!(text.len(), 1..=253)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    /// Addresses that may connect.
    Cidr, "addresses as 10.42.0.0/16", is_cidr;
    /// One address outside the cluster.
    Address, "an IP address", |text| text.parse::<IpAddr>().is_ok();
    /// When a CronJob runs, in UTC.
    Schedule, "five cron fields", is_schedule;
    /// A folder or file inside the repository.
    Inside, "a path inside the repository", |text| !text.is_empty() && text.split('/').all(|part| {
        !part.is_empty() && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    });
    /// A file on the machine that runs the tool.
    AbsolutePath, "an absolute path", |text| text.starts_with('/') && !text.contains('\0');
    /// The name of an environment variable.
    Variable, "the name of an environment variable", |text| !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    /// An image without tag and digest.
    Repository, "an image repository", |text| text.split('/').all(|part| !part.is_empty()
        && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()
            || ".-_:".contains(c)));
    /// An exact image tag; a floating one such as `latest` is refused by a rule.
    Tag, "an exact image tag", |text| matches!(text.len(), 1..=128)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    /// The digest of an image, or `open` where it is not known yet. Never invented.
    Digest, "sha256:… or open", |text| text == "open" || text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64
            && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
}

fn is_dns_label(text: &str) -> bool {
    matches!(text.len(), 1..=63)
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_identifier(text: &str) -> bool {
    matches!(text.len(), 1..=63)
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a text is an address range, its prefix length in bounds.
pub fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    match (address.parse(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}

/// Whether a text is a cron schedule of five fields, each in its range.
pub fn is_schedule(text: &str) -> bool {
    let ranges = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
    let fields: Vec<&str> = text.split(' ').collect();
    fields.len() == 5
        && fields.iter().zip(ranges).all(|(field, range)| field.split(',').all(|f| fits(f, range)))
}

fn fits(field: &str, (low, high): (u32, u32)) -> bool {
    let (span, step) = field.split_once('/').map_or((field, None), |(s, step)| (s, Some(step)));
    let number = |text: &str| text.parse::<u32>().is_ok_and(|n| (low..=high).contains(&n));
    let step_fits = step.is_none_or(|step| step.parse::<u32>().is_ok_and(|n| n >= 1 && n <= high));
    let span_fits = span == "*"
        || number(span)
        || span.split_once('-').is_some_and(|(from, to)| number(from) && number(to));
    step_fits && span_fits
}

impl From<&AbsolutePath> for std::path::PathBuf {
    fn from(path: &AbsolutePath) -> std::path::PathBuf {
        path.as_str().into()
    }
}

/// A size in bytes, written with a binary unit so that `G` is never taken for `Gi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(u64);

impl Bytes {
    /// So many mebibytes.
    pub const fn mebibytes(count: u64) -> Bytes {
        Bytes(count << 20)
    }

    /// The size in whole mebibytes, as PostgreSQL settings are written.
    pub const fn in_mebibytes(self) -> u64 {
        self.0 >> 20
    }
}

impl Explain for Bytes {
    const UNIT: &'static str = "bytes with a binary unit, as 512Mi";
}

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Bytes, String> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let shift = match &text[unit_at..] {
            "Ki" => 10,
            "Mi" => 20,
            "Gi" => 30,
            "Ti" => 40,
            _ => return Err(format!("`{}` is not {}", text.escape_debug(), Bytes::UNIT)),
        };
        let count: u64 = text[..unit_at].parse().map_err(|_| format!("`{text}` has no number"))?;
        count
            .checked_mul(1 << shift)
            .filter(|&bytes| bytes > 0)
            .map(Bytes)
            .ok_or_else(|| format!("`{text}` is out of range"))
    }
}

impl From<Bytes> for String {
    fn from(Bytes(count): Bytes) -> String {
        match count {
            _ if count % (1 << 40) == 0 => format!("{}Ti", count >> 40),
            _ if count % (1 << 30) == 0 => format!("{}Gi", count >> 30),
            _ if count % (1 << 20) == 0 => format!("{}Mi", count >> 20),
            _ => format!("{}Ki", count >> 10),
        }
    }
}

/// Processor time in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cores(u32);

impl Cores {
    /// So many thousandths of a core.
    pub const fn milli(count: u32) -> Cores {
        Cores(count)
    }

    /// Cores, with their fraction.
    pub fn as_number(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl Explain for Cores {
    const UNIT: &'static str = "cores, quoted, as \"2\" or \"500m\"";
}

impl TryFrom<String> for Cores {
    type Error = String;

    fn try_from(text: String) -> Result<Cores, String> {
        let (digits, factor) = text.strip_suffix('m').map_or((text.as_str(), 1000), |d| (d, 1));
        let count = digits.parse::<u32>().ok().and_then(|count| count.checked_mul(factor));
        count
            .filter(|&count| count > 0)
            .map(Cores)
            .ok_or_else(|| format!("`{}` is not {}", text.escape_debug(), Cores::UNIT))
    }
}

impl From<Cores> for String {
    fn from(Cores(count): Cores) -> String {
        if count % 1000 == 0 { (count / 1000).to_string() } else { format!("{count}m") }
    }
}

/// A time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u32);

impl Explain for Seconds {
    const UNIT: &'static str = "seconds";
}

/// A time in whole days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(pub u32);

impl Explain for Days {
    const UNIT: &'static str = "days";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_needs_a_binary_unit() {
        assert_eq!(Bytes::try_from("1Gi".to_string()).unwrap().in_mebibytes(), 1024);
        assert!(Bytes::try_from("20G".to_string()).is_err());
        assert!(Bytes::try_from("99999999999Ti".to_string()).is_err());
    }

    #[test]
    fn a_name_is_a_dns_label() {
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "y\n", &"a".repeat(53)] {
            assert!(Name::try_from(bad.to_string()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schedule_has_five_fields_in_range() {
        assert!(is_schedule("15 2 * * *") && is_schedule("*/5 0-6 1,15 * 1-5"));
        for bad in ["", "* * * *", "60 * * * *", "* 24 * * *", "@daily", "*/0 * * * *"] {
            assert!(!is_schedule(bad), "{bad}");
        }
    }

    #[test]
    fn a_digest_is_whole_or_open() {
        assert!(Digest::try_from("open".to_string()).is_ok());
        assert!(Digest::try_from("sha256:abc".to_string()).is_err());
    }
}
