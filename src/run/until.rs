//! How far the workers of a process have reported what they measured.

use std::time::Duration;

/// The time up to which each worker of a process has reported everything, from the start of measurement.
#[derive(Clone, Debug, Default)]
pub(super) struct Until {
    workers: Vec<Duration>,
    /// How many lines it told.
    lines: u64,
}

/// A line is not the one that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {found} of what was measured comes where line {expected} should be: some are missing, or there twice"
)]
pub(super) struct Gap {
    found: u64,
    expected: u64,
}

impl Until {
    pub(super) fn of(workers: usize) -> Until {
        Until { workers: vec![Duration::ZERO; workers], lines: 0 }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The next line, with its number if it has one: older journals have none.
    ///
    /// # Errors
    /// When it is not the next one.
    pub(super) fn line(&mut self, number: Option<u64>) -> Result<(), Gap> {
        self.lines += 1;
        match number {
            Some(found) if found != self.lines => Err(Gap { found, expected: self.lines }),
            _ => Ok(()),
        }
    }

    /// No more will come, of so many lines, if that is known.
    ///
    /// # Errors
    /// When there were others.
    pub(super) fn end(&self, lines: Option<u64>) -> Result<(), Gap> {
        match lines {
            Some(lines) if lines != self.lines => {
                Err(Gap { found: lines + 1, expected: self.lines + 1 })
            }
            _ => Ok(()),
        }
    }

    /// How many lines there were.
    #[cfg(test)]
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Notes that a worker, or all of them, have reported everything up to then.
    pub(super) fn hear(&mut self, worker: Option<usize>, told: Duration) {
        let heard = match worker {
            Some(worker) => self.workers.get_mut(worker..=worker).unwrap_or_default(),
            None => &mut self.workers[..],
        };
        heard.iter_mut().for_each(|until| *until = told.max(*until));
    }

    /// The time up to which all workers have.
    pub(super) fn all(&self) -> Duration {
        self.workers.iter().min().copied().unwrap_or_default()
    }

    /// How long they observed the load: the mean, since rates add up what each saw over its own time.
    pub(super) fn observed(&self) -> Duration {
        let workers = u32::try_from(self.workers.len()).unwrap_or(u32::MAX).max(1);
        self.workers.iter().sum::<Duration>() / workers
    }
}
