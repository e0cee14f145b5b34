//! Tells systemd how the gate is, as a unit of `Type=notify` asks for it (sd_notify(3)): one datagram to the socket that
//! `NOTIFY_SOCKET` names. Without the variable nothing happens, and nobody who does not listen holds anything up.

use std::io;
use std::os::unix::net::UnixDatagram;

/// Both ports answer.
pub const READY: &str = "READY=1";
/// Requests in progress are settled, and no new connection is taken.
pub const STOPPING: &str = "STOPPING=1";

/// Tells `state`. What goes wrong is logged: systemd says itself that it was not told.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(socket.as_encoded_bytes(), state) {
        tracing::warn!(%error, "systemd cannot be told {state}: NOTIFY_SOCKET names no socket that can be written to");
    }
}

fn send(name: &[u8], state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // Rather lost than waited for.
    socket.set_nonblocking(true)?;
    match name {
        // A name of Linux's abstract namespace, in which an @ stands for the NUL it begins with.
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => {
            use std::os::linux::net::SocketAddrExt as _;
            socket.send_to_addr(state.as_bytes(), &std::os::unix::net::SocketAddr::from_abstract_name(rest)?)?;
        }
        path => {
            use std::os::unix::ffi::OsStrExt as _;
            socket.send_to(state.as_bytes(), std::ffi::OsStr::from_bytes(path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_in_a_directory_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_encoded_bytes(), READY).unwrap();
        let mut told = [0; 64];
        let length = listener.recv(&mut told).unwrap();
        assert_eq!(&told[..length], b"READY=1");
        assert!(send(b"/nowhere/at/all", READY).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_told() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("meshgate-notify-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_bytes(), STOPPING).unwrap();
        let mut told = [0; 64];
        let length = listener.recv(&mut told).unwrap();
        assert_eq!(&told[..length], b"STOPPING=1");
    }
}
