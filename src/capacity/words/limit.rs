//! Describes what ran out first.

use crate::capacity::limit::{Limit, Resource};
use crate::capacity::number::number;
use crate::capacity::trials::Unit;

/// The limiting resource.
pub(crate) fn limit(limit: &Limit, unit: Unit) -> String {
    let Limit { place, resource, level, value, of, .. } = limit;
    let at = super::level(*level, unit);
    match resource {
        Resource::Processor if place == "processes" => format!(
            "limiting resource: one processor; a process of the Flow used {} of it at {at}",
            number(*value)
        ),
        Resource::Processor => format!(
            "limiting resource: the processor of `{place}`; it used {} of one at {at}",
            number(*value)
        ),
        Resource::Processors => format!(
            "limiting resource: the processors; the Flow used {} of {} at {at}",
            number(*value),
            number(*of)
        ),
        Resource::Memory => format!(
            "limiting resource: memory; the Flow used {} GiB of {} at {at}",
            number(*value / f64::from(1 << 30)),
            number(*of / f64::from(1 << 30))
        ),
        Resource::Queue => format!(
            "limiting resource: the queue of `{place}`; {} requests waited there at {at}, and {} \
             at the load that passed",
            number(*value),
            number(*of)
        ),
    }
}
