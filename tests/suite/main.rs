//! All tests that look at the crate from outside, in one binary: it links once.

mod architecture;
mod golden;
mod interop;
