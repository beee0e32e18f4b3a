//! Parts of a load that several processes send.

use std::fmt;
use std::str::FromStr;

use super::UnitError;

/// One part of a load, each of which is sent by a separate process. Written `2/4`, counted from 1.
///
/// Everything numbered from 0 (arrivals, clients, requests, Documents) is dealt to the parts in turn, so that
/// all parts together make the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    of: u64,
    index: u64,
}

impl Part {
    /// The whole load as a single part.
    pub const WHOLE: Part = Part { of: 1, index: 0 };

    /// Maximum number of parts: more than anybody has machines for one load.
    pub const MAX: u64 = 10_000;

    const EXPECTED: &'static str = "a part such as `2/4`, from `1/4` to `4/4`";

    /// Part `number`, from 1, of `of` parts; `None` if there is no such part.
    pub fn new(number: u64, of: u64) -> Option<Part> {
        let is_one = of <= Part::MAX && (1..=of).contains(&number);
        is_one.then(|| Part { index: number - 1, of })
    }

    /// Its number, from 1.
    pub fn number(self) -> u64 {
        self.index + 1
    }

    /// Its index, from 0.
    pub fn index(self) -> u64 {
        self.index
    }

    /// The number of parts.
    pub fn of(self) -> u64 {
        self.of
    }

    /// Whether it is the only part.
    pub fn is_whole(self) -> bool {
        self.of == 1
    }

    /// A name for files: `part-2-of-4`.
    pub fn name(self) -> String {
        format!("part-{}-of-{}", self.number(), self.of)
    }

    /// The number of things, out of `total`, that belong to this part.
    pub fn share(self, total: u64) -> u64 {
        total / self.of + u64::from(self.index < total % self.of)
    }

    /// The index in the whole of this part's `n`-th thing, both from 0.
    pub fn nth(self, n: u64) -> u64 {
        n.saturating_mul(self.of).saturating_add(self.index)
    }
}

impl Default for Part {
    fn default() -> Part {
        Part::WHOLE
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number(), self.of)
    }
}

impl FromStr for Part {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Part, UnitError> {
        let form = || UnitError::Form { expected: Part::EXPECTED, found: text.to_owned() };
        let (number, of) = text.split_once('/').ok_or_else(form)?;
        let whole = |text: &str| text.parse::<u64>().map_err(|_| form());
        let (number, of) = (whole(number)?, whole(of)?);
        let limit = |limit| UnitError::Limit { what: "a part", limit, found: text.to_owned() };
        if of > Part::MAX {
            return Err(limit("one of at most 10000"));
        }
        Part::new(number, of).ok_or_else(|| limit("from 1 to the number of parts"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_count_from_one_to_their_number() {
        for text in ["1/1", "1/4", "4/4", "10000/10000"] {
            let part: Part = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(part.to_string(), text);
        }
        for (text, error) in [
            ("", "expected a part such as `2/4`, from `1/4` to `4/4`, found ``"),
            ("2", "expected a part such as `2/4`, from `1/4` to `4/4`, found `2`"),
            ("a/b", "expected a part such as `2/4`, from `1/4` to `4/4`, found `a/b`"),
            ("-1/4", "expected a part such as `2/4`, from `1/4` to `4/4`, found `-1/4`"),
            ("0/4", "a part must be from 1 to the number of parts, found `0/4`"),
            ("5/4", "a part must be from 1 to the number of parts, found `5/4`"),
            ("1/0", "a part must be from 1 to the number of parts, found `1/0`"),
            ("1/10001", "a part must be one of at most 10000, found `1/10001`"),
        ] {
            let told = text.parse::<Part>().map_err(|error| error.to_string());
            assert_eq!(told, Err(error.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn all_parts_together_are_the_whole_and_nothing_twice(of in 1u64..50, total in 0u64..500) {
            let mut all = Vec::new();
            for number in 1..=of {
                let part = Part::new(number, of).expect("there is one");
                all.extend((0..part.share(total)).map(|n| part.nth(n)));
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }
}
