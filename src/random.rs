//! Random choices that depend only on a seed and a position: the choice for Document 1,000,000 is known
//! without drawing for those before it, on any thread and any machine.

use rand::{Rng, RngExt};
use rand_pcg::Pcg64Mcg;

/// Identifies a stream of random numbers: the suite's seed, then ever narrower positions in the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The streams of a seed.
    pub fn new(seed: u64) -> Key {
        Key(mix(seed ^ 0x666c_6f77_6265_6e63))
    }

    /// The streams of a named part: a generator, a field.
    pub fn part(self, name: &str) -> Key {
        // FNV-1a; the name's length is mixed in so that "a","b" differs from "ab".
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ name.len() as u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Key(mix(self.0.rotate_left(23) ^ hash))
    }

    /// The streams of an element.
    pub fn index(self, i: u64) -> Key {
        Key(mix(self.0.rotate_left(41) ^ mix(i)))
    }

    /// A generator for the stream. PCG's sequence stays the same between releases of its crate.
    pub fn rng(self) -> Pcg64Mcg {
        let high = mix(self.0 ^ 0x9e37_79b9_7f4a_7c15);
        Pcg64Mcg::new(u128::from(high) << 64 | u128::from(self.0) | 1)
    }

    /// A number below `bound`, which is at least 1: taken from the start of the stream, without a generator.
    pub fn below(self, bound: u64) -> u64 {
        // Lemire's multiplication; its bias is below 2⁻³² for any count of lines or files.
        ((u128::from(mix(self.0)) * u128::from(bound)) >> 64) as u64
    }
}

/// The finaliser of splitmix64: every bit of the input changes half of the output.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A permutation of `0..n` computed point by point, without memory: a shuffled data set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [u64; 4],
}

impl Permutation {
    /// The permutation of `0..n` determined by `key`.
    pub(crate) fn new(n: u64, key: Key) -> Permutation {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let keys = std::array::from_fn(|round| key.index(round as u64).0);
        Permutation { n, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// The image of `i`, which is below `n`.
    pub(crate) fn at(&self, i: u64) -> u64 {
        // A Feistel network permutes the range up to the next power of four. Repeating it for values outside
        // `0..n` follows a cycle that returns inside, after less than four steps on average.
        let mut i = i;
        loop {
            i = self.network(i);
            if i < self.n {
                return i;
            }
        }
    }

    fn network(&self, i: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (i >> self.half_bits, i & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// `count` English words, separated by spaces.
pub fn words(rng: &mut impl Rng, count: u64) -> String {
    let mut text = String::with_capacity(count.min(1 << 20) as usize * 6);
    for n in 0..count {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[usize::from(rng.random::<u8>())]);
    }
    text
}

/// 256 words, so that a byte selects one.
#[rustfmt::skip]
const WORDS: [&str; 256] = [
    "able", "above", "across", "act", "add", "after", "again", "age", "ago", "air", "all", "almost", "along",
    "also", "always", "animal", "answer", "any", "apple", "area", "arm", "around", "ask", "away", "baby", "back",
    "ball", "bank", "base", "beach", "bear", "begin", "behind", "below", "best", "better", "between", "big",
    "bird", "black", "blue", "board", "boat", "body", "book", "both", "bottle", "box", "boy", "bread", "bridge",
    "bright", "bring", "brother", "brown", "build", "busy", "buy", "call", "calm", "camera", "camp", "car",
    "card", "care", "carry", "case", "cat", "catch", "cause", "center", "chair", "change", "child", "choose",
    "city", "class", "clean", "clear", "clock", "close", "cloud", "coat", "coffee", "cold", "color", "common",
    "cook", "cool", "corner", "count", "country", "course", "cover", "cross", "cut", "dance", "dark", "day",
    "deep", "desk", "door", "down", "draw", "dream", "dress", "drink", "drive", "dry", "early", "earth", "east",
    "easy", "eat", "edge", "egg", "eight", "empty", "end", "enough", "even", "every", "eye", "face", "fall",
    "family", "far", "farm", "fast", "father", "field", "find", "fire", "first", "fish", "five", "floor", "flower",
    "fly", "follow", "food", "foot", "forest", "four", "free", "fresh", "friend", "front", "fruit", "full",
    "game", "garden", "gate", "gift", "girl", "give", "glass", "gold", "good", "grass", "great", "green", "ground",
    "group", "grow", "hair", "half", "hand", "happy", "hard", "hat", "head", "hear", "heart", "heavy", "help",
    "high", "hill", "hold", "home", "hope", "horse", "hot", "hour", "house", "idea", "island", "join", "jump",
    "keep", "key", "kind", "king", "kitchen", "lake", "lamp", "land", "large", "late", "laugh", "leaf", "learn",
    "left", "letter", "light", "line", "list", "little", "long", "look", "love", "low", "make", "map", "market",
    "meet", "milk", "mind", "money", "month", "moon", "morning", "mother", "mountain", "mouth", "move", "music",
    "name", "near", "new", "night", "north", "number", "ocean", "old", "open", "orange", "paper", "park", "part",
    "path", "pencil", "people", "picture", "place", "plant", "play", "point", "quick", "quiet", "rain", "read",
    "red", "river", "road", "rock",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn streams_differ_by_seed_part_and_index() {
        let first = |key: Key| key.rng().random::<u64>();
        let mut seen = HashSet::new();
        for seed in 0..10 {
            for part in ["", "a", "ab", "text"] {
                for i in 0..100 {
                    assert!(seen.insert(first(Key::new(seed).part(part).index(i))));
                }
            }
        }
        assert_eq!(first(Key::new(7).part("x")), first(Key::new(7).part("x")));
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_in_every_release() {
        let mut rng = Key::new(42).part("articles").index(3).rng();
        assert_eq!(words(&mut rng, 4), "grow friend half land");
        assert_eq!(Key::new(42).index(1).below(1000), 478);
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        let mut counts = [0u32; 10];
        for i in 0..10_000 {
            counts[Key::new(1).index(i).below(10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn words_are_256_different_ones() {
        assert_eq!(WORDS.iter().collect::<HashSet<_>>().len(), 256);
    }

    proptest::proptest! {
        #[test]
        fn a_permutation_meets_every_number_once(n in 1u64..3000, seed: u64) {
            let permutation = Permutation::new(n, Key::new(seed));
            let seen: HashSet<u64> = (0..n).map(|i| permutation.at(i)).collect();
            proptest::prop_assert_eq!(seen.len() as u64, n);
            proptest::prop_assert!(seen.iter().all(|i| *i < n));
        }
    }
}
