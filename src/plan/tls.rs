//! How certificates are verified, from `tls` in the file.

use std::path::{Path, PathBuf};

use crate::client::TlsOptions;
use crate::scenario::TlsMap;

/// The options, with their files below `base`.
pub(super) fn options(given: &TlsMap, base: &Path) -> TlsOptions {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| base.join(path));
    TlsOptions {
        ca: path(&given.ca),
        cert: path(&given.cert),
        key: path(&given.key),
        server_name: given.server_name.clone(),
        insecure: given.insecure.unwrap_or(false),
    }
}
