//! TLS of a listener: a certificate and its key from files, replaced without a restart.

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// HTTP/2 as ALPN names it.
pub(super) const HTTP2: &[u8] = b"h2";
/// The largest file that can be a chain of certificates or a key.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Mode bits that a private key's file must not have: writable for its group, anything for others.
const OPEN_MODE: u32 = 0o037;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// The key's file is open to others.
    #[error("{path} holds a private key and has mode {mode:o}; make it 600 or 640", path = path.display())]
    KeyOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is too large to be what it should be.
    #[error("{path} is larger than {MAX_FILE_BYTES} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no PEM of the right kind.
    #[error("{path}: {error}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        error: pem::Error,
    },
    /// The certificate and the key do not belong together, or are of no kind that is supported.
    #[error("{path}: {error}", path = path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What the TLS library said.
        error: rustls::Error,
    },
}

/// The certificate that new connections are shown.
pub struct Tls {
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files, in PEM: the certificate with its chain, and its key.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { current: RwLock::new(Arc::new(load(cert, key)?)) })
    }

    /// Reads the files again, or others. Connections that are open keep what they have; after an error new ones do too.
    pub fn reload(&self, cert: &Path, key: &Path) -> Result<(), TlsError> {
        let config = Arc::new(load(cert, key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// What the next connection is accepted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

fn load(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let malformed = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::Malformed { path, error }
    };
    let (chain, _) = read(cert)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(malformed(cert))?;
    let (text, mode) = read(key)?;
    if mode & OPEN_MODE != 0 {
        return Err(TlsError::KeyOpen { path: key.to_owned(), mode: mode & 0o7777 });
    }
    let text = zeroize::Zeroizing::new(text);
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(malformed(key))?;
    let unusable = |error| TlsError::Unusable { path: cert.to_owned(), error };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(unusable)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A file's text and mode.
fn read(path: &Path) -> Result<(String, u32), TlsError> {
    let unreadable = |error| TlsError::Unreadable { path: path.to_owned(), error };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(TlsError::TooLarge { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok((text, metadata.mode()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn files_that_are_missing_open_to_others_too_large_or_no_pem_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let open = || Tls::open(&cert, &key).err().unwrap();
        assert!(matches!(open(), TlsError::Unreadable { .. }));
        write(&cert, "", 0o644);
        write(&key, "nothing", 0o644);
        assert!(matches!(open(), TlsError::KeyOpen { mode: 0o644, .. }), "{}", open());
        write(&key, "nothing", 0o640);
        assert!(matches!(open(), TlsError::Malformed { .. }), "{}", open());
        write(&cert, &"x".repeat((1 << 20) + 1), 0o644);
        assert!(matches!(open(), TlsError::TooLarge { .. }), "{}", open());
    }
}
