//! A way to a far end that can be shut: the far end keeps what it has, and nobody reaches it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A port that leads to another one while it is open. Shut, it ends every connection.
pub struct Door {
    pub address: SocketAddr,
    is_open: Arc<AtomicBool>,
    passing: Arc<Mutex<Vec<TcpStream>>>,
    /// What clients said, where somebody listens.
    heard: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Door {
    /// Open at first.
    pub fn to(far_end: SocketAddr) -> Self {
        Self::new(far_end, None)
    }

    /// The same, with what clients say kept: [`Self::heard`].
    pub fn with_an_ear(far_end: SocketAddr) -> Self {
        Self::new(far_end, Some(Arc::default()))
    }

    fn new(far_end: SocketAddr, heard: Option<Arc<Mutex<Vec<u8>>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (is_open, passing) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
        let door = Self { address, is_open: Arc::clone(&is_open), passing: Arc::clone(&passing), heard: heard.clone() };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(beyond) = TcpStream::connect(far_end) else { continue };
                let mut passing = passing.lock().expect("no thread panics with it");
                // Under the lock, so that none slips through while it is shut.
                if !is_open.load(Ordering::SeqCst) {
                    continue;
                }
                passing.extend([&client, &beyond].map(|stream| stream.try_clone().expect("a handle")));
                relay(client.try_clone(), beyond.try_clone(), heard.clone());
                relay(Ok(beyond), Ok(client), None);
            }
        });
        door
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What clients have said so far, as text.
    pub fn heard(&self) -> String {
        let heard = self.heard.as_ref().expect("somebody listens").lock().expect("no thread panics with it");
        String::from_utf8_lossy(&heard).into_owned()
    }

    pub fn shut(&self) {
        self.is_open.store(false, Ordering::SeqCst);
        for stream in self.passing.lock().expect("no thread panics with it").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

/// Copies one direction of a connection until it ends.
fn relay(from: io::Result<TcpStream>, to: io::Result<TcpStream>, heard: Option<Arc<Mutex<Vec<u8>>>>) {
    let (mut from, mut to) = (from.expect("a connection"), to.expect("a connection"));
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if let Some(heard) = &heard {
                heard.lock().expect("no thread panics with it").extend_from_slice(&bytes[..count]);
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
