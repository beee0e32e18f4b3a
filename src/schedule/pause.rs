//! Pauses of a user between two requests: their length, and how files describe it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1, StandardNormal};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::units::times::{Bounds, Quantiles, TimesError, lognormal, span};
use crate::units::{Range, Span, one_key};

/// The length of a pause: always the same, or drawn anew for each.
///
/// Written `1s`, `1s..5s`, or as a map with one key such as `{lognormal: {median: 2s, p99: 20s}}`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pause {
    /// Always the same.
    Constant(Duration),
    /// Uniformly distributed between the two.
    Uniform {
        /// The shortest pause.
        min: Duration,
        /// The longest pause.
        max: Duration,
    },
    /// Exponentially distributed, by its mean.
    Exponential(Duration),
    /// Lognormally distributed, by two quantiles.
    Lognormal {
        /// Half of all pauses are no longer.
        median: Duration,
        /// 99 of 100 pauses are no longer.
        p99: Duration,
    },
}

impl Pause {
    /// No pause.
    pub const NONE: Pause = Pause::Constant(Duration::ZERO);

    /// Whether there is no pause.
    pub fn is_none(&self) -> bool {
        *self == Pause::NONE
    }

    /// The mean length.
    pub fn mean(&self) -> Duration {
        match *self {
            Pause::Constant(time) | Pause::Exponential(time) => time,
            Pause::Uniform { min, max } => (min + max) / 2,
            Pause::Lognormal { median, p99 } => {
                let (_, sigma) = lognormal(median, p99);
                stretch(median, (sigma * sigma / 2.0).exp())
            }
        }
    }

    /// The minimum length.
    pub fn least(&self) -> Duration {
        match *self {
            Pause::Constant(time) => time,
            Pause::Uniform { min, .. } => min,
            Pause::Exponential(_) | Pause::Lognormal { .. } => Duration::ZERO,
        }
    }

    /// The length of one pause, at most [`Span::MAX`]. `rng` is called only if the length is random.
    pub(crate) fn draw<R: Rng>(&self, rng: impl FnOnce() -> R) -> Duration {
        match *self {
            Pause::Constant(time) => time,
            Pause::Uniform { min, max } => min + stretch(max - min, rng().random::<f64>()),
            Pause::Exponential(mean) => stretch(mean, Exp1.sample(&mut rng())),
            Pause::Lognormal { median, p99 } => {
                let normal: f64 = StandardNormal.sample(&mut rng());
                let (_, sigma) = lognormal(median, p99);
                stretch(median, (normal * sigma).exp())
            }
        }
    }
}

impl Default for Pause {
    fn default() -> Pause {
        Pause::NONE
    }
}

fn stretch(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).map_or(Span::MAX, |t| t.min(Span::MAX))
}

/// The map form, with one key.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PauseMap {
    /// Always the same.
    Constant(Span),
    /// Uniformly distributed between the two.
    Uniform(Bounds),
    /// Exponentially distributed, by its mean: `1s`, or `{mean: 1s}`.
    Exponential(Mean),
    /// Lognormally distributed, by two quantiles.
    Lognormal(Quantiles),
}

/// A mean, alone or in a map.
struct Mean(Span);

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MeanMap {
    /// The mean.
    mean: Span,
}

impl TryFrom<PauseMap> for Pause {
    type Error = TimesError;

    fn try_from(given: PauseMap) -> Result<Pause, TimesError> {
        Ok(match given {
            PauseMap::Constant(span) => Pause::Constant(span.get()),
            PauseMap::Uniform(bounds) => {
                let (min, max) = bounds.get()?;
                Pause::Uniform { min, max }
            }
            PauseMap::Exponential(Mean(mean)) => Pause::Exponential(mean.get()),
            PauseMap::Lognormal(quantiles) => {
                let (median, p99) = quantiles.get()?;
                Pause::Lognormal { median, p99 }
            }
        })
    }
}

impl Serialize for Pause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let map = match *self {
            Pause::Constant(time) => return span(time).serialize(serializer),
            Pause::Uniform { min, max } => PauseMap::Uniform(Bounds::of(min, max)),
            Pause::Exponential(mean) => PauseMap::Exponential(Mean(span(mean))),
            Pause::Lognormal { median, p99 } => PauseMap::Lognormal(Quantiles::of(median, p99)),
        };
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pause, D::Error> {
        struct PauseVisitor;
        impl<'de> Visitor<'de> for PauseVisitor {
            type Value = Pause;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a duration such as `1s`, a range such as `1s..5s`, or a map such as \
                     `{lognormal: {median: 2s, p99: 20s}}`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Pause, E> {
                if !text.contains("..") {
                    let span: Span = text.parse().map_err(E::custom)?;
                    return Ok(Pause::Constant(span.get()));
                }
                let range: Range<Span> = text.parse().map_err(E::custom)?;
                let (min, max) = (range.low().get(), range.high().get());
                Ok(if min == max { Pause::Constant(min) } else { Pause::Uniform { min, max } })
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Pause, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Pause, A::Error> {
                let given = one_key::<PauseMap, A>(map)?;
                given.try_into().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(PauseVisitor)
    }
}

impl JsonSchema for Pause {
    fn schema_name() -> Cow<'static, str> {
        "Pause".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let range = generator.subschema_for::<Range<Span>>();
        let map = generator.subschema_for::<PauseMap>();
        json_schema!({"anyOf": [range, map]})
    }
}

impl Serialize for Mean {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MeanMap { mean: self.0 }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Mean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mean, D::Error> {
        struct MeanVisitor;
        impl<'de> Visitor<'de> for MeanVisitor {
            type Value = Mean;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `1s`, or a map such as `{mean: 1s}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mean, E> {
                text.parse().map(Mean).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Mean, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Mean, A::Error> {
                let given = MeanMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Mean(given.mean))
            }
        }
        deserializer.deserialize_any(MeanVisitor)
    }
}

impl JsonSchema for Mean {
    fn schema_name() -> Cow<'static, str> {
        "Mean".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<Span>();
        let map = generator.subschema_for::<MeanMap>();
        json_schema!({"anyOf": [span, map]})
    }
}

#[cfg(test)]
mod tests {
    use rand_pcg::Pcg64Mcg;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn read(json: &str) -> Result<Pause, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pause_is_a_duration_a_range_or_a_distribution() {
        let exponential = Pause::Exponential(ms(1000));
        let lognormal = Pause::Lognormal { median: ms(2000), p99: ms(20_000) };
        let cases = [
            (r#""1s""#, Pause::Constant(ms(1000))),
            (r#"{"constant":"1s"}"#, Pause::Constant(ms(1000))),
            (r#""1s..5s""#, Pause::Uniform { min: ms(1000), max: ms(5000) }),
            (
                r#"{"uniform":{"min":"1s","max":"5s"}}"#,
                Pause::Uniform { min: ms(1000), max: ms(5000) },
            ),
            (r#"{"exponential":"1s"}"#, exponential),
            (r#"{"exponential":{"mean":"1s"}}"#, exponential),
            (r#"{"lognormal":{"median":"2s","p99":"20s"}}"#, lognormal),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).as_ref(), Ok(&expected), "{text}");
            let shown = serde_json::to_string(&expected).expect("it is shown");
            assert_eq!(read(&shown), Ok(expected), "{shown}");
        }
        for (text, message) in [
            (r#""5s..1s""#, "from the lower to the higher"),
            (r#"5"#, "has no unit"),
            (r#"{"uniform":{"min":"2s","max":"1s"}}"#, "`min` must not be above `max`"),
            (r#"{"lognormal":{"median":"0s","p99":"1s"}}"#, "`median` must be above zero"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_drawn_has_the_distribution_that_was_asked_for() {
        let mut rng = Pcg64Mcg::new(7);
        for pause in [
            Pause::Constant(ms(300)),
            Pause::Uniform { min: ms(100), max: ms(500) },
            Pause::Exponential(ms(300)),
            Pause::Lognormal { median: ms(200), p99: ms(1000) },
        ] {
            let mut drawn: Vec<Duration> = (0..20_000).map(|_| pause.draw(|| &mut rng)).collect();
            drawn.sort();
            let mean = drawn.iter().sum::<Duration>() / 20_000;
            let ratio = mean.as_secs_f64() / pause.mean().as_secs_f64();
            assert!((0.97..1.03).contains(&ratio), "{pause:?}: {mean:?}");
            assert!(drawn[0] >= pause.least(), "{pause:?}");
            if let Pause::Lognormal { median, p99 } = pause {
                let near = |found: Duration, asked: Duration| {
                    (found.as_secs_f64() / asked.as_secs_f64() - 1.0).abs() < 0.1
                };
                assert!(near(drawn[10_000], median) && near(drawn[19_800], p99));
            }
        }
    }
}
