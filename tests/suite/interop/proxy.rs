//! A proxy between client and Flow, for things that real gateways cannot be made to do: losing connections,
//! asking for the client's certificate.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowbench::wire::Target;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::tls;

/// Forwards bytes; stops when it is dropped.
pub(super) struct Proxy {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to `flow` that closes the first `refused` connections as soon as they are accepted.
    pub(super) async fn refusing(flow: &Target, refused: usize) -> Proxy {
        Proxy::start(flow, refused, None).await
    }

    /// A proxy with TLS that requires a client certificate of our CA.
    pub(super) async fn wanting_certificate(flow: &Target) -> Proxy {
        let files = tls::files();
        let certificates = |file: &Path| -> Vec<_> {
            let all = CertificateDer::pem_file_iter(file).expect("it can be read");
            all.map(|certificate| certificate.expect("it is a certificate")).collect()
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&files.ca));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_client_cert_verifier(verifier.build().expect("there is a root"))
            .with_single_cert(
                certificates(&files.server_cert),
                PrivateKeyDer::from_pem_file(&files.server_key).expect("it is a key"),
            )
            .expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Proxy::start(flow, 0, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    /// A proxy to `flow` that only starts to listen after this time.
    pub(super) async fn opening_late(flow: &Target, after: Duration) -> Proxy {
        let mut proxy = Proxy::refusing(flow, 0).await;
        // The port is already ours, and is left unused for a while.
        proxy.task.abort();
        let _ = (&mut proxy.task).await;
        let (address, flow) = (proxy.address, flow.clone());
        proxy.task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let listener = TcpListener::bind(address).await.expect("the port is still free");
            serve(listener, flow, 0, None, Arc::default()).await;
        });
        proxy
    }

    async fn start(flow: &Target, refused: usize, tls: Option<TlsAcceptor>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(serve(listener, flow.clone(), refused, tls, accepted.clone()));
        Proxy { address, accepted, task }
    }

    /// Its address, with the protocol of the Flow.
    pub(super) fn target(&self, flow: &Target, tls: bool) -> Target {
        Target {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            tls,
            ..flow.clone()
        }
    }

    /// The number of connections so far.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    flow: Target,
    refused: usize,
    tls: Option<TlsAcceptor>,
    accepted: Arc<AtomicUsize>,
) {
    while let Ok((client, _)) = listener.accept().await {
        if accepted.fetch_add(1, Ordering::Relaxed) < refused {
            continue; // dropping it closes it
        }
        let (tls, flow) = (tls.clone(), (flow.host.clone(), flow.port));
        tokio::spawn(async move {
            match tls {
                None => pass(client, flow).await,
                // A client without a certificate gets no further than this.
                Some(tls) => pass(tls.accept(client).await?, flow).await,
            }
        });
    }
}

async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    flow: (String, u16),
) -> std::io::Result<()> {
    let mut flow = TcpStream::connect(flow).await?;
    copy_bidirectional(&mut client, &mut flow).await.map(drop)
}
