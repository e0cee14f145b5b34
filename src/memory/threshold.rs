//! Bounds as ODCS writes them: `mustBeLessThan: 5`, `mustBeBetween: [50, 5000]`.

use std::fmt;

/// What a measured value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    Equal(f64),
    NotEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
    Less(f64),
    LessOrEqual(f64),
    /// Both ends included.
    Between(f64, f64),
    NotBetween(f64, f64),
}

impl Threshold {
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Equal(bound) => value == bound,
            Self::NotEqual(bound) => value != bound,
            Self::Greater(bound) => value > bound,
            Self::GreaterOrEqual(bound) => value >= bound,
            Self::Less(bound) => value < bound,
            Self::LessOrEqual(bound) => value <= bound,
            Self::Between(low, high) => (low..=high).contains(&value),
            Self::NotBetween(low, high) => !(low..=high).contains(&value),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(bound) => write!(f, "must be {bound}"),
            Self::NotEqual(bound) => write!(f, "must not be {bound}"),
            Self::Greater(bound) => write!(f, "must be greater than {bound}"),
            Self::GreaterOrEqual(bound) => write!(f, "must be at least {bound}"),
            Self::Less(bound) => write!(f, "must be less than {bound}"),
            Self::LessOrEqual(bound) => write!(f, "must be at most {bound}"),
            Self::Between(low, high) => write!(f, "must be between {low} and {high}"),
            Self::NotBetween(low, high) => write!(f, "must not be between {low} and {high}"),
        }
    }
}
