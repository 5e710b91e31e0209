//! One pool of tokens for everything that computes: our own steps, and each `make` below them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;

/// Between two looks for a token, where waiting for one could be for ever.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The token pool, and the flag by which one failure stops the rest.
pub struct Jobs {
    client: jobserver::Client,
    count: usize,
    /// Two threads that both want all tokens would wait for each other for ever.
    all: Mutex<()>,
    /// A command that shared the pool failed: if it was killed, the tokens that it held come back to nobody.
    lost: AtomicBool,
    cancelled: Arc<AtomicBool>,
}

impl Jobs {
    pub fn new(count: usize) -> Result<Self> {
        let client = jobserver::Client::new(count).context("make a jobserver")?;
        Ok(Self { client, count, all: Mutex::new(()), lost: AtomicBool::default(), cancelled: Arc::default() })
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

    /// Waits for one token and takes others that are free: for a command that is told how many processors it has and
    /// cannot ask for more later. All of them if nobody else has any; else half at most, so that of two such commands
    /// one can go on where the other has work for a single processor, as linkers do.
    pub fn free(&self) -> Result<Vec<jobserver::Acquired>> {
        // One at a time, or two commands would share what is free by chance.
        let _turn = self.all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut tokens = vec![self.one()?];
        let alone = self.available()? + 1 == self.count;
        let share = if alone { self.count } else { self.count.div_ceil(2) };
        while tokens.len() < share && self.available()? > 0 {
            tokens.push(self.one()?);
        }
        Ok(tokens)
    }

    /// Waits for all tokens: for a command that uses every processor without asking. Where some may be lost, takes
    /// those that are free: what still runs shares a processor then.
    pub fn all(&self) -> Result<Vec<jobserver::Acquired>> {
        let _turn = self.all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut tokens = vec![self.one()?];
        while tokens.len() < self.count {
            if self.available()? > 0 {
                tokens.push(self.one()?);
            } else if self.lost.load(Ordering::Relaxed) {
                break;
            } else {
                self.check()?;
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(tokens)
    }

    /// The tokens that nobody has, in this moment. (The crate's `try_acquire` refuses pools that it made itself.)
    fn available(&self) -> Result<usize> {
        self.client.available().context("count the job tokens")
    }

    /// Tells that a command which shared the pool has failed.
    pub fn failed(&self) {
        self.lost.store(true, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_gets_all_and_who_is_not_half() {
        let jobs = Jobs::new(4).unwrap();
        assert_eq!(jobs.free().unwrap().len(), 4);
        let one = jobs.one().unwrap();
        let half = jobs.free().unwrap();
        assert_eq!(half.len(), 2);
        assert_eq!(jobs.free().unwrap().len(), 1);
        drop((one, half));
        assert_eq!(Jobs::new(1).unwrap().free().unwrap().len(), 1);
    }

    #[test]
    fn all_tokens_are_waited_for() {
        let jobs = Jobs::new(3).unwrap();
        let one = jobs.one().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| jobs.all().unwrap().len());
            drop(one);
            assert_eq!(waiting.join().unwrap(), 3);
        });
    }

    #[test]
    fn tokens_of_a_killed_make_are_not_waited_for() {
        let jobs = Jobs::new(3).unwrap();
        jobs.client().acquire_raw().unwrap(); // and nobody gives it back
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| jobs.all().unwrap().len());
            jobs.failed();
            assert_eq!(waiting.join().unwrap(), 2);
        });
    }

    #[test]
    fn a_cancelled_build_waits_no_longer() {
        let jobs = Jobs::new(2).unwrap();
        let _held = jobs.one().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| jobs.all().map(|tokens| tokens.len()));
            jobs.cancel();
            assert!(waiting.join().unwrap().is_err());
        });
    }
}
