//! What became of rule files over time, as git told the shell.

use std::collections::{BTreeMap, BTreeSet};

use super::html::Html;

/// The most commits told of one contract.
pub const CHANGES_MAX: usize = 20;

/// One commit that touched a contract or its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The commit, shortened.
    pub revision: String,
    /// The day it was committed, `2026-11-22`.
    pub date: String,
    /// The first line of its message.
    pub subject: String,
    /// The contract's version then; `None` where its file was not there, or could not be read.
    pub version: Option<String>,
}

/// What is known of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// Nothing, and why: words for the page.
    None(String),
    Git(GitHistory),
}

/// The past of rule files in a git repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitHistory {
    /// The last commit that touched any rule file; its version is none.
    pub newest: Option<Change>,
    /// By the path of a contract's file, the newest first: at most [`CHANGES_MAX`].
    pub changes: BTreeMap<String, Vec<Change>>,
    /// Contracts that have more.
    pub is_cut: BTreeSet<String>,
    /// Rule files that differ from the last commit.
    pub uncommitted: BTreeSet<String>,
    /// The clone lacks older commits, and the oldest one looks as if it had made everything.
    pub is_shallow: bool,
}

/// The changes of one contract. `sources` are the files it is made of.
pub(super) fn table(h: &mut Html, history: &History, file: &str, name: &str, sources: &BTreeSet<String>) {
    let git = match history {
        History::Git(git) => git,
        History::None(why) => {
            h.paragraph("note", why);
            return;
        }
    };
    let changes = git.changes.get(file).map_or(&[][..], Vec::as_slice);
    if sources.iter().any(|source| git.uncommitted.contains(source)) {
        h.paragraph("note", "What this page shows differs from the last commit.");
    }
    if changes.is_empty() {
        h.paragraph("note", "No commit holds it yet.");
        return;
    }
    h.block("table", &[("role", "table"), ("class", "stack")], |h| {
        h.element("caption", &[], |h| {
            h.text("Commits that touched ").code(name).text(" or its schema, the newest first");
        });
        let heads = ["Date", "Version", "Commit", "Subject"];
        super::head(h, &heads);
        h.element("tbody", &[("role", "rowgroup")], |h| {
            h.markup("\n");
            for change in changes {
                h.block("tr", &[("role", "row")], |h| {
                    let cell = |name: &'static str| [("role", "cell"), ("data-label", name)];
                    h.element("td", &cell("Date"), |h| {
                        h.leaf("time", &[("datetime", &change.date)], &change.date);
                    });
                    h.leaf("td", &cell("Version"), change.version.as_deref().unwrap_or("—"));
                    h.element("td", &cell("Commit"), |h| {
                        h.code(&change.revision);
                    });
                    h.leaf("td", &cell("Subject"), &change.subject);
                });
            }
        });
    });
    if git.is_cut.contains(file) {
        h.paragraph("note", "Older commits are in git.");
    } else if git.is_shallow {
        h.paragraph(
            "note",
            "Made from a shallow clone: older commits are missing, and the oldest one may stand for them.",
        );
    }
}
