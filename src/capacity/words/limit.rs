//! What ran out first, in words.

use crate::capacity::limit::{Limit, Resource};
use crate::capacity::number::number;
use crate::capacity::trials::Unit;

/// The resource that ran out first.
pub(crate) fn limit(limit: &Limit, unit: Unit) -> String {
    let Limit { place, resource, level, value, of, .. } = limit;
    let at = super::level(*level, unit);
    match resource {
        Resource::Processor if place == "processes" => format!(
            "what ran out first is one processor: a process of the Flow had {} of it in use at {at}",
            number(*value)
        ),
        Resource::Processor => format!(
            "what ran out first is the processor of `{place}`: {} of one in use at {at}",
            number(*value)
        ),
        Resource::Processors => format!(
            "what ran out first are the processors: the Flow had {} of {} in use at {at}",
            number(*value),
            number(*of)
        ),
        Resource::Memory => format!(
            "what ran out first is memory: the Flow had {} GiB of {} in use at {at}",
            number(*value / f64::from(1 << 30)),
            number(*of / f64::from(1 << 30))
        ),
        Resource::Queue => format!(
            "requests waited in `{place}` first: {} were there at {at}, and {} at the load that passed",
            number(*value),
            number(*of)
        ),
    }
}
