//! Why part 1 does not accept a part.

use tonic::Status;

/// Why a part is not accepted. It is sent as text, because another version would know no other
/// reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("its token is not that of part 1")]
    Token,
    #[error("it did not say which part it is")]
    NoHello,
    #[error("its flowbench is {found}, and that of part 1 is {own}")]
    Version { found: String, own: &'static str },
    #[error("its command is {found}, and that of part 1 is {own}")]
    Command { found: String, own: &'static str },
    #[error("its number of parts is {found}, and that of part 1 is {own}")]
    Parts { found: u64, own: u64 },
    #[error("its suite is `{found}`, and that of part 1 is `{own}`")]
    Suite { found: String, own: String },
    #[error("its seed is {found}, and that of part 1 is {own}")]
    Seed { found: u64, own: u64 },
    #[error(
        "its suite or options differ from those of part 1 (compare `flowbench check --resolved`)"
    )]
    Plan,
    #[error("there is no part {number} of {of}")]
    NoSuchPart { number: u64, of: u64 },
    #[error("part {0} has already joined")]
    Taken(u64),
    #[error("part {0} was lost, and cannot rejoin")]
    Gone(u64),
    #[error("the load has already begun")]
    Begun,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let text = refusal.to_string();
        match refusal {
            Refusal::Token => Status::unauthenticated(text),
            Refusal::NoHello => Status::invalid_argument(text),
            _ => Status::failed_precondition(text),
        }
    }
}
