//! All tests that look at the crate from outside, in one binary: it links once.

mod architecture;
mod flow;
mod golden;
mod interop;
