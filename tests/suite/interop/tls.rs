//! Certificates for Flows with TLS, created once and kept below `target/jina/tls/`.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::python::{alone, kept};

/// PEM files.
pub(crate) struct TlsFiles {
    /// The CA that signed all the others except `other_ca`.
    pub(crate) ca: PathBuf,
    /// A CA that signed none of them.
    pub(crate) other_ca: PathBuf,
    /// For `localhost`, `127.0.0.1` and `flow.internal`.
    pub(crate) server_cert: PathBuf,
    pub(crate) server_key: PathBuf,
    pub(super) client_cert: PathBuf,
    pub(super) client_key: PathBuf,
}

/// The files, created if they do not exist.
pub(crate) fn files() -> &'static TlsFiles {
    static FILES: OnceLock<TlsFiles> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = kept().join("tls");
        let files = TlsFiles {
            ca: folder.join("ca.pem"),
            other_ca: folder.join("other-ca.pem"),
            server_cert: folder.join("server.pem"),
            server_key: folder.join("server.key"),
            client_cert: folder.join("client.pem"),
            client_key: folder.join("client.key"),
        };
        alone("tls", || {
            // The last file to be written.
            if !files.client_key.exists() {
                fs::create_dir_all(&folder).expect("target/ can be written");
                make(&files).expect("certificates can be made");
            }
        });
        files
    })
}

fn make(files: &TlsFiles) -> Result<(), Box<dyn std::error::Error>> {
    let (ca, signed) = authority("flowbench test authority")?;
    fs::write(&files.ca, signed)?;
    fs::write(&files.other_ca, authority("another authority")?.1)?;
    for (names, cert, key) in [
        (&["localhost", "127.0.0.1", "flow.internal"][..], &files.server_cert, &files.server_key),
        (&["client"], &files.client_cert, &files.client_key),
    ] {
        let pair = KeyPair::generate()?;
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names)?;
        fs::write(cert, params.signed_by(&pair, &ca)?.pem())?;
        fs::write(key, pair.serialize_pem())?;
    }
    Ok(())
}

/// A CA and its certificate as PEM.
fn authority(name: &str) -> Result<(Issuer<'static, KeyPair>, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let pair = KeyPair::generate()?;
    let pem = params.self_signed(&pair)?.pem();
    Ok((Issuer::new(params, pair), pem))
}
