//! All tests that look at the crate from outside, in one binary: it links once.

mod golden;
mod interop;
