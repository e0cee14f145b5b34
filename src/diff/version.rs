//! What a contract's version should have done, in Semantic Versioning 2.0.0's words.

use std::fmt;

use serde::Serialize;

/// How far a version moves. Ordered from nothing to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bump {
    /// Nothing that events or their owners would notice.
    None,
    /// Words: messages, owners, what is masked.
    Patch,
    /// More is accepted than was, or something is checked without deciding.
    Minor,
    /// An event that was forwarded may be refused.
    Major,
}

impl Bump {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        }
    }
}

/// `x.y.z`, which is all that rule files may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Version {
    /// Reads `x.y.z`; what follows a `-` or `+` is left out. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.split(['-', '+']).next()?;
        let mut parts = core.split('.').map(|part| part.parse::<u64>().ok());
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }

    /// How far it moved to `next`. `None` when that is lower.
    fn moved_to(self, next: Self) -> Option<Bump> {
        if next < self {
            return None;
        }
        Some(if next.major > self.major {
            Bump::Major
        } else if next.minor > self.minor {
            Bump::Minor
        } else if next.patch > self.patch {
            Bump::Patch
        } else {
            Bump::None
        })
    }

    fn after(self, bump: Bump) -> Self {
        let Self { major, minor, patch } = self;
        match bump {
            Bump::None => self,
            Bump::Patch => Self { patch: patch.saturating_add(1), ..self },
            Bump::Minor => Self { major, minor: minor.saturating_add(1), patch: 0 },
            Bump::Major => Self { major: major.saturating_add(1), minor: 0, patch: 0 },
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What the version did, and what it should have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionAdvice {
    pub was: String,
    pub is: String,
    /// How far it should move at least.
    pub asks: Bump,
    /// The first version that is far enough.
    pub at_least: String,
    /// Whether it moved so far.
    pub enough: bool,
}

impl VersionAdvice {
    /// Before 1.0.0 (section 4) a minor version may break, and a patch may add.
    pub(super) fn of(was: &str, is: &str, change: Bump) -> Self {
        let (old, new) = (Version::parse(was), Version::parse(is));
        let asks = match (old, change) {
            (Some(Version { major: 0, .. }), Bump::Major) => Bump::Minor,
            (Some(Version { major: 0, .. }), Bump::Minor) => Bump::Patch,
            (_, change) => change,
        };
        let moved = old.zip(new).and_then(|(old, new)| old.moved_to(new));
        let enough = moved.is_some_and(|moved| moved >= asks);
        let at_least = old.map_or_else(|| was.to_owned(), |old| old.after(asks).to_string());
        Self { was: was.to_owned(), is: is.to_owned(), asks, at_least, enough }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_must_move_as_far_as_the_change_goes() {
        let told = |was: &str, is: &str, change| {
            let advice = VersionAdvice::of(was, is, change);
            (advice.asks, advice.at_least, advice.enough)
        };
        assert_eq!(told("1.2.3", "1.2.4", Bump::Major), (Bump::Major, "2.0.0".to_owned(), false));
        assert_eq!(told("1.2.3", "3.0.0", Bump::Major), (Bump::Major, "2.0.0".to_owned(), true));
        assert_eq!(told("1.2.3", "1.3.0", Bump::Minor), (Bump::Minor, "1.3.0".to_owned(), true));
        assert_eq!(told("1.2.3", "1.2.3", Bump::Patch), (Bump::Patch, "1.2.4".to_owned(), false));
        assert_eq!(told("1.2.3", "1.2.3", Bump::None), (Bump::None, "1.2.3".to_owned(), true));
        assert_eq!(told("1.2.3", "1.2.2", Bump::None), (Bump::None, "1.2.3".to_owned(), false), "lower than before");
    }

    #[test]
    fn before_the_first_major_version_a_minor_one_may_break() {
        assert!(VersionAdvice::of("0.2.0", "0.3.0", Bump::Major).enough);
        assert!(!VersionAdvice::of("0.2.0", "0.2.1", Bump::Major).enough);
        assert!(VersionAdvice::of("0.2.0", "0.2.1", Bump::Minor).enough);
        assert_eq!(Version::parse("1.2"), None);
        assert_eq!(Version::parse("1.2.3.4"), None);
    }
}
