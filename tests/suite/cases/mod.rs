//! Inputs that once caused a wrong figure, a hang or a leak, each in a folder of `tests/cases/` with a
//! description of the correct behaviour.

mod captured;
mod endless;
mod figures;
mod files;
mod foreign;
mod formats;
mod gates;
mod goaway;
mod json;
mod judged;
mod limits;
mod masked;
mod posted;
mod quiet;
mod saved;
mod secrets;
mod slices;
mod started;
mod stopped;
mod told;
mod unanswered;
mod unfinished;
mod vars;

/// A file of a case.
fn input(case: &str, file: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(case);
    std::fs::read_to_string(folder.join(file)).expect("the case has it")
}
