//! Enums written as a map with one key, `{exponential: 1s}`, read inside a visitor that also accepts other
//! forms.

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Reads an enum from a map that has exactly one key. serde's own `MapAccessDeserializer` leaves further keys
/// unread, so they would be silently ignored.
///
/// # Errors
/// When the map has no key or more than one, or its value is invalid.
pub(crate) fn one_key<'de, T: Deserialize<'de>, A: MapAccess<'de>>(map: A) -> Result<T, A::Error> {
    T::deserialize(OneKey { map, words: &[] })
}

/// `a`, `b` or `c`
pub(crate) fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

struct OneKey<A> {
    map: A,
    words: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for OneKey<A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.map)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_enum(OneKey { words, ..self })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> de::EnumAccess<'de> for OneKey<A> {
    type Error = A::Error;
    type Variant = OneKey<A>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        mut self,
        seed: V,
    ) -> Result<(V::Value, OneKey<A>), A::Error> {
        match self.map.next_key_seed(seed)? {
            Some(word) => Ok((word, self)),
            None => {
                let message = format!(
                    "expected a map with one key, {}, found none",
                    alternatives(self.words)
                );
                Err(de::Error::custom(message))
            }
        }
    }
}

impl<'de, A: MapAccess<'de>> de::VariantAccess<'de> for OneKey<A> {
    type Error = A::Error;

    fn unit_variant(mut self) -> Result<(), A::Error> {
        self.map.next_value::<IgnoredAny>()?;
        Err(de::Error::custom("a single word takes no value"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        mut self,
        seed: T,
    ) -> Result<T::Value, A::Error> {
        let value = self.map.next_value_seed(seed)?;
        self.map.next_key_seed(Second)?;
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.newtype_variant_seed(Whole(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.newtype_variant_seed(Whole(visitor))
    }
}

/// The value of a variant that has parts.
struct Whole<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Whole<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}

/// A second key, which is not allowed: rejecting it here puts the error at its position.
struct Second;

impl<'de> DeserializeSeed<'de> for Second {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let key = String::deserialize(deserializer)?;
        Err(de::Error::custom(format!("`{key}` is a second key in a map that must have one key")))
    }
}
