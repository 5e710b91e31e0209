//! One pool of tokens for everything that computes: our own steps, and each `make` below them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;

/// The token pool, and the flag by which one failure stops the rest.
pub struct Jobs {
    client: jobserver::Client,
    count: usize,
    /// Two threads that both want all tokens would wait for each other for ever.
    all: Mutex<()>,
    cancelled: Arc<AtomicBool>,
}

impl Jobs {
    pub fn new(count: usize) -> Result<Self> {
        let client = jobserver::Client::new(count).context("make a jobserver")?;
        Ok(Self { client, count, all: Mutex::new(()), cancelled: Arc::default() })
    }

    /// The processors this process may use.
    pub fn default_count() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    pub fn client(&self) -> &jobserver::Client {
        &self.client
    }

    /// Waits for one token: the right to run one single-threaded command, or a `make`, which then asks
    /// the same pool for more.
    pub fn one(&self) -> Result<jobserver::Acquired> {
        let token = self.client.acquire().context("wait for a job token")?;
        self.check()?;
        Ok(token)
    }

    /// Waits for one token and takes all others that are free: for a command that is told how many
    /// processors it has and cannot ask for more later.
    pub fn free(&self) -> Result<Vec<jobserver::Acquired>> {
        // One at a time, or two commands would each get a half and both be slow.
        let _turn = self.all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut tokens = vec![self.one()?];
        // An error says that this kernel cannot tell: one is enough.
        while let Ok(Some(token)) = self.client.try_acquire() {
            tokens.push(token);
        }
        Ok(tokens)
    }

    /// Waits for all tokens: for a command that uses every processor without asking.
    pub fn all(&self) -> Result<Vec<jobserver::Acquired>> {
        let _turn = self.all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        (0..self.count).map(|_| self.one()).collect()
    }

    /// Tells every other build to stop: one has failed.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// The flag that [`Jobs::cancel`] sets.
    pub fn cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// An error once the work should stop.
    pub fn check(&self) -> Result<()> {
        interrupt::check()?;
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(Failure::new(Kind::Interrupted, "stopped because another build failed").into()),
            false => Ok(()),
        }
    }
}
