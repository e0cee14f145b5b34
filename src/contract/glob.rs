//! Globs on stream names, ordered by how much they say.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

/// A compiled `match.stream`. Ordered from the most specific: the longest text before the first wildcard, then a plain
/// name before a pattern, then by name.
#[derive(Debug, Clone)]
pub struct StreamGlob {
    text: Arc<str>,
    prefix_bytes: usize,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Exact,
    /// The prefix and then anything.
    Prefix,
    Glob(GlobMatcher),
}

impl StreamGlob {
    /// Compiles `*`, `?`, `[ab]`, `[!ab]` and `{a,b}`.
    ///
    /// # Errors
    ///
    /// What is wrong with the pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let glob = GlobBuilder::new(text).backslash_escape(false).build().map_err(|e| e.kind().to_string())?;
        let prefix_bytes = text.find(['*', '?', '[', ']', '{', '}']).unwrap_or(text.len());
        let matcher = match &text[prefix_bytes..] {
            "" => Matcher::Exact,
            "*" => Matcher::Prefix,
            _ => Matcher::Glob(glob.compile_matcher()),
        };
        Ok(Self { text: text.into(), prefix_bytes, matcher })
    }

    pub fn matches(&self, stream: &str) -> bool {
        let prefix = &self.text[..self.prefix_bytes];
        match &self.matcher {
            Matcher::Exact => stream == prefix,
            Matcher::Prefix => stream.starts_with(prefix),
            Matcher::Glob(glob) => stream.starts_with(prefix) && glob.is_match(stream),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names one stream.
    pub fn is_plain(&self) -> bool {
        matches!(self.matcher, Matcher::Exact)
    }

    fn rank(&self) -> (Reverse<usize>, bool, &str) {
        (Reverse(self.prefix_bytes), !self.is_plain(), &self.text)
    }
}

impl fmt::Display for StreamGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for StreamGlob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for StreamGlob {}

impl PartialOrd for StreamGlob {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StreamGlob {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_match_as_documented() {
        let matches = |glob: &str, stream: &str| StreamGlob::parse(glob).unwrap().matches(stream);
        assert!(matches("orders", "orders") && !matches("orders", "orders-eu"));
        assert!(matches("orders-*", "orders-") && matches("orders-*", "orders-eu") && !matches("orders-*", "orders"));
        assert!(matches("*-events", "a-events") && !matches("*-events", "events"));
        assert!(matches("o?", "ox") && !matches("o?", "o"));
        assert!(matches("{a,b}-[xy]", "b-x") && !matches("{a,b}-[!xy]", "b-x"));
        assert!(StreamGlob::parse("a[").is_err() && StreamGlob::parse("{a").is_err());
    }

    #[test]
    fn the_longest_literal_prefix_is_the_most_specific() {
        let mut globs = ["*", "orders-*", "orders-eu", "a*", "orders-e*"].map(|g| StreamGlob::parse(g).unwrap());
        globs.sort();
        assert_eq!(globs.map(|g| g.to_string()), ["orders-eu", "orders-e*", "orders-*", "a*", "*"]);
    }

    proptest! {
        #[test]
        fn the_fast_paths_agree_with_the_glob(glob in "[ab]{0,2}\\*?", stream in "[ab*]{0,4}") {
            prop_assume!(!glob.is_empty());
            let slow = globset::Glob::new(&glob).unwrap().compile_matcher();
            prop_assert_eq!(StreamGlob::parse(&glob).unwrap().matches(&stream), slow.is_match(&stream));
        }
    }
}
