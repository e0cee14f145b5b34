//! `meshgate health`: asks the gate beside it whether it takes records. For what can run a command and not an HTTP probe: Docker's
//! HEALTHCHECK, ECS, systemd, on an image that has no shell and no curl.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{FINDINGS, GOOD, trouble};
use crate::config::{self, Overrides};

/// For connecting, and again for each read: below the five seconds that ECS gives a health check by default.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Of the answer: that of `/ready` names each domain, and only its first line matters.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Ask a running gate whether it takes records: exit code 0 when its admin port answers /ready with 200.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate health                              the gate on this machine, by its settings
  meshgate health --admin 127.0.0.1:9570
  HEALTHCHECK CMD [\"/meshgate\", \"health\"]      in a Dockerfile
  \"command\": [\"CMD\", \"/meshgate\", \"health\"]  in a task definition of ECS

Exit codes: 0 ready; 1 draining, or no answer within two seconds; 2 usage or settings.")]
pub struct HealthArgs {
    /// Settings file of the gate that is asked; ./meshgate.yaml is read when it is there
    #[arg(long, env = "MESHGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of its admin port [default: 127.0.0.1:9570]
    #[arg(long, env = "MESHGATE_ADMIN", value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

pub fn run(args: &HealthArgs) -> ExitCode {
    let admin = match args.admin {
        Some(admin) => admin,
        None => match config::load(&Overrides { config: args.config.clone(), ..Overrides::default() }) {
            Ok(config) => config.admin,
            Err(error) => return trouble(error),
        },
    };
    let admin = reachable(admin);
    match ask(admin) {
        Ok(200) => {
            // Docker keeps what a check says; whoever does not read it is no failure.
            let _ = writeln!(io::stdout(), "ready");
            ExitCode::from(GOOD)
        }
        Ok(503) => unhealthy(format_args!("the gate at {admin} is draining and takes no new connection")),
        Ok(status) => {
            unhealthy(format_args!("{admin} answers /ready with {status}; is that the admin port of a gate?"))
        }
        Err(error) => {
            unhealthy(format_args!("no answer from {admin}: {error}; is the gate running, with its admin port there?"))
        }
    }
}

/// Docker knows 0 and 1 only.
fn unhealthy(message: impl std::fmt::Display) -> ExitCode {
    eprintln!("meshgate: {message}");
    ExitCode::from(FINDINGS)
}

/// An admin port that listens on every address is asked on loopback.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}

/// The status of `GET /ready`.
fn ask(admin: SocketAddr) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /ready HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    status(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what came is not HTTP"))
}

/// The status code of an HTTP/1 answer (RFC 9112, section 4).
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.splitn(3, ' ');
    words.next()?.starts_with("HTTP/1.").then_some(())?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_anything_else_is_not() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503 Service Unavailable\r\n\r\n"), Some(503));
        for other in [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/2 200\r\n", b"HTTP/1.1 \xff\r\n", b"HTTP/1.1"] {
            assert_eq!(status(other), None, "{other:?}");
        }
    }

    #[test]
    fn all_addresses_means_loopback() {
        let asked = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:9570"), "127.0.0.1:9570");
        assert_eq!(asked("[::]:9570"), "[::1]:9570");
        assert_eq!(asked("10.1.2.3:9570"), "10.1.2.3:9570");
    }
}
