//! The file as written, and nothing more.

pub mod condition;
