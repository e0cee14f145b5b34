use std::process::Command;

use tempfile::TempDir;

use super::*;

const RULES: &str = "apiVersion: meshgate/v1\n";

/// A bare remote, a work tree that pushes to it, and the gate's side.
struct Place {
    home: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { home: TempDir::new().unwrap() };
        let (remote, work) = (place.path("remote.git"), place.path("work"));
        place.git(place.home.path(), &["init", "-q", "--bare", "-b", "main", remote.to_str().unwrap()]);
        place.git(place.home.path(), &["init", "-q", "-b", "main", work.to_str().unwrap()]);
        place.git(&work, &["remote", "add", "origin", remote.to_str().unwrap()]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn git(&self, dir: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(dir).args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(arguments);
        // A user's hooks and signatures are not what is tested.
        let output = command.env("HOME", self.home.path()).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes, commits and pushes a file. Gives the commit.
    fn push(&self, name: &str, content: &str) -> String {
        let file = self.path("work").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
        let work = self.path("work");
        self.git(&work, &["add", "."]);
        self.git(&work, &["commit", "-q", "-m", "change"]);
        self.git(&work, &["push", "-q", "--force", "origin", "HEAD:main"]);
        self.git(&work, &["rev-parse", "HEAD"])
    }

    fn rules(&self, reference: &str, path: &str) -> GitRules {
        let remote = Remote::new(self.path("remote.git").to_str().unwrap()).unwrap();
        let repository = Arc::new(Repository::new(remote, self.path("cache.git")));
        GitRules { repository, reference: reference.to_owned(), path: path.to_owned() }
    }

    fn cache_bytes(&self) -> u64 {
        fn bytes(dir: &Path) -> u64 {
            let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            // As the disk counts: whole blocks.
            entries
                .map(
                    |path| {
                        if path.is_dir() { bytes(&path) } else { path.metadata().unwrap().len().div_ceil(4096) * 4096 }
                    },
                )
                .sum()
        }
        bytes(&self.path("cache.git"))
    }
}

fn names(read: &AtCommit) -> Vec<&str> {
    read.files.keys().map(String::as_str).collect()
}

#[test]
fn what_is_pushed_is_fetched_and_other_directories_are_no_change() {
    let place = Place::new();
    let first = place.push("rules/d/a.yaml", RULES);
    let rules = place.rules("main", "rules");
    assert!(matches!(rules.read(), Err(GitError::Nothing { .. })));
    assert_eq!(rules.fetch().unwrap(), Fetched { commit: first[..12].to_owned(), is_new: true });
    let tree = rules.look().unwrap();
    let read = rules.read().unwrap();
    assert_eq!((names(&read), &*read.commit, &read.tree), (vec!["d/a.yaml"], &first[..12], &tree));
    assert!(!rules.fetch().unwrap().is_new);

    place.push("README.md", "elsewhere");
    assert!(rules.fetch().unwrap().is_new);
    assert_eq!(rules.look().unwrap(), tree, "nothing of the rules has changed");
    place.push("rules/d/a.yaml", "apiVersion: meshgate/v2\n");
    rules.fetch().unwrap();
    assert_ne!(rules.look().unwrap(), tree);

    // History that was written anew, and a path that is gone.
    let work = place.path("work");
    place.git(&work, &["checkout", "-q", "--orphan", "other"]);
    place.git(&work, &["rm", "-rqf", "rules"]);
    place.push("elsewhere.yaml", RULES);
    rules.fetch().unwrap();
    let told = rules.look().unwrap_err().to_string();
    assert!(told.contains(r#""rules""#) && told.contains("rules.path"), "{told}");
    let root = GitRules { path: String::new(), ..rules };
    root.fetch().unwrap();
    assert_eq!(names(&root.read().unwrap()), ["elsewhere.yaml"]);
}

#[test]
fn what_cannot_be_read_as_files_is_told_when_it_is_looked_at() {
    let place = Place::new();
    place.push("a.yaml", RULES);
    let rules = place.rules("main", "");
    rules.fetch().unwrap();
    std::os::unix::fs::symlink("a.yaml", place.path("work/b.yaml")).unwrap();
    place.push("c.yaml", RULES);
    rules.fetch().unwrap();
    let told = rules.look().unwrap_err().to_string();
    assert!(told.contains("b.yaml") && told.contains("symbolic link"), "{told}");
    // A file is no directory of rules.
    let file = GitRules { path: "a.yaml".to_owned(), ..rules };
    file.fetch().unwrap();
    assert!(matches!(file.look(), Err(GitError::Unreadable { .. })));
}

#[test]
fn branches_tags_and_commits_are_refs() {
    let place = Place::new();
    let first = place.push("a.yaml", RULES);
    let work = place.path("work");
    place.git(&work, &["tag", "-a", "v1", "-m", "one"]);
    place.git(&work, &["push", "-q", "origin", "v1"]);
    let second = place.push("a.yaml", "x: 1\n");
    let main = place.rules("HEAD", "");
    for (reference, commit) in
        [("HEAD", &second), ("main", &second), ("refs/heads/main", &second), ("v1", &first), (&*first, &first)]
    {
        let rules = GitRules { reference: reference.to_owned(), ..main.clone() };
        assert_eq!(rules.fetch().unwrap().commit, commit[..12], "{reference}");
        assert_eq!(rules.read().unwrap().commit, commit[..12], "{reference}");
    }
    // Two sets of rules from one cache.
    assert_eq!(main.read().unwrap().commit, second[..12]);
    let told = GitRules { reference: "nowhere".to_owned(), ..main.clone() }.fetch().unwrap_err().to_string();
    assert!(told.contains("nowhere") && told.contains("rules.ref"), "{told}");
}

#[test]
fn what_was_fetched_outlives_the_remote_and_the_process() {
    let place = Place::new();
    let commit = place.push("a.yaml", RULES);
    let rules = place.rules("main", "");
    rules.fetch().unwrap();
    rules.keep(&commit[..12]).unwrap();
    let told = place.rules("main", "").fetch().unwrap_err().to_string();
    assert!(told.contains("another gate") && told.contains("rules.cache"), "{told}");
    drop(rules);

    fs::rename(place.path("remote.git"), place.path("away.git")).unwrap();
    let rules = place.rules("main", "");
    for _ in 0..3 {
        let told = rules.fetch().unwrap_err().to_string();
        assert!(told.contains("remote is up"), "{told}");
    }
    assert_eq!(rules.read().unwrap().commit, commit[..12]);
    assert_eq!(rules.read_good().unwrap().commit, commit[..12]);
    // Other settings mean other rules.
    let other = GitRules { reference: "next".to_owned(), ..rules.clone() };
    assert!(other.fetch().is_err() && other.read().is_err());

    fs::rename(place.path("away.git"), place.path("remote.git")).unwrap();
    let next = place.push("a.yaml", "x: 1\n");
    assert_eq!(rules.fetch().unwrap().commit, next[..12]);
    assert_eq!(rules.read_good().unwrap().commit, commit[..12], "nobody said that the new one is good");
}

#[test]
fn a_cache_that_is_locked_or_damaged_or_half_swapped_is_made_anew() {
    let place = Place::new();
    let commit = place.push("a.yaml", RULES);
    let rules = place.rules("main", "");
    rules.fetch().unwrap();
    rules.keep(&commit[..12]).unwrap();
    let cache = place.path("cache.git");
    let name = rules.name();
    let heal = |what: &str, content: &str| {
        let commit = place.push("a.yaml", content);
        assert_eq!(rules.fetch().unwrap_or_else(|error| panic!("{what}: {error}")).commit, commit[..12], "{what}");
        assert_eq!(rules.read().unwrap().files["a.yaml"], content.as_bytes(), "{what}");
    };
    // As a git leaves them that is killed.
    fs::write(cache.join("shallow.lock"), "").unwrap();
    fs::write(cache.join(format!("{name}.lock")), "").unwrap();
    heal("locks", "b: 1\n");
    assert!(!cache.join("shallow.lock").exists());
    assert_eq!(rules.read_good().unwrap().commit, commit[..12], "what is good is carried over");

    fs::remove_dir_all(cache.join("objects")).unwrap();
    heal("no objects", "c: 1\n");
    fs::write(cache.join("HEAD"), "nonsense").unwrap();
    heal("no repository", "d: 1\n");
    fs::remove_dir_all(&cache).unwrap();
    heal("no cache", "e: 1\n");

    // An object that is there, and is not what it was: found when it is read, mended with the next fetch.
    let object = place.git(&cache, &["rev-parse", &format!("{name}:a.yaml")]);
    let _ = fs::remove_dir_all(cache.join("objects/pack"));
    let file = cache.join("objects").join(&object[..2]).join(&object[2..]);
    fs::remove_file(&file).unwrap();
    fs::write(&file, "nonsense").unwrap();
    assert!(matches!(rules.read(), Err(GitError::Unreadable { .. })));
    heal("a broken object", "f: 1\n");

    // Ended between the two renames.
    drop(rules);
    fs::rename(&cache, place.path("cache.git.old")).unwrap();
    fs::create_dir(place.path("cache.git.new")).unwrap();
    fs::rename(place.path("remote.git"), place.path("away.git")).unwrap();
    let rules = place.rules("main", "");
    assert!(rules.fetch().is_err());
    assert_eq!(rules.read().unwrap().files["a.yaml"], b"f: 1\n");
}

#[test]
fn what_is_no_cache_is_not_touched() {
    let place = Place::new();
    place.push("a.yaml", RULES);
    // A slip in the settings: the gate's own data, a repository, a file.
    let cache = place.path("cache.git");
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join("meshgate.db"), "events").unwrap();
    let told = place.rules("main", "").fetch().unwrap_err().to_string();
    assert!(told.contains("something else") && told.contains("rules.cache"), "{told}");
    assert_eq!(fs::read(cache.join("meshgate.db")).unwrap(), b"events");
    assert!(!place.path("cache.git.lock").exists());
    fs::remove_dir_all(&cache).unwrap();
    place.git(place.home.path(), &["clone", "-q", "--bare", "remote.git", "cache.git"]);
    assert!(matches!(place.rules("main", "").fetch(), Err(GitError::Foreign(_))));
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, "a file").unwrap();
    assert!(matches!(place.rules("main", "").fetch(), Err(GitError::Foreign(_))));
    // A volume that was made for it is empty.
    fs::remove_file(&cache).unwrap();
    fs::create_dir(&cache).unwrap();
    place.rules("main", "").fetch().unwrap();
}

#[test]
fn two_hundred_pushes_leave_no_more_than_a_few_hundred_objects() {
    let place = Place::new();
    // What cannot be compressed, so that what is kept counts.
    let content = |seed: u64| -> String {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            format!("{state:016x}")
        };
        (0..2_000).map(|_| next()).collect()
    };
    place.push("d/a.yaml", &content(1));
    let rules = place.rules("main", "");
    rules.fetch().unwrap();
    let mut largest = 0;
    for number in 0..200 {
        place.push("d/a.yaml", &content(number + 2));
        rules.fetch().unwrap();
        largest = largest.max(place.cache_bytes());
    }
    // 16 KB each, compressed: 200 of them would be more than 3 MB, with trees and commits 6 MB.
    println!("the cache took {largest} bytes at most, {} at the end", place.cache_bytes());
    assert!(largest < 4 * 1024 * 1024, "{largest}");
    assert_eq!(rules.read().unwrap().files["d/a.yaml"], content(201).as_bytes());
}

#[test]
fn nothing_is_run_but_git() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.push("a.yaml", RULES);
    let rules = place.rules("main", "");
    rules.fetch().unwrap();
    let (hook, ran) = (place.path("cache.git/hooks/reference-transaction"), place.path("ran"));
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    place.push("a.yaml", "x: 1\n");
    assert!(rules.fetch().unwrap().is_new);
    assert!(!ran.exists(), "a hook ran");
}
