//! What a replay came to.

use std::collections::BTreeMap;

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replayed {
    /// On its mesh stream, and gone from the queue. In a dry run: it would be.
    Forwarded,
    /// The same, after a replay that died: it may be there twice.
    PossiblyTwice,
    /// An earlier replay had forwarded it: it is only gone from the queue.
    Already,
    /// A rule drops it now: it is gone.
    Dropped,
    /// It is still refused.
    Refused,
    /// A check that remembers refused it, and still exists.
    Remembered,
    /// Only a masked copy of its event was kept, or none.
    NotOriginal,
    /// The repair cannot be made in it.
    NotEdited,
    /// No route and no contract covers its stream any more.
    NoRoute,
    /// It is no DLQ document.
    Unreadable,
    /// The far end did not take it, or the queue could not be changed. Run the replay again.
    Unsettled,
}

impl Replayed {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::PossiblyTwice => "possibly_twice",
            Self::Already => "already",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
            Self::Remembered => "remembered",
            Self::NotOriginal => "not_original",
            Self::NotEdited => "not_edited",
            Self::NoRoute => "no_route",
            Self::Unreadable => "unreadable",
            Self::Unsettled => "unsettled",
        }
    }
}

/// Letters that share a fate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub domain: String,
    pub contract: String,
    pub outcome: Replayed,
    /// What decides now, where the letter stays.
    pub rule: String,
}

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Report {
    pub groups: BTreeMap<Group, u64>,
    /// Letters that the filter does not mean.
    pub passed_over: u64,
    /// Why it ended before the end of the queue, where it did.
    pub stopped: Option<String>,
}

impl Report {
    pub fn letters(&self) -> u64 {
        self.groups.values().sum()
    }

    pub fn of(&self, outcome: Replayed) -> u64 {
        self.groups.iter().filter(|(group, _)| group.outcome == outcome).map(|(_, count)| count).sum()
    }
}
