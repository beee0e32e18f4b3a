//! How far the workers of a process have reported what they measured.

use std::time::Duration;

/// The time up to which each worker of a process has reported everything, from the start of measurement.
#[derive(Clone, Debug, Default)]
pub(super) struct Until(Vec<Duration>);

impl Until {
    pub(super) fn of(workers: usize) -> Until {
        Until(vec![Duration::ZERO; workers])
    }

    pub(super) fn workers(&self) -> usize {
        self.0.len()
    }

    /// Notes that a worker, or all of them, have reported everything up to then.
    pub(super) fn hear(&mut self, worker: Option<usize>, told: Duration) {
        let heard = match worker {
            Some(worker) => self.0.get_mut(worker..=worker).unwrap_or_default(),
            None => &mut self.0[..],
        };
        heard.iter_mut().for_each(|until| *until = told.max(*until));
    }

    /// The time up to which all workers have.
    pub(super) fn all(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    /// How long they observed the load: the mean, since rates add up what each saw over its own time.
    pub(super) fn observed(&self) -> Duration {
        let workers = u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1);
        self.0.iter().sum::<Duration>() / workers
    }
}
