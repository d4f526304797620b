//! Passwords for roles of our own.

use rand::distr::{Alphanumeric, SampleString};

/// Characters of a password: 190 bits.
const LENGTH: usize = 32;

/// A password of letters and digits, which needs no quoting anywhere.
pub fn random() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), LENGTH)
}
