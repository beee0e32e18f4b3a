//! TLS settings of all three protocols, and what a failed handshake means.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use crate::client::{CallError, ConfigError, TlsOptions};
use crate::wire::Target;

/// The protocol inside TLS, offered to the server by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpn {
    /// gRPC.
    Http2,
    /// HTTP and WebSocket. The way Jina opens a WebSocket does not work over HTTP/2.
    Http1,
    /// Whatever the server prefers, to learn what that is.
    Any,
}

/// The settings of one client: the system's trusted certificates and our own options.
///
/// # Errors
/// A file that cannot be read or has the wrong contents.
pub(super) fn client_config(options: &TlsOptions, alpn: Alpn) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring serves the default versions of TLS");
    let own = match &options.ca {
        Some(path) => read_certificates("ca", path)?,
        None => Vec::new(),
    };
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(KnownCertificate::new(
            &provider, own, options,
        )?))
    };
    let mut config = match (&options.cert, &options.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = read_certificates("cert", cert)?;
            let secret = read_key(key)?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| ConfigError::TlsFile {
                option: "key",
                path: key.clone(),
                reason: match error {
                    Error::InconsistentKeys(_) => {
                        format!("does not belong to the certificate in `{}`", cert.display())
                    }
                    error => format!("cannot be used: {error}"),
                },
            })?
        }
        (Some(_), None) => return Err(ConfigError::TlsHalf { given: "cert", missing: "key" }),
        (None, Some(_)) => return Err(ConfigError::TlsHalf { given: "key", missing: "cert" }),
    };
    config.alpn_protocols = match alpn {
        Alpn::Http2 => vec![b"h2".to_vec()],
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// The settings of a client for something other than Flows. If nothing is `encrypted`, no
/// certificates are read.
///
/// # Errors
/// As for a Flow.
pub(crate) fn tls_for(options: &TlsOptions, encrypted: bool) -> Result<ClientConfig, ConfigError> {
    if encrypted {
        return client_config(options, Alpn::Http1);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring serves the default versions of TLS")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(config)
}

/// The name a certificate is verified against: the host's, or the one given instead.
///
/// # Errors
/// A name that is neither a DNS name nor an IP address.
pub(super) fn server_name(
    target: &Target,
    options: &TlsOptions,
) -> Result<ServerName<'static>, ConfigError> {
    let name = options.server_name.as_ref().unwrap_or(&target.host);
    ServerName::try_from(name.clone())
        .map_err(|_| ConfigError::TlsServerName { name: name.clone() })
}

fn read_certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let text = read(option, path)?;
    let bad = |reason: String| ConfigError::TlsFile { option, path: path.into(), reason };
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(format!("is not valid PEM: {}", words(&error))))?;
    if certificates.is_empty() {
        return Err(bad(
            "contains no certificate; expected PEM with a `-----BEGIN CERTIFICATE-----` section"
                .into(),
        ));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let text = read("key", path)?;
    let bad = |reason: String| ConfigError::TlsFile { option: "key", path: path.into(), reason };
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if text.windows(9).any(|window| window == b"ENCRYPTED") => {
            bad("contains an encrypted private key; expected one without a passphrase".into())
        }
        pem::Error::NoItemsFound => bad(
            "contains no private key; expected PEM with a `-----BEGIN PRIVATE KEY-----` section"
                .into(),
        ),
        error => bad(format!("is not valid PEM: {}", words(&error))),
    })
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::TlsUnreadable {
        option,
        path: path.into(),
        source: Arc::new(source),
    })
}

/// The library shows lines as lists of numbers; and a line of a key file is a secret.
fn words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line",
        pem::Error::IllegalSectionStart { .. } => "a section has an invalid BEGIN line",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be parsed",
    }
}

/// Verifies as usual, but also accepts a server by its own certificate in `ca`.
///
/// `openssl req -x509` makes a self-signed CA certificate. A server that presents it is trusted by
/// OpenSSL, and so by Jina's client; webpki insists that a CA's certificate is not a server's. The
/// user named this very certificate as trusted, so we accept it.
#[derive(Debug)]
struct KnownCertificate {
    usual: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl KnownCertificate {
    fn new(
        provider: &Arc<CryptoProvider>,
        own: Vec<CertificateDer<'static>>,
        options: &TlsOptions,
    ) -> Result<KnownCertificate, ConfigError> {
        let mut roots = RootCertStore::empty();
        // A system without certificates, or with broken ones, shows in the handshake, where
        // untrusted servers are rejected.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in &own {
            roots.add(certificate.clone()).map_err(|error| ConfigError::TlsFile {
                option: "ca",
                path: options.ca.clone().unwrap_or_default(),
                reason: format!("contains a certificate that cannot be used: {error}"),
            })?;
        }
        if roots.is_empty() {
            return Err(ConfigError::TlsNothingTrusted);
        }
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .expect("there are roots, and no revocation lists that could be bad");
        Ok(KnownCertificate { usual, own })
    }
}

impl ServerCertVerifier for KnownCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.usual.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // Raised after the dates were checked, and before the name is.
            Err(Error::InvalidCertificate(error))
                if is_of_ca(&error) && self.own.iter().any(|own| own == certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// `insecure`: any certificate is accepted, as long as the server has its key.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The TLS failure behind `error`, if there is one, even if it shows only when the first bytes are
/// read, as a server's demand for a client certificate does in TLS 1.3.
pub(super) fn failure_behind(
    target: &Target,
    error: &(dyn StdError + 'static),
) -> Option<CallError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(CallError::Tls { target: target.clone(), reason: reason(error) });
        }
        // An io::Error displays its inner error, and skips it as a source.
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// What was wrong, for the person who has to fix it.
fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate_reason(error),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "the response is not TLS".into()
        }
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                "the server requires a client certificate; set `cert` and `key`".into()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied => {
                format!(
                    "the server rejects the client certificate ({alert:?}); check `cert` and `key`"
                )
            }
            AlertDescription::HandshakeFailure => {
                "the server rejects the handshake (HandshakeFailure): it may require a client \
                 certificate (`cert` and `key`), or have no cipher in common with flowbench"
                    .into()
            }
            AlertDescription::NoApplicationProtocol => {
                "the server speaks another protocol inside TLS (NoApplicationProtocol)".into()
            }
            AlertDescription::UnrecognisedName => {
                "the server does not recognize the requested name; set `server_name`".into()
            }
            AlertDescription::ProtocolVersion => {
                "the server's TLS version is too old; expected 1.2 or 1.3".into()
            }
            alert => format!("the server ended the handshake with {alert:?}"),
        },
        Error::PeerIncompatible(what) => {
            format!("the server has no TLS version or cipher in common with flowbench ({what:?})")
        }
        error => error.to_string(),
    }
}

fn certificate_reason(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "its certificate is not trusted (unknown issuer); set `ca` to the issuer's certificate"
                .into()
        }
        CertificateError::BadSignature => {
            "its certificate is not signed by the trusted certificate of the issuer it names; \
             set `ca` to the issuer's certificate"
                .into()
        }
        CertificateError::NotValidForName => {
            "its certificate is for another name; set `server_name`".into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // Names come from the certificate's DNS and IP entries, usually a few.
            // The library shows them as `DnsName("name")` and `IpAddress(address)`.
            let inner = |name: &String| {
                let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner);
                format!("`{}`", inner.trim_end_matches(')').trim_matches('"'))
            };
            let names: Vec<String> = presented.iter().take(5).map(inner).collect();
            format!(
                "its certificate is not for `{}` but for {}; set `server_name` to the right one",
                expected.to_str(),
                if names.is_empty() { "no name at all".into() } else { names.join(", ") },
            )
        }
        CertificateError::Expired => "its certificate has expired".into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYet => "its certificate is not valid yet".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}", date(*not_before))
        }
        error if is_of_ca(error) => {
            "its certificate is a self-signed CA certificate; set `ca` to it to trust it".into()
        }
        error => format!("its certificate is not valid: {error}"),
    }
}

/// Whether a server was rejected because its certificate is a CA's. rustls has no name for this
/// webpki error and hides it behind `dyn Error`.
fn is_of_ca(error: &CertificateError) -> bool {
    let CertificateError::Other(other) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn date(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "an unknown date".into(), |time| time.to_string())
}
