//! Arrays: their shape, their type and how their values are generated.

use bytes::Bytes;
use half::f16;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, Exp, Normal, StandardNormal};

use super::spec::{ArraySpec, Distribution, Norm, ShapeSpec};
use crate::random::Key;
use crate::source::{Problem, Spot};
use crate::template::{Context, Scope, Template, TemplateError};
use crate::units::{Range, Real};
use crate::wire::{Map, NdArray, ScalarKind, Tensor};

/// The most values of one array: 2 GiB of the smallest type, as much as a message can hold.
const VALUES_MAX: u64 = 2 << 30;

/// A compiled array field.
#[derive(Clone, Debug)]
pub(super) struct Array {
    kind: ScalarKind,
    // `None`: the shape follows from the values.
    shape: Option<Vec<u32>>,
    values: Values,
    norm: Option<Norm>,
}

#[derive(Clone, Debug)]
enum Values {
    Random(Distribution),
    Given(Template),
    // Constant, so created once.
    Made(NdArray),
}

/// Why the value of `values` is not an array.
#[derive(Debug, thiserror::Error)]
enum ValuesError {
    #[error("the list is too long")]
    TooLong,
    #[error("the lists in it are not of the same length")]
    Ragged,
    #[error("it mixes numbers and lists")]
    Mixed,
    #[error("expected numbers, found `{0}`")]
    NoNumber(serde_json::Value),
    #[error("{found} values do not fill the shape {shape:?}")]
    Shape { found: usize, shape: Vec<u32> },
}

impl Array {
    /// The size of its values in bytes; 0 where only the values determine it.
    pub(super) fn bytes(&self) -> f64 {
        let shape = self.shape.iter().flatten();
        let values: f64 = shape.map(|axis| f64::from(*axis)).product();
        if self.shape.is_some() { values * self.kind.size() as f64 } else { 0.0 }
    }

    pub(super) fn compile(
        spec: &ArraySpec,
        at: Spot<'_>,
        context: &Context,
        problems: &mut Vec<Problem>,
    ) -> Option<Array> {
        let default = ShapeSpec {
            shape: None,
            dtype: None,
            distribution: None,
            normalize: None,
            values: None,
        };
        let (spec, values, values_at) = match spec {
            ArraySpec::Values(values) => (&default, Some(values), at),
            ArraySpec::Shaped(spec) => (&**spec, spec.values.as_ref(), at.key("values")),
        };
        let kind = spec.dtype.map_or(ScalarKind::F32, ScalarKind::from);
        if spec.normalize.is_some() && !is_float(kind) {
            at.key("normalize").problem(
                problems,
                "only an array of a floating-point type can be scaled to length 1",
                |problem| problem,
            );
            return None;
        }
        if let Some(shape) = &spec.shape {
            let values = shape.iter().try_fold(1u64, |n, axis| n.checked_mul(u64::from(*axis)));
            if values.is_none_or(|values| values > VALUES_MAX) {
                at.key("shape").problem(
                    problems,
                    format!("an array has at most {VALUES_MAX} values"),
                    |problem| problem,
                );
                return None;
            }
        }
        let values = match values {
            Some(_) if spec.distribution.is_some() => {
                at.key("distribution").problem(
                    problems,
                    "an array has `values` or a `distribution`, not both",
                    |problem| problem,
                );
                return None;
            }
            Some(values) => match values.bind(context) {
                Ok(values) => Values::Given(values),
                Err(errors) => {
                    errors.iter().for_each(|error| error.tell(values_at, problems));
                    return None;
                }
            },
            None if spec.shape.is_none() => {
                at.problem(problems, "an array needs its `shape`, such as `shape: [512]`", |p| p);
                return None;
            }
            None => {
                let distribution = spec.distribution.unwrap_or(if is_float(kind) {
                    Distribution::Normal { mean: 0.0, deviation: 1.0 }
                } else {
                    Distribution::Uniform(None)
                });
                Values::Random(distribution)
            }
        };
        let mut array = Array { kind, shape: spec.shape.clone(), values, norm: spec.normalize };
        let constant = match &array.values {
            Values::Random(Distribution::Constant(_)) => true,
            Values::Given(values) => values.is_constant(),
            _ => false,
        };
        if constant {
            // Created once and shared by all Documents.
            match array.make(&Scope { i: 0, key: Key::new(0), captured: None }) {
                Ok(made) => array.values = Values::Made(made),
                Err(error) => {
                    values_at.problem(problems, error.reason, |problem| problem);
                    return None;
                }
            }
        }
        Some(array)
    }

    /// Whether every Document gets different values.
    pub(super) fn is_random(&self) -> bool {
        matches!(self.values, Values::Random(_))
    }

    /// The template of its values; `None` once they have been created.
    pub(super) fn template(&self) -> Option<&Template> {
        match &self.values {
            Values::Given(template) => Some(template),
            Values::Made(_) | Values::Random(_) => None,
        }
    }

    pub(super) fn make(&self, scope: &Scope<'_>) -> Result<NdArray, TemplateError> {
        let (shape, mut numbers) = match &self.values {
            Values::Made(array) => return Ok(array.clone()),
            Values::Random(distribution) => {
                let shape = self.shape.clone().unwrap_or_default();
                let count: usize = shape.iter().map(|axis| *axis as usize).product();
                let mut rng = scope.key.rng();
                if let Some(data) = fill_plain(self.kind, distribution, count, &mut rng) {
                    return Ok(dense(self.kind, shape, data));
                }
                let values_each = if is_complex(self.kind) { 2 } else { 1 };
                (shape, random_numbers(self.kind, distribution, count * values_each, &mut rng))
            }
            Values::Given(template) => {
                let value = template.evaluate(scope)?;
                let wrong = |error: ValuesError| TemplateError {
                    expression: "values".into(),
                    reason: error.to_string(),
                    help: None,
                };
                let (mut shape, mut numbers) = (Vec::new(), Vec::new());
                flatten(&value, 0, &mut shape, &mut numbers).map_err(wrong)?;
                if let Some(asked) = &self.shape {
                    if asked.iter().map(|axis| *axis as usize).product::<usize>() != numbers.len() {
                        let (found, shape) = (numbers.len(), asked.clone());
                        return Err(wrong(ValuesError::Shape { found, shape }));
                    }
                    shape.clone_from(asked);
                }
                if is_complex(self.kind) {
                    numbers = numbers.into_iter().flat_map(|number| [number, 0.0]).collect();
                }
                (shape, numbers)
            }
        };
        if let Some(norm) = self.norm {
            let length: f64 = match norm {
                Norm::L1 => numbers.iter().map(|number| number.abs()).sum(),
                Norm::L2 => numbers.iter().map(|number| number * number).sum::<f64>().sqrt(),
            };
            // An array of zeros has no direction, so it stays as it is.
            if length > 0.0 {
                numbers.iter_mut().for_each(|number| *number /= length);
            }
        }
        Ok(dense(self.kind, shape, encode(self.kind, &numbers)))
    }
}

fn dense(kind: ScalarKind, shape: Vec<u32>, data: Bytes) -> NdArray {
    NdArray::Dense(Tensor {
        dtype: kind.into(),
        shape,
        data,
        class: "numpy".into(),
        parameters: Map::new(),
    })
}

fn is_float(kind: ScalarKind) -> bool {
    is_complex(kind) || matches!(kind, ScalarKind::F16 | ScalarKind::F32 | ScalarKind::F64)
}

fn is_complex(kind: ScalarKind) -> bool {
    matches!(kind, ScalarKind::C64 | ScalarKind::C128)
}

/// The fast path for integers over the whole range of their type: random bytes are exactly that.
fn fill_plain(
    kind: ScalarKind,
    distribution: &Distribution,
    count: usize,
    rng: &mut impl Rng,
) -> Option<Bytes> {
    if is_float(kind) || kind == ScalarKind::Bool || *distribution != Distribution::Uniform(None) {
        return None;
    }
    let mut data = vec![0; count * kind.size()];
    rng.fill_bytes(&mut data);
    Some(data.into())
}

fn random_numbers(
    kind: ScalarKind,
    distribution: &Distribution,
    count: usize,
    rng: &mut impl Rng,
) -> Vec<f64> {
    let numbers = 0..count;
    match *distribution {
        Distribution::Normal { mean, deviation } => {
            // Both were checked when the file was read; invalid settings give the mean.
            match Normal::new(mean, deviation) {
                // The usual case, without the multiplication.
                Ok(_) if mean == 0.0 && deviation == 1.0 => {
                    numbers.map(|_| rng.sample(StandardNormal)).collect()
                }
                Ok(normal) => numbers.map(|_| normal.sample(rng)).collect(),
                Err(_) => vec![mean; count],
            }
        }
        Distribution::Uniform(range) => {
            let range =
                range.unwrap_or(Range::new(Real(0.0), Real(1.0)).unwrap_or(Range::one(Real(0.0))));
            let (low, high) = (range.low().0, range.high().0);
            if kind == ScalarKind::Bool {
                return numbers.map(|_| f64::from(u8::from(rng.random::<bool>()))).collect();
            }
            if is_float(kind) {
                return numbers.map(|_| low + rng.random::<f64>() * (high - low)).collect();
            }
            // Both ends of an integer range are included, and all integers are equally likely.
            let (low, high) = (low.ceil(), high.floor().max(low.ceil()));
            numbers
                .map(|_| (low + rng.random::<f64>() * (high - low + 1.0)).floor().min(high))
                .collect()
        }
        Distribution::Exponential { mean } => match Exp::new(1.0 / mean) {
            Ok(exponential) => numbers.map(|_| exponential.sample(rng)).collect(),
            Err(_) => vec![mean; count],
        },
        Distribution::Constant(value) => vec![value; count],
    }
}

/// Little-endian bytes; a number outside an integer type becomes the nearest value inside.
fn encode(kind: ScalarKind, numbers: &[f64]) -> Bytes {
    fn all<const N: usize>(numbers: &[f64], bytes: impl Fn(f64) -> [u8; N]) -> Bytes {
        let mut data = Vec::with_capacity(numbers.len() * N);
        for number in numbers {
            data.extend_from_slice(&bytes(*number));
        }
        data.into()
    }
    match kind {
        ScalarKind::Bool => all(numbers, |n| [u8::from(n != 0.0)]),
        ScalarKind::I8 => all(numbers, |n| (n.round() as i8).to_le_bytes()),
        ScalarKind::I16 => all(numbers, |n| (n.round() as i16).to_le_bytes()),
        ScalarKind::I32 => all(numbers, |n| (n.round() as i32).to_le_bytes()),
        ScalarKind::I64 => all(numbers, |n| (n.round() as i64).to_le_bytes()),
        ScalarKind::U8 => all(numbers, |n| (n.round() as u8).to_le_bytes()),
        ScalarKind::U16 => all(numbers, |n| (n.round() as u16).to_le_bytes()),
        ScalarKind::U32 => all(numbers, |n| (n.round() as u32).to_le_bytes()),
        ScalarKind::U64 => all(numbers, |n| (n.round() as u64).to_le_bytes()),
        ScalarKind::F16 => all(numbers, |n| f16::from_f64(n).to_le_bytes()),
        ScalarKind::F32 | ScalarKind::C64 => all(numbers, |n| (n as f32).to_le_bytes()),
        ScalarKind::F64 | ScalarKind::C128 => all(numbers, f64::to_le_bytes),
    }
}

/// Flattens nested lists into a shape and numbers.
fn flatten(
    value: &serde_json::Value,
    depth: usize,
    shape: &mut Vec<u32>,
    numbers: &mut Vec<f64>,
) -> Result<(), ValuesError> {
    match value {
        serde_json::Value::Array(items) => {
            let length = u32::try_from(items.len()).map_err(|_| ValuesError::TooLong)?;
            match shape.get(depth) {
                None if numbers.is_empty() => shape.push(length),
                Some(known) if *known == length => (),
                _ => return Err(ValuesError::Ragged),
            }
            items.iter().try_for_each(|item| flatten(item, depth + 1, shape, numbers))
        }
        _ if depth < shape.len() => Err(ValuesError::Mixed),
        value => {
            let number = match value {
                serde_json::Value::Bool(value) => Some(f64::from(u8::from(*value))),
                value => value.as_f64(),
            };
            numbers.push(number.ok_or_else(|| ValuesError::NoNumber(value.clone()))?);
            Ok(())
        }
    }
}
