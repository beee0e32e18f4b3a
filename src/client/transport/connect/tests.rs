//! TLS servers of the tests, with certificates made here.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::wire::Protocol;

/// A CA that signs certificates, and the files of a client's options.
pub(in crate::client) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// The certificate and key of a server.
pub(in crate::client) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(in crate::client) fn new() -> Authority {
        Authority::named("a CA")
    }

    fn named(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { folder: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key), pem }
    }

    /// A server for 127.0.0.1, or for another name.
    pub(in crate::client) fn server(&self, name: &str) -> Identity {
        self.sign(CertificateParams::new(vec![name.into()]).unwrap())
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: vec![certificate.into()], key: key.into() }
    }

    pub(in crate::client) fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Options that trust this CA.
    pub(in crate::client) fn trusted(&self) -> TlsOptions {
        TlsOptions { ca: Some(self.file("ca.pem", &self.pem)), ..TlsOptions::default() }
    }
}

impl Identity {
    pub(in crate::client) fn config(self) -> rustls::ServerConfig {
        rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)
            .unwrap()
    }
}

pub(in crate::client) fn config(protocol: Protocol, port: u16, tls: bool) -> ClientConfig {
    let host = "127.0.0.1".into();
    ClientConfig::new(Target { protocol, host, port, tls, user_info: None })
}

/// A server that accepts one TLS connection and says hello; returns its port.
async fn hello(config: rustls::ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        if let Ok(mut stream) = acceptor.accept(tcp).await {
            let _ = stream.write_all(b"hello").await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// A server that accepts connections and writes `bytes` to each after its first read.
async fn plain(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.read(&mut [0; 1024]).await;
            let _ = tcp.write_all(bytes).await;
        }
    });
    port
}

/// Connects and reads: the hello, or the error message without the address.
async fn say_hello(port: u16, tls: TlsOptions) -> Result<String, String> {
    let config = ClientConfig { tls, ..config(Protocol::Grpc, port, true) };
    let shown = format!("TLS with {} failed: ", config.target);
    let strip = |error: CallError| match error.to_string().strip_prefix(&shown) {
        Some(reason) => reason.to_owned(),
        None => panic!("not a TLS error: {error}"),
    };
    let connector = Connector::new(&config, Alpn::Http2).unwrap();
    let mut connection = connector.connect().await.map_err(strip)?;
    let mut text = String::new();
    match connection.read_to_string(&mut text).await {
        Ok(_) => Ok(text),
        Err(error) => Err(strip(tls::failure_behind(&config.target, &error).unwrap())),
    }
}

#[tokio::test]
async fn a_certificate_of_a_trusted_issuer_is_taken() {
    let authority = Authority::new();
    let port = hello(authority.server("127.0.0.1").config()).await;
    assert_eq!(say_hello(port, authority.trusted()).await.unwrap(), "hello");
}

#[tokio::test]
async fn an_unknown_issuer_is_refused_with_a_way_out() {
    let authority = Authority::new();
    let port = hello(authority.server("127.0.0.1").config()).await;
    assert_eq!(
        say_hello(port, Authority::named("another").trusted()).await.unwrap_err(),
        "its certificate is not trusted (unknown issuer); set `ca` to the issuer's certificate"
    );
    let port = hello(authority.server("127.0.0.1").config()).await;
    let insecure = TlsOptions { insecure: true, ..TlsOptions::default() };
    assert_eq!(say_hello(port, insecure).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_certificate_for_another_name_needs_server_name() {
    let authority = Authority::new();
    let port = hello(authority.server("flow.internal").config()).await;
    assert_eq!(
        say_hello(port, authority.trusted()).await.unwrap_err(),
        "its certificate is not for `127.0.0.1` but for `flow.internal`; set `server_name` to the right one"
    );
    let port = hello(authority.server("flow.internal").config()).await;
    let named = TlsOptions { server_name: Some("flow.internal".into()), ..authority.trusted() };
    assert_eq!(say_hello(port, named).await.unwrap(), "hello");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_with_its_date() {
    let authority = Authority::new();
    let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    params.not_after = date_time_ymd(2020, 2, 1);
    let port = hello(authority.sign(params).config()).await;
    assert_eq!(
        say_hello(port, authority.trusted()).await.unwrap_err(),
        "its certificate expired on 2020-02-01T00:00:00Z"
    );
}

#[tokio::test]
async fn a_ca_that_is_its_own_server_is_trusted_by_giving_it() {
    // `openssl req -x509` makes such certificates.
    let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let folder = Authority::new();
    let serve = |params: &CertificateParams| {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let ca = Some(folder.file("self.pem", &certificate.pem()));
        let identity = Identity { chain: vec![certificate.into()], key: key.into() };
        (identity.config(), TlsOptions { ca, ..TlsOptions::default() })
    };
    let (server, trusted) = serve(&params);
    assert_eq!(say_hello(hello(server).await, trusted).await.unwrap(), "hello");
    let (server, _) = serve(&params);
    assert_eq!(
        say_hello(hello(server).await, folder.trusted()).await.unwrap_err(),
        "its certificate is a self-signed CA certificate; set `ca` to it to trust it"
    );
    let (server, mut trusted) = serve(&params);
    trusted.server_name = Some("other".into());
    let error = say_hello(hello(server).await, trusted).await.unwrap_err();
    assert!(error.starts_with("its certificate is not for `other`"), "{error}");
    params.not_after = date_time_ymd(2020, 2, 1);
    let (server, trusted) = serve(&params);
    let error = say_hello(hello(server).await, trusted).await.unwrap_err();
    assert!(error.starts_with("its certificate expired"), "{error}");
}

/// A server that requires a certificate from this authority.
fn wanting_certificate(authority: &Authority) -> rustls::ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .unwrap();
    let server = authority.server("127.0.0.1");
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.chain, server.key)
        .unwrap()
}

#[tokio::test]
async fn a_server_that_wants_our_certificate_gets_it_or_the_error_says_so() {
    let authority = Authority::new();
    let error = say_hello(hello(wanting_certificate(&authority)).await, authority.trusted()).await;
    assert_eq!(
        error.unwrap_err(),
        "the server requires a client certificate; set `cert` and `key`"
    );
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client".into()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let options = TlsOptions {
        cert: Some(authority.file("me.pem", &certificate.pem())),
        key: Some(authority.file("me.key", &key.serialize_pem())),
        ..authority.trusted()
    };
    assert_eq!(
        say_hello(hello(wanting_certificate(&authority)).await, options).await.unwrap(),
        "hello"
    );
    let params = CertificateParams::new(vec!["stranger".into()]).unwrap();
    let options = TlsOptions {
        cert: Some(authority.file("stranger.pem", &params.self_signed(&key).unwrap().pem())),
        ..TlsOptions {
            key: Some(authority.file("me.key", &key.serialize_pem())),
            ..authority.trusted()
        }
    };
    let error = say_hello(hello(wanting_certificate(&authority)).await, options).await.unwrap_err();
    assert!(error.starts_with("the server rejects the client certificate"), "{error}");
}

#[tokio::test]
async fn who_only_writes_learns_why_the_server_hung_up() {
    let authority = Authority::new();
    let port = hello(wanting_certificate(&authority)).await;
    let config = ClientConfig { tls: authority.trusted(), ..config(Protocol::Grpc, port, true) };
    let connector = Connector::new(&config, Alpn::Any).unwrap();
    let mut connection = connector.connect().await.unwrap();
    let error = loop {
        if let Err(error) = connection.write_all(b"hello").await {
            break error;
        }
        if let Err(error) = connection.flush().await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    let error = tls::failure_behind(&config.target, &error).expect("the server said why");
    assert!(error.to_string().contains("requires a client certificate"), "{error}");
}

#[tokio::test]
async fn a_port_without_tls_is_told_from_a_bad_certificate() {
    let port = plain(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let insecure = || TlsOptions { insecure: true, ..TlsOptions::default() };
    assert_eq!(say_hello(port, insecure()).await.unwrap_err(), "the response is not TLS");
    let error = say_hello(plain(b"").await, insecure()).await.unwrap_err();
    assert!(error.starts_with("the server ended the connection in the handshake"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let connector = Connector::new(&config(Protocol::Grpc, port, false), Alpn::Http2).unwrap();
    let error = connector.connect().await.unwrap_err();
    assert_eq!(error.kind(), "connect");
    let shown = error.to_string();
    assert!(
        shown.starts_with(&format!("could not connect to grpc://127.0.0.1:{port}: ")),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = TlsOptions { insecure: true, ..TlsOptions::default() };
    let config = ClientConfig { tls, ..config(Protocol::Grpc, port, true) };
    let connecting = Connector::new(&config, Alpn::Http2).unwrap();
    // The kernel accepts the connection; nobody ever reads.
    let error = connecting.connect().await.unwrap_err().to_string();
    assert!(error.ends_with("within 10s"), "{error}");
    drop(listener);
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let other = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["me".into()]).unwrap().self_signed(&key).unwrap();
    let certificate = authority.file("me.pem", &own.pem());
    let missing = authority.folder.path().join("missing.pem");
    let text = authority.file("text.pem", "hello\n");
    let encrypted = authority.file(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let broken = authority
        .file("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    let endless = authority.file("endless.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n");
    let stranger = authority.file("stranger.key", &other.serialize_pem());
    let empty = TlsOptions::default;
    let with_key = |key: &std::path::PathBuf| TlsOptions {
        cert: Some(certificate.clone()),
        key: Some(key.clone()),
        ..empty()
    };
    for (options, message) in [
        (
            TlsOptions { ca: Some(missing), ..empty() },
            "TLS option `ca`: cannot read `…/missing.pem`: No such file or directory (os error 2)",
        ),
        (
            TlsOptions { ca: Some(text.clone()), ..empty() },
            "TLS option `ca`: `…/text.pem` contains no certificate; expected PEM with a \
             `-----BEGIN CERTIFICATE-----` section",
        ),
        (
            TlsOptions { ca: Some(broken), ..empty() },
            "TLS option `ca`: `…/broken.pem` is not valid PEM: a section is not base64",
        ),
        (
            with_key(&text),
            "TLS option `key`: `…/text.pem` contains no private key; expected PEM with a \
             `-----BEGIN PRIVATE KEY-----` section",
        ),
        (
            with_key(&encrypted),
            "TLS option `key`: `…/encrypted.key` contains an encrypted private key; expected one \
             without a passphrase",
        ),
        (
            with_key(&endless),
            "TLS option `key`: `…/endless.key` is not valid PEM: a section has no END line",
        ),
        (
            with_key(&stranger),
            "TLS option `key`: `…/stranger.key` does not belong to the certificate in `…/me.pem`",
        ),
        (
            TlsOptions { cert: Some(certificate.clone()), ..empty() },
            "TLS option `cert` requires `key`; set both",
        ),
        (
            TlsOptions { server_name: Some("not a name".into()), ..empty() },
            "`not a name` is not a valid server name; expected a DNS name or an IP address",
        ),
    ] {
        let options = TlsOptions { insecure: options.ca.is_none(), ..options };
        let config = ClientConfig { tls: options, ..config(Protocol::Http, 1, true) };
        let folder = authority.folder.path().display().to_string();
        let found = config.check().unwrap_err().to_string().replace(&folder, "…");
        assert_eq!(found, message);
    }
}
