//! Files from addresses, kept in a folder: each is downloaded once, and again if its server says that it has
//! changed.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::header::{ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};

use crate::client::{TlsOptions, tls_for};
use crate::error::innermost;
use crate::random::Key;
use crate::units::ByteSize;

/// The largest file that is downloaded.
pub(crate) const BYTES_MAX: ByteSize = ByteSize::new(16 << 30);

/// How long a server may take to accept a connection, and to send the next piece of data.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The most redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// The longest file name that is taken from an address.
const NAME_MAX: usize = 80;

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    /// The address is invalid.
    #[error("not a valid address: {0}")]
    Address(String),
    /// The server could not be reached, or the connection broke.
    #[error("{0}")]
    Failed(String),
    /// The server sent nothing for too long.
    #[error("nothing was received for {SILENCE_MAX:?}")]
    Silent,
    /// The server does not have the file, or denies access to it.
    #[error("the server responds with status {0}")]
    Status(u16),
    /// It is too large.
    #[error("larger than {BYTES_MAX}")]
    TooLarge,
    /// It could not be stored.
    #[error("could not write to `{}`: {source}", folder.display())]
    Write {
        /// The folder for downloaded files.
        folder: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// The server's information on the version that was downloaded.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Version {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// Whether a text is an address and not a path.
pub(crate) fn is_address(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    })
}

/// The name and the password in an address, both as written and as sent.
pub(crate) fn credentials(address: &str) -> Vec<String> {
    let Ok(url) = address.parse::<Url>() else { return Vec::new() };
    let written = [Some(url.username()), url.password()].into_iter().flatten();
    let sent = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let each = written.flat_map(|text| [text.to_owned(), sent(text)]);
    each.filter(|text| !text.is_empty()).collect()
}

/// The current version of the file at an address, stored in `folder`. Waits for the network, up to
/// [`SILENCE_MAX`] for each piece.
///
/// # Errors
/// If it cannot be fetched, even if an older version is there.
pub(crate) fn fetch(address: &str, folder: &Path) -> Result<PathBuf, DownloadError> {
    let url: Url = address.parse().map_err(|error| DownloadError::Address(format!("{error}")))?;
    // The caller may be inside a runtime, which cannot block on another one.
    let fetched = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| DownloadError::Failed(error.to_string()))?;
            runtime.block_on(get(url, folder))
        });
        thread.join()
    });
    fetched.unwrap_or_else(|_| Err(DownloadError::Failed("the download ended abruptly".into())))
}

async fn get(url: Url, folder: &Path) -> Result<PathBuf, DownloadError> {
    let unwritable = |source| DownloadError::Write { folder: folder.to_owned(), source };
    let path = folder.join(name_of(&url));
    let about = path.with_extension(match path.extension() {
        Some(extension) => format!("{}.version", extension.to_string_lossy()),
        None => "version".into(),
    });
    let known = known(&path, &about);
    let mut request = client()?.get(url);
    for (header, value) in [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)]
    {
        if let Some(value) = value {
            request = request.header(header, value);
        }
    }
    let mut response = request.send().await?;
    match response.status() {
        StatusCode::NOT_MODIFIED if known != Version::default() => return Ok(path),
        status if !status.is_success() => return Err(DownloadError::Status(status.as_u16())),
        _ => (),
    }
    if response.content_length().is_some_and(|length| length > BYTES_MAX.bytes()) {
        return Err(DownloadError::TooLarge);
    }
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
    let version = version(response.headers());
    let mut bytes = 0;
    while let Some(piece) = response.chunk().await? {
        bytes += piece.len() as u64;
        if bytes > BYTES_MAX.bytes() {
            return Err(DownloadError::TooLarge);
        }
        file.write_all(&piece).map_err(unwritable)?;
    }
    // Without version information it is downloaded each time, even if what follows is interrupted.
    match std::fs::remove_file(&about) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
        _ => (),
    }
    file.persist(&path).map_err(|failed| unwritable(failed.error))?;
    if version.etag.is_some() || version.last_modified.is_some() {
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
        serde_json::to_writer(&mut file, &version).map_err(|error| unwritable(error.into()))?;
        file.persist(&about).map_err(|failed| unwritable(failed.error))?;
    }
    Ok(path)
}

fn client() -> Result<reqwest::Client, DownloadError> {
    let tls = tls_for(&TlsOptions::default(), true)
        .map_err(|error| DownloadError::Failed(error.to_string()))?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::limited(REDIRECTS_MAX))
        .connect_timeout(SILENCE_MAX)
        .read_timeout(SILENCE_MAX)
        .user_agent(concat!("flowbench/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

/// A name that is unique to the address, with the same file extension.
fn name_of(url: &Url) -> String {
    let key = Key::new(0).part(url.as_str()).below(u64::MAX);
    let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    let fits = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let last: Vec<char> = last.chars().filter(fits).collect();
    let last: String = last[last.len().saturating_sub(NAME_MAX)..].iter().collect();
    format!("{key:016x}-{last}")
}

/// The version information of a stored file.
fn known(path: &Path, about: &Path) -> Version {
    let text = std::fs::read(about).ok().filter(|_| path.is_file());
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn version(headers: &HeaderMap) -> Version {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Version { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
}

impl From<reqwest::Error> for DownloadError {
    fn from(error: reqwest::Error) -> DownloadError {
        if error.is_timeout() {
            return DownloadError::Silent;
        }
        DownloadError::Failed(innermost(&error))
    }
}
