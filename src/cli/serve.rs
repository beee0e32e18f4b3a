//! `flowbench serve`: the embedded Flow, for others to talk to.

use std::path::PathBuf;

use clap::ValueEnum;

use super::Exit;
use crate::flow::{FamilyName, Flow, FlowConfig, ProtocolName, TlsFiles};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to listen for, each on a port of its own.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "grpc,http,websocket")]
    protocol: Vec<ProtocolArg>,
    /// A port for each protocol, in the same order; 0 for a free one.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    port: Vec<u16>,
    /// The family of DocArray it speaks.
    #[arg(long, value_enum, default_value = "v1")]
    family: FamilyArg,
    /// A certificate in PEM: encrypts all protocols.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let only clients in that have a certificate of this authority.
    #[arg(long, requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolArg {
    Grpc,
    Http,
    Websocket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FamilyArg {
    V1,
    V2,
}

pub(super) async fn main(args: Args) -> Exit {
    if args.port.len() > args.protocol.len()
        || (args.port.len() < args.protocol.len() && args.port != [0])
    {
        eprintln!(
            "error: `--port` gives {} ports for {} protocols; give one each, or 0 alone for free ones",
            args.port.len(),
            args.protocol.len()
        );
        return Exit::Usage;
    }
    let protocols: Vec<ProtocolName> = args
        .protocol
        .iter()
        .map(|protocol| match protocol {
            ProtocolArg::Grpc => ProtocolName::Grpc,
            ProtocolArg::Http => ProtocolName::Http,
            ProtocolArg::Websocket => ProtocolName::Websocket,
        })
        .collect();
    let config = FlowConfig {
        family: match args.family {
            FamilyArg::V1 => FamilyName::V1,
            FamilyArg::V2 => FamilyName::V2,
        },
        ports: protocols.iter().copied().zip(args.port.iter().copied()).collect(),
        protocols: protocols.clone(),
        tls: args.tls_cert.zip(args.tls_key).map(|(cert, key)| TlsFiles {
            cert,
            key,
            client_ca: args.tls_client_ca,
        }),
        ..FlowConfig::default()
    };
    let flow = match Flow::start(config).await {
        Ok(flow) => flow,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  caused by: {error}");
                cause = error.source();
            }
            return Exit::Unreachable;
        }
    };
    for protocol in protocols {
        if let Some(target) = flow.target(protocol.into()) {
            println!("{target}");
        }
    }
    interrupted().await;
    flow.stop().await;
    Exit::Held
}

/// Waits for the first of SIGINT and SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let ctrl_c = async {
        // Without a handler the default action ends the process, which is what is asked for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = ctrl_c => (),
        () = terminated => (),
    }
}
