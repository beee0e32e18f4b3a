//! The random functions of expressions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Object, ObjectRepr, Rest, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use rand::RngExt;
use rand_distr::{Distribution, Normal, Zipf};

use crate::random::{self, Key};
use crate::source::Sources;

/// Maximum number of words per call of `words`.
const WORDS_MAX: u64 = 100_000;

/// The random functions: available where an expression is evaluated for each Document or request.
pub(super) const RANDOM: [&str; 7] =
    ["choice", "uniform", "normal", "randint", "zipf", "words", "uuid"];

/// The name under which functions find the context's random stream. No file can use it.
pub(super) const STREAM: &str = "\0stream";

/// The random numbers of one evaluation. Each function call has its own stream, so that one that draws more
/// does not shift the next.
#[derive(Debug)]
pub(super) struct Stream {
    key: Key,
    calls: AtomicU64,
}

impl Stream {
    /// The stream of one evaluation.
    pub(super) fn new(key: Key) -> Stream {
        Stream { key, calls: AtomicU64::new(0) }
    }
}

impl Object for Stream {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// Adds the functions to the environment of expressions.
pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_function("choice", choice);
    environment.add_function("uniform", uniform);
    environment.add_function("normal", normal);
    environment.add_function("randint", randint);
    environment.add_function("zipf", zipf);
    environment.add_function("words", words);
    environment.add_function("uuid", uuid);
    environment.add_filter("from_yaml", from_yaml);
}

/// Parses a text as YAML or JSON, such as a list in an environment variable.
fn from_yaml(text: &str) -> Result<Value, Error> {
    let (mut sources, mut problems) = (Sources::new(), Vec::new());
    match sources.parse("", text.to_owned(), None, &mut problems) {
        Some(node) if problems.is_empty() => Ok(Value::from(Serde(&node.to_json()))),
        _ => Err(wrong("`from_yaml` takes a text that is YAML or JSON")),
    }
}

fn rng(state: &State<'_, '_>, name: &str) -> Result<rand_pcg::Pcg64Mcg, Error> {
    let stream = state.lookup(STREAM);
    let stream = stream.as_ref().and_then(|value| value.downcast_object_ref::<Stream>());
    let Some(stream) = stream else {
        return Err(wrong(format!("`{name}` is available in documents and parameters only")));
    };
    Ok(stream.key.index(stream.calls.fetch_add(1, Ordering::Relaxed)).rng())
}

fn wrong(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

fn choice(state: &State<'_, '_>, items: Value, weights: Option<Vec<f64>>) -> Result<Value, Error> {
    let mut rng = rng(state, "choice")?;
    let count = items.len().filter(|count| *count > 0);
    let Some(count) =
        count.filter(|_| matches!(items.kind(), ValueKind::Seq | ValueKind::Iterable))
    else {
        return Err(wrong("`choice` takes a list that is not empty"));
    };
    let at = match weights {
        None => rng.random_range(0..count),
        Some(weights) => {
            let total: f64 = weights.iter().sum();
            let proper =
                weights.iter().all(|weight| *weight >= 0.0) && total.is_finite() && total > 0.0;
            if weights.len() != count || !proper {
                return Err(wrong(
                    "`choice` takes one weight per item, none below 0 and not all 0",
                ));
            }
            let mut left = rng.random::<f64>() * total;
            let at = weights.iter().position(|weight| {
                left -= weight;
                left < 0.0
            });
            // Rounding may leave a remainder, which goes to the last item with a positive weight.
            at.or_else(|| weights.iter().rposition(|weight| *weight > 0.0)).unwrap_or(0)
        }
    };
    items.get_item_by_index(at)
}

fn uniform(state: &State<'_, '_>, low: f64, high: f64) -> Result<f64, Error> {
    let mut rng = rng(state, "uniform")?;
    if !(low <= high && (high - low).is_finite()) {
        return Err(wrong("`uniform` takes a lower and a higher number"));
    }
    Ok(low + rng.random::<f64>() * (high - low))
}

fn normal(state: &State<'_, '_>, mean: Option<f64>, deviation: Option<f64>) -> Result<f64, Error> {
    let mut rng = rng(state, "normal")?;
    let (mean, deviation) = (mean.unwrap_or(0.0), deviation.unwrap_or(1.0));
    let normal = Normal::new(mean, deviation).ok().filter(|_| deviation >= 0.0 && mean.is_finite());
    let normal =
        normal.ok_or_else(|| wrong("`normal` takes a mean and a deviation of at least 0"))?;
    Ok(normal.sample(&mut rng))
}

fn randint(state: &State<'_, '_>, low: i64, high: i64) -> Result<i64, Error> {
    let mut rng = rng(state, "randint")?;
    if low > high {
        return Err(wrong("`randint` takes a lower and a higher whole number"));
    }
    Ok(rng.random_range(low..=high))
}

fn zipf(state: &State<'_, '_>, n: u64, exponent: Option<f64>) -> Result<u64, Error> {
    let mut rng = rng(state, "zipf")?;
    let zipf = Zipf::new(n as f64, exponent.unwrap_or(1.0)).ok().filter(|_| n >= 1);
    let zipf = zipf
        .ok_or_else(|| wrong("`zipf` takes a count of at least 1 and an exponent of at least 0"))?;
    Ok((zipf.sample(&mut rng) as u64).clamp(1, n))
}

fn words(state: &State<'_, '_>, low: u64, high: Option<u64>) -> Result<String, Error> {
    let mut rng = rng(state, "words")?;
    let high = high.unwrap_or(low);
    if low > high || high > WORDS_MAX {
        return Err(wrong(format!(
            "`words` takes a count up to {WORDS_MAX}, or a lower and a higher one"
        )));
    }
    let count = rng.random_range(low..=high);
    Ok(random::words(&mut rng, count))
}

fn uuid(state: &State<'_, '_>, none: Rest<Value>) -> Result<String, Error> {
    if !none.is_empty() {
        return Err(wrong("`uuid` takes no arguments"));
    }
    let bytes: u128 = rng(state, "uuid")?.random();
    Ok(uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Scope, Template};

    #[test]
    fn random_functions_say_what_they_take() {
        for (text, message) in [
            ("${{ choice([]) }}", "`choice` takes a list that is not empty"),
            ("${{ choice('abc') }}", "`choice` takes a list that is not empty"),
            (
                "${{ choice([1], [0]) }}",
                "`choice` takes one weight per item, none below 0 and not all 0",
            ),
            ("${{ uniform(2, 1) }}", "`uniform` takes a lower and a higher number"),
            ("${{ normal(0, -1) }}", "`normal` takes a mean and a deviation of at least 0"),
            ("${{ randint(2, 1) }}", "`randint` takes a lower and a higher whole number"),
            ("${{ zipf(0) }}", "`zipf` takes a count of at least 1 and an exponent of at least 0"),
            (
                "${{ words(9999999) }}",
                "`words` takes a count up to 100000, or a lower and a higher one",
            ),
            ("${{ uuid(1) }}", "`uuid` takes no arguments"),
        ] {
            let template = Template::parse(text).expect(text);
            let scope = Scope { i: 0, key: Key::new(0), captured: None };
            assert_eq!(template.evaluate(&scope).expect_err(text).reason, message);
        }
    }
}
