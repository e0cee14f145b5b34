//! Where a repository is: a URL or path that git takes, and what may be shown of it.

use std::fmt;

/// In place of what is nobody's business.
const HIDDEN: &str = "***";

/// Ways to reach a repository that run nothing but git and ssh.
const SCHEMES: [&str; 4] = ["https", "ssh", "file", "http"];

/// The most characters of a URL or ref.
const LENGTH_MAX: usize = 2_048;

/// A repository's address as git takes it. Shown only masked: the part before `@` may be a token, and so may a query.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote(String);

impl Remote {
    /// # Errors
    /// What is wrong with `text`, without showing it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > LENGTH_MAX {
            return Err("is empty or very long");
        }
        if text.starts_with('-') {
            return Err("begins with a dash, which git would take for an option");
        }
        if text.chars().any(char::is_control) {
            return Err("holds a control character");
        }
        // `helper::address` runs a program of that name.
        if text.split('/').next().is_some_and(|first| first.contains("::")) && !text.starts_with('[') {
            return Err("names a helper program of git; only https, ssh, http, file and paths are taken");
        }
        match text.split_once("://") {
            Some((scheme, _)) if !SCHEMES.contains(&&*scheme.to_ascii_lowercase()) => {
                Err("has a scheme that is not taken; write https://…, ssh://…, http://…, file://… or a path")
            }
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// With what is secret of it: for git only.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// A text of git's without what is secret: neither the address as a whole nor its parts are told.
    pub fn hide_in(&self, text: &str) -> String {
        let mut text = text.replace(&self.0, &self.to_string());
        let before_at = authority(&self.0).and_then(|authority| self.0[authority].rsplit_once('@'));
        if let Some((userinfo, _)) = before_at {
            // A name of a few letters may be part of any word; a password alone is looked for as well.
            let password = userinfo.split_once(':').map(|(_, password)| password);
            for part in [Some(userinfo), password].into_iter().flatten().filter(|part| part.len() >= 4) {
                text = text.replace(part, HIDDEN);
            }
        }
        text.split_inclusive([' ', '\'', '"', '\n']).map(masked).collect()
    }
}

/// Where the host of an address stands, with what is before it.
fn authority(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    // An unencoded slash is no part of a password to git either, but one after an `@` is better hidden than told.
    let end = text[start..].find('/').map_or(text.len(), |end| start + end);
    Some(start..end)
}

/// An address, or any word, without userinfo and query.
fn masked(text: &str) -> String {
    let Some(authority) = authority(text) else {
        // `user:secret@host`, where somebody forgot the scheme. A user of ssh alone is no secret.
        return match text.split_once('@') {
            Some((user, rest)) if user.contains(':') => format!("{HIDDEN}@{rest}"),
            _ => text.to_owned(),
        };
    };
    let (scheme, rest) = text.split_at(authority.start);
    let rest = match text[authority].rfind('@') {
        Some(at) => format!("{HIDDEN}{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let query = rest.find('?').map(|at| &rest[at..]);
    // What follows the address in git's own words stays.
    let tail = query.map(|query| &query[query.trim_end_matches([' ', '\'', '"', '\n', '/', ':', ',']).len()..]);
    match (query, tail) {
        (Some(query), Some(tail)) => format!("{scheme}{}?{HIDDEN}{tail}", &rest[..rest.len() - query.len()]),
        _ => format!("{scheme}{rest}"),
    }
}

/// A text of settings to be shown, with what may be secret of its URLs blanked where it stands, so that columns still hold.
pub fn blanked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        let end = url.find(|c: char| c.is_whitespace() || "'\"".contains(c)).unwrap_or(url.len());
        let host = url[..end].rfind('@').unwrap_or(0);
        let query = url[host..end].find('?').map_or(end, |query| host + query + 1);
        let stars = |part: &str| "*".repeat(part.chars().count());
        shown.extend([before, &stars(&url[..host]), &url[host..query], &stars(&url[query..end])]);
        rest = &url[end..];
    }
    shown + rest
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({self})")
    }
}

/// What is wrong with a ref that is to be fetched: a branch, a tag, a full commit id, or `HEAD` (git-check-ref-format(1)).
pub fn ref_fault(text: &str) -> Option<&'static str> {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || ":*?[\\^~".contains(c);
    if text.is_empty() || text.len() > LENGTH_MAX {
        Some("is empty or very long")
    } else if text.starts_with('-') {
        Some("begins with a dash, which git would take for an option")
    } else if text.chars().any(is_odd) || text.contains("..") || text.contains("@{") || text.ends_with(['/', '.']) {
        Some("is no name of a branch or tag, nor a whole commit id; expressions as HEAD~1 cannot be fetched")
    } else {
        None
    }
}

/// A whole commit id, SHA-1 or SHA-256: what it names never changes.
pub fn is_commit_id(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_that_git_takes_are_taken_and_shown_without_secrets() {
        let cases = [
            ("https://git.example/rules.git", "https://git.example/rules.git"),
            ("https://u:p@git.example/rules.git", "https://***@git.example/rules.git"),
            ("https://token@git.example:8443/rules", "https://***@git.example:8443/rules"),
            ("https://u:p@ss@git.example/rules", "https://***@git.example/rules"),
            ("https://git.example/rules?access_token=t", "https://git.example/rules?***"),
            ("ssh://git@git.example/rules", "ssh://***@git.example/rules"),
            ("git@git.example:team/rules.git", "git@git.example:team/rules.git"),
            ("me:secret@git.example/rules", "***@git.example/rules"),
            ("/srv/git/rules.git", "/srv/git/rules.git"),
            ("../rules with spaces", "../rules with spaces"),
            ("file:///srv/git/rules.git", "file:///srv/git/rules.git"),
        ];
        for (written, shown) in cases {
            assert_eq!(Remote::new(written).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_would_run_something_is_refused() {
        for text in ["", "--upload-pack=touch x", "-x", "ext::sh -c x", "git://host/x", "ftp://h/x", "a\nb", "fd::17"] {
            assert!(Remote::new(text).is_err(), "{text}");
        }
        for text in ["-x", "--upload-pack=x", "a:b", "+a b", "a..b", "HEAD~1", "a^{}", "a@{1}", "*", "", "a/"] {
            assert!(ref_fault(text).is_some(), "{text}");
        }
        for text in ["HEAD", "main", "refs/heads/main", "v1.2.3", "feature/x-y_z", "größe", &"a1".repeat(20)] {
            assert_eq!(ref_fault(text), None, "{text}");
        }
    }

    #[test]
    fn settings_are_shown_without_secrets_in_the_same_columns() {
        let text =
            "rules: {git: 'https://u:p@s/s@git.example/r?t=1', interval: x} # http://a@b\nother: https://plain/x, 1\n";
        let shown =
            "rules: {git: 'https://*******@git.example/r?***', interval: x} # http://*@b\nother: https://plain/x, 1\n";
        assert_eq!(blanked(text), shown);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_password_is_ever_told(
            user in "[a-z]{0,8}",
            password in "[A-Z0-9:@%+!$&,;=._~?-]{6,24}",
            scheme in prop::sample::select(&["https", "ssh", "HTTP"][..]),
            around in prop::sample::select(&["", "fatal: unable to access '{}/': no route", "a {} b", "\"{}\"", "{}: denied\nx"][..]),
        ) {
            let url = format!("{scheme}://{user}:{password}@git.example/team/rules.git");
            let remote = Remote::new(&url).unwrap();
            prop_assert!(!remote.to_string().contains(&password), "{remote}");
            let debug = format!("{remote:?}");
            prop_assert!(!debug.contains(&password), "{debug}");
            let told = remote.hide_in(&around.replace("{}", &url));
            prop_assert!(!told.contains(&password), "{told}");
            // Parts of it, as ssh and credential helpers tell them.
            let told = remote.hide_in(&format!("password {password} for {user}:{password}@git.example refused"));
            prop_assert!(!told.contains(&password), "{told}");
        }
    }
}
