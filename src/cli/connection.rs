//! The arguments for the address of a Flow and its connection, the same in every command.

use std::path::PathBuf;
use std::str::FromStr;

use super::problem::Problem;
use super::values::{compression, family, multiplier};
use crate::client::{ClientConfig, Compression, FamilyChoice, Retry};
use crate::run::response_memory;
use crate::units::{ByteSize, Span};
use crate::wire::{Address, Protocol};

/// Everything but the address itself, which each command takes separately.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// Port of the Flow, when the address names none; alone, it means a Flow on this machine
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// grpc, http or websocket, when the address has no scheme [default: grpc; for mutate, http]
    #[arg(long, value_name = "PROTOCOL", value_parser = Protocol::from_str)]
    protocol: Option<Protocol>,
    /// Use TLS, when the address has no scheme that says so
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    tls: Option<bool>,
    /// Certificates to trust besides the system's, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Client certificate, PEM; requires --key
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Private key of the client, PEM; requires --cert
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name that the Flow's certificate must be for, instead of the address's host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Do not verify the Flow's certificate
    #[arg(long)]
    insecure: bool,
    /// A header to send, over gRPC as metadata; can be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// The family of DocArray the Flow was built with: v1 (before 0.30), v2, or ask the Flow
    #[arg(long, value_name = "v1|v2|auto", default_value = "auto", value_parser = family)]
    family: FamilyChoice,
    /// Longest time for one request, such as 10s or 500ms [default: none]
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<Span>,
    /// Longest time for connecting, TLS handshake included
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(super) connect_timeout: Span,
    /// Largest response that is read, after decompression
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    max_response: ByteSize,
}

/// How `post` sends its requests.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sending")]
pub(super) struct Sending {
    /// Compress requests over gRPC: none, gzip or deflate
    #[arg(long, value_name = "KIND", default_value = "none", value_parser = compression)]
    compression: Compression,
    /// Maximum number of attempts per request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: u32,
    /// Wait before the second attempt
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    initial_backoff: Span,
    /// Longest wait between attempts
    #[arg(long, value_name = "TIME", default_value = "2s")]
    max_backoff: Span,
    /// Growth of the wait from attempt to attempt
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5, value_parser = multiplier)]
    backoff_multiplier: f64,
    /// Maximum number of requests in flight; 0 is no limit [default: 1000; over HTTP 100]
    #[arg(long, value_name = "N")]
    pub(super) prefetch: Option<usize>,
    /// Print responses in the order of their requests instead of as they finish
    #[arg(long)]
    results_in_order: bool,
    /// Over gRPC, make each request a separate call, which v2 Flows serve, and v1 Flows from Jina 3.13 on
    #[arg(long)]
    no_stream: bool,
}

impl Connection {
    /// The settings of a client, with the files of TLS options checked. `usual` is the protocol if
    /// neither the address nor an option sets one.
    pub(super) fn config(
        &self,
        address: Option<&str>,
        usual: Protocol,
    ) -> Result<ClientConfig, Problem> {
        let has_scheme = address.is_some_and(|address| address.contains("://"));
        let address = Address {
            host: address.map(str::to_owned),
            port: self.port,
            protocol: self.protocol.or((!has_scheme).then_some(usual)),
            tls: self.tls,
        };
        let mut config = ClientConfig::new(address.resolve()?);
        if let (false, Some(option)) = (config.target.tls, self.tls_option()) {
            return Err(Problem::usage(format_args!(
                "`{option}` is given, and {} is without TLS; expected an address such as \
                 `grpcs://my.flow`, or `--tls`",
                config.target
            )));
        }
        config.family = self.family;
        config.tls.ca = self.ca.clone();
        config.tls.cert = self.cert.clone();
        config.tls.key = self.key.clone();
        config.tls.server_name = self.server_name.clone();
        config.tls.insecure = self.insecure;
        config.headers = self.headers.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
        config.timeout = self.timeout.map(Span::get);
        config.connect_timeout = self.connect_timeout.get();
        config.limits.message_bytes_max =
            usize::try_from(self.max_response.bytes()).unwrap_or(usize::MAX);
        config.response_memory = Some(response_memory());
        config.check()?;
        Ok(config)
    }

    /// An option that has no effect without TLS.
    fn tls_option(&self) -> Option<&'static str> {
        let given = [
            (self.ca.is_some(), "--ca"),
            (self.cert.is_some(), "--cert"),
            (self.key.is_some(), "--key"),
            (self.server_name.is_some(), "--server-name"),
            (self.insecure, "--insecure"),
        ];
        given.into_iter().find_map(|(given, option)| given.then_some(option))
    }
}

impl Sending {
    pub(super) fn configure(&self, config: &mut ClientConfig) {
        config.compression = self.compression;
        config.retry = Retry {
            max_attempts: self.max_attempts,
            initial_backoff: self.initial_backoff.get(),
            max_backoff: self.max_backoff.get(),
            backoff_multiplier: self.backoff_multiplier,
        };
        config.results_in_order = self.results_in_order;
        config.stream = !self.no_stream;
    }
}

/// `name=value` or, as in curl, `name: value`.
fn header(text: &str) -> Result<(String, String), Problem> {
    match text.split_once(['=', ':']) {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().into(), value.trim().into()))
        }
        // The text may be a secret, so it is not repeated.
        _ => Err(Problem::usage("`--header` is not a header; expected `name=value`")),
    }
}
