//! Plans based on the result of a search.

use super::forecast::Peak;
use super::result::Capacity;
use super::trials::Unit;
use super::{forecast, predict};

/// Requirements of a plan, besides what was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planning {
    /// The peak of each period, in order.
    pub peaks: Vec<Peak>,
    /// The share of capacity to keep free at the peak: 0.3.
    pub headroom: f64,
    /// Cost of one replica per hour.
    pub cost_per_hour: Option<f64>,
}

/// Replaces the plan in a result; `replicas` is the number that was measured.
pub(crate) fn plan_for(capacity: &mut Capacity, replicas: u32, planning: Option<Planning>) {
    capacity.replicas = replicas;
    capacity.models.replicas = match capacity.unit {
        Unit::Rate => {
            let Capacity { answer, trials, confidence, .. } = &*capacity;
            predict::replicas(answer, trials, *confidence, replicas)
        }
        Unit::Clients => Vec::new(),
    };
    capacity.plan = planning.and_then(|planning| {
        let wanted = forecast::Wanted {
            peaks: planning.peaks,
            headroom: planning.headroom,
            replicas,
            cost_per_hour: planning.cost_per_hour,
            documents_per_request: capacity.documents_per_request,
        };
        Some(forecast::plan(capacity.holds_per_s()?, &wanted))
    });
}
