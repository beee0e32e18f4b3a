//! Why a Flow did not start.

use std::io;
use std::path::PathBuf;

use super::config::FlowProblem;

/// Why a Flow did not start.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The configuration has mistakes, see [`FlowConfig::problems`](super::FlowConfig::problems).
    #[error("not a valid Flow: {}", list(.0))]
    Config(Vec<FlowProblem>),
    /// The port is in use, or this process may not listen on it.
    #[error("could not listen on {address}")]
    Listen {
        /// `host:port`.
        address: String,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The log cannot be written.
    #[error("could not create the log")]
    Log(#[source] io::Error),
    /// The certificates cannot be used.
    #[error("could not set up TLS")]
    Tls(#[from] TlsError),
}

fn list(problems: &[FlowProblem]) -> String {
    problems.iter().map(FlowProblem::to_string).collect::<Vec<_>>().join("; ")
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has no certificate or key in it.
    #[error("could not read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("the certificate cannot be used")]
    Certificate(#[from] rustls::Error),
    /// The certificates of client authorities cannot be used.
    #[error("the client CA cannot be used")]
    ClientAuthority(#[from] rustls::server::VerifierBuilderError),
}
