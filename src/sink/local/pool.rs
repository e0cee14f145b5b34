//! A few read-only connections, lent to blocking threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::{Reader, StoreError};

/// Reads at a time. More would only compete for the same disk and cores.
const READERS_MAX: usize = 4;

pub(super) struct ReaderPool {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
    turns: Arc<Semaphore>,
}

impl ReaderPool {
    pub(super) fn new(path: PathBuf, first: Reader) -> Self {
        Self { path, idle: Mutex::new(vec![first]), turns: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let pool = Arc::clone(self);
        // A caller that goes away leaves the read to end by itself; its turn ends with it, not before.
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let idle = pool.idle().pop();
            let reader = idle.map_or_else(|| Reader::open(&pool.path), Ok)?;
            let answer = ask(&reader)?;
            pool.idle().push(reader);
            Ok(answer)
        });
        read.await.map_err(|_| StoreError::Stopped)?
    }

    pub(super) fn close_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
