//! Runs the `git` program: with nothing to ask of a person, bounded in time and output.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long one call of git may take.
pub const TIME_MAX: Duration = Duration::from_secs(60);

/// The longest listing of a directory's files, in bytes.
pub const LISTING_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What git says of a fault, in bytes, and how long that is waited for once git has ended.
const TOLD_BYTES_MAX: u64 = 64 * 1024;
const TOLD_TIME_MAX: Duration = Duration::from_secs(1);

/// Which repository a call is about.
#[derive(Debug, Clone, Copy)]
pub enum At<'p> {
    /// The one that a directory lies in. Git looks for it as for anybody who calls it there.
    Within(&'p Path),
    /// This bare one and no other. Git must not look for it: were it damaged, a repository around it would be found.
    Bare(&'p Path),
}

/// How git is to be called.
#[derive(Debug, Clone)]
pub struct Git<'p> {
    pub program: &'p OsStr,
    pub at: At<'p>,
    pub time_max: Duration,
    /// Of git's configuration, beside the machine's and the user's. In the environment, which other users cannot read, unlike arguments.
    pub config: Vec<(&'static str, String)>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("git cannot be run ({0})")]
    NoGit(io::Error),
    #[error("git did not answer within {} seconds, and was ended", .0.as_secs())]
    TooSlow(Duration),
    #[error("git's answer is longer than {0} bytes")]
    TooLong(u64),
    #[error("git's answer cannot be read: {0}")]
    Io(io::Error),
}

/// What git said.
pub enum Answer {
    Good(Vec<u8>),
    /// It refused, in these words.
    Bad(String),
}

impl<'p> Git<'p> {
    pub fn new(at: At<'p>) -> Self {
        Self { program: OsStr::new("git"), at, time_max: TIME_MAX, config: Vec::new() }
    }

    /// Runs it, and ends it when it takes too long or says too much.
    ///
    /// # Errors
    /// When there is no answer. That git refused is one ([`Answer::Bad`]).
    pub fn call(&self, arguments: &[&str], input: Option<Vec<u8>>, bytes_max: u64) -> Result<Answer, CallError> {
        let mut command = self.command(arguments);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(CallError::NoGit)?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            // Beside the reading, as git answers while it is asked. When it stops listening, its answer says why.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let until = Instant::now() + self.time_max;
        let (out, err) = (reading(child.stdout.take(), bytes_max), reading(child.stderr.take(), TOLD_BYTES_MAX));
        let (out, is_whole) = gathered(&out, until);
        let ended = match &out {
            Ok(out) if out.len() as u64 > bytes_max => Err(CallError::TooLong(bytes_max)),
            _ if is_whole => match ended(&mut child, until) {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err(CallError::TooSlow(self.time_max)),
                Err(error) => Err(CallError::Io(error)),
            },
            _ => Err(CallError::TooSlow(self.time_max)),
        };
        let status = ended.inspect_err(|_| end(&mut child))?;
        let out = out.map_err(CallError::Io)?;
        if status.success() {
            return Ok(Answer::Good(out));
        }
        // What it started may outlive it and keep this pipe, as ssh does that shares its connection (ControlPersist).
        let (told, _) = gathered(&err, Instant::now() + TOLD_TIME_MAX);
        Ok(Answer::Bad(gist(&String::from_utf8_lossy(&told.unwrap_or_default()))))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        match self.at {
            At::Within(dir) => command.arg("-C").arg(dir),
            At::Bare(dir) => {
                // Whatever the gate was started by, a hook even, the repository is this one.
                for name in ["GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_COMMON_DIR", "GIT_SHALLOW_FILE"] {
                    command.env_remove(name);
                }
                for name in ["GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_TRACE", "GIT_TRACE_CURL"]
                {
                    command.env_remove(name);
                }
                // Remotes are reached without running anything but git and ssh, whatever a URL says.
                command.env("GIT_DIR", dir).env("GIT_ALLOW_PROTOCOL", "file:http:https:ssh")
            }
        };
        command
            .args(arguments)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("LC_ALL", "C")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: what it starts is ended with it, and has no terminal to ask anybody on.
            .process_group(0);
        if !self.config.is_empty() {
            // Somebody may configure git in the same way; theirs goes first, so that ours is the last word.
            let before =
                std::env::var("GIT_CONFIG_COUNT").ok().and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
            for (number, (name, value)) in (before..).zip(&self.config) {
                command.env(format!("GIT_CONFIG_KEY_{number}"), name);
                command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
            }
            command.env("GIT_CONFIG_COUNT", OsString::from((before + self.config.len()).to_string()));
        }
        command
    }
}

/// The line that says what is wrong.
fn gist(told: &str) -> String {
    let fatal = told.lines().find_map(|line| line.strip_prefix("fatal: "));
    let error = || told.lines().find_map(|line| line.strip_prefix("error: "));
    let any = || told.lines().find(|line| !line.trim().is_empty());
    let line = fatal.or_else(error).or_else(any).unwrap_or("it said nothing");
    // Git leaves it to the program it called, as ssh, to say why.
    match told.lines().next().filter(|first| line.starts_with("Could not read from remote") && !first.contains(line)) {
        Some(first) => format!("{line} {first}"),
        None => line.to_owned(),
    }
}

/// It may be gone already, and so may be what it started, which `kill` ends where it is installed. Where it is not they end for
/// want of somebody to talk to.
fn end(child: &mut Child) {
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    let _ = child.kill();
    let _ = child.wait();
}

/// Its status once it has ended; `None` when that takes longer.
fn ended(child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait()? {
            None if Instant::now() < until => thread::sleep(pause),
            status => return Ok(status),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Reads to the end, one byte beyond the most at most, piece by piece.
fn reading(pipe: Option<impl Read + Send + 'static>, bytes_max: u64) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (pieces, read) = mpsc::channel();
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        let (mut pipe, mut piece) = (pipe.take(bytes_max + 1), vec![0; 64 * 1024]);
        loop {
            match pipe.read(&mut piece) {
                Ok(0) => return,
                Ok(length) if pieces.send(Ok(piece[..length].to_vec())).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return drop(pieces.send(Err(error))),
            }
        }
    });
    read
}

/// What was read until then, and whether that is all.
fn gathered(read: &mpsc::Receiver<io::Result<Vec<u8>>>, until: Instant) -> (io::Result<Vec<u8>>, bool) {
    let mut bytes = Vec::new();
    loop {
        match read.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(piece)) => bytes.extend(piece),
            Ok(Err(error)) => return (Err(error), true),
            Err(mpsc::RecvTimeoutError::Disconnected) => return (Ok(bytes), true),
            Err(mpsc::RecvTimeoutError::Timeout) => return (Ok(bytes), false),
        }
    }
}

/// An answer of one line, without its end.
pub fn line(text: &[u8]) -> Result<String, CallError> {
    let text = std::str::from_utf8(text).map_err(|error| CallError::Io(io::Error::other(error)))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let dir = TempDir::new().unwrap();
        let git = Git { program: OsStr::new("no-such-git"), ..Git::new(At::Within(dir.path())) };
        assert!(matches!(git.call(&[], None, 10), Err(CallError::NoGit(_))));
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_started() {
        let dir = TempDir::new().unwrap();
        let (program, pid) = (dir.path().join("git"), dir.path().join("pid"));
        std::fs::write(&program, format!("#!/bin/sh\nsleep 600 &\necho $! > {}\nwait\n", pid.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let time_max = Duration::from_millis(500);
        let git = Git { program: program.as_os_str(), time_max, ..Git::new(At::Within(dir.path())) };
        assert!(matches!(git.call(&[], None, 10), Err(CallError::TooSlow(_))));
        let sleep = std::fs::read_to_string(pid).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", sleep.trim())).unwrap_or_default();
        let is_gone = || state().is_empty() || state().contains(") Z ");
        assert!(
            (0..100).any(|_| is_gone() || {
                thread::sleep(Duration::from_millis(20));
                false
            }),
            "{}",
            state()
        );
    }

    /// As ssh leaves one behind that shares its connection.
    #[test]
    fn what_outlives_git_and_keeps_its_pipe_holds_nothing_up() {
        for (code, told) in [(0, ""), (1, "no such branch")] {
            let dir = TempDir::new().unwrap();
            let (program, pid) = (dir.path().join("git"), dir.path().join("pid"));
            let script = format!(
                "#!/bin/sh\nsleep 600 > /dev/null &\necho $! > {}\necho out\necho 'fatal: no such branch' >&2\nexit {code}\n",
                pid.display()
            );
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let git = Git { program: program.as_os_str(), ..Git::new(At::Within(dir.path())) };
            let began = Instant::now();
            let answer = git.call(&[], None, 10).unwrap();
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
            match answer {
                Answer::Good(out) => assert_eq!((out.as_slice(), code), (&b"out\n"[..], 0)),
                Answer::Bad(said) => assert_eq!((said.as_str(), code), (told, 1)),
            }
            let sleep = std::fs::read_to_string(pid).unwrap();
            assert!(Command::new("kill").arg(sleep.trim()).status().unwrap().success(), "it outlived git");
        }
    }

    #[test]
    fn the_line_that_matters_is_told() {
        let gists = [
            ("warning: x\nfatal: couldn't find remote ref a\n", "couldn't find remote ref a"),
            ("error: one\nerror: two\n", "one"),
            ("", "it said nothing"),
            (
                "me@host: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease\n",
                "Could not read from remote repository. me@host: Permission denied (publickey).",
            ),
        ];
        for (told, expected) in gists {
            assert_eq!(gist(told), expected);
        }
    }
}
