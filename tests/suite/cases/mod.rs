//! Inputs that once gave a wrong figure, a hang or a leak, each in a folder of `tests/cases/` with a
//! word on what is right.

mod endless;
mod goaway;
