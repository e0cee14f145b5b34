//! Child processes that never outlive their test.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port on 127.0.0.1").port()
}

/// Asks `ready` every 20 ms until it says so; panics with `what` after `deadline`.
pub fn wait_until<T>(what: &str, deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command to its end and gives back what it printed. One that does not end within a minute is killed, and so is
/// whatever it left in the background.
pub fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|e| panic!("{shown}: {e}"));
    let group = child.id();
    let (done, ended) = std::sync::mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    let output = ended.recv_timeout(Duration::from_secs(60));
    signal("KILL", group);
    match output {
        Ok(output) => output.unwrap_or_else(|e| panic!("{shown}: {e}")),
        Err(_) => panic!("{shown}: still running after a minute, killed"),
    }
}

/// A server that runs beside a test. Its process group is killed when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    ended: Option<ExitStatus>,
}

impl Process {
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{name} could not be started: {e}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        keep_lines(child.stdout.take(), &log);
        keep_lines(child.stderr.take(), &log);
        Self { name: name.to_owned(), child, log, ended: None }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The exit status, once the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be asked for its state");
        }
        self.ended
    }

    /// Waits until `ready` gives a value; panics with the log when the process ends first, or after `deadline`.
    pub fn until<T>(&mut self, deadline: Duration, mut ready: impl FnMut(&[String]) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(value) = ready(&self.log()) {
                return value;
            }
            let late = started.elapsed() > deadline;
            if let Some(what) = self.ended().map(|s| s.to_string()).or(late.then(|| format!("{deadline:?} passed"))) {
                panic!("{} never became ready ({what}); it said:\n{}", self.name, self.log().join("\n"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal by name (`TERM`, `KILL`, `STOP`) to the process and its children.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }

    /// Waits for the end and gives back the exit status.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            let log = || self.log.lock().unwrap().join("\n");
            assert!(started.elapsed() < deadline, "{} did not end within {deadline:?}; it said:\n{}", self.name, log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group even when its leader is gone: a launcher may have left its server behind.
        self.signal("KILL");
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let tail = &log[log.len().saturating_sub(40)..];
            eprintln!("--- the last words of {} ---\n{}", self.name, tail.join("\n"));
        }
    }
}

/// To the whole process group, by `kill(1)`: the standard library sends no signals, and the crate forbids unsafe code.
fn signal(name: &str, group: u32) {
    let _ = Command::new("kill").args(["-s", name, "--", &format!("-{group}")]).stderr(Stdio::null()).status();
}

fn keep_lines(pipe: Option<impl Read + Send + 'static>, log: &Arc<Mutex<Vec<String>>>) {
    let (Some(pipe), log) = (pipe, Arc::clone(log)) else { return };
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
}

/// A directory that goes with its test.
pub fn temporary() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("meshgate-it-").tempdir().expect("a temporary directory")
}

/// `dir` and everything below it, copied.
pub fn copy_tree(from: &PathBuf, to: &PathBuf) {
    std::fs::create_dir_all(to).expect("a directory can be made");
    for entry in std::fs::read_dir(from).expect("a readable directory") {
        let entry = entry.expect("a readable entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("a file can be copied");
        }
    }
}
