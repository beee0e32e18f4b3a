//! Our client against real Jina Flows, of three releases, started here.
//!
//! The first run makes a virtual environment for each release below `target/jina/` from the pins in
//! `tests/interop/`. Where Python 3.11 or the packages cannot be had, these tests say `skipped: …`
//! and pass, unless `FLOWBENCH_REQUIRE_JINA=1` is set; nothing else skips.

mod decode;
mod flow;
mod lifetime;
mod python;
mod samples;
mod tls;
