//! Three PEM files into a TLS configuration, with an error that an administrator can act upon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Who we are and whom we trust, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The only authority whose word counts for the broker's certificate; the system's list is not consulted.
    pub ca: PathBuf,
    /// Our certificate, followed by intermediate ones if there are any.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why the files are of no use. The text names the file and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    /// Missing, or not ours to read.
    #[error("cannot read {}; {}", path.display(), hint(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Readable, but not PEM or damaged.
    #[error("{} is damaged; write it again, it must be PEM", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where reading ended.
        source: rustls::pki_types::pem::Error,
    },
    /// PEM, but without what we need.
    #[error("{} has no {wanted} in it; are the files mixed up?", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// "certificate" or "private key".
        wanted: &'static str,
    },
    /// A certificate of the CA file cannot be a trust anchor.
    #[error("{} holds a certificate that cannot be used as an authority; fetch the CA file again", path.display())]
    BadAuthority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The two do not belong together.
    #[error("{} is not the key of {}; put back a pair that belongs together", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A kind of key or certificate that TLS cannot use.
    #[error("{} and {} cannot be used for TLS; issue a new pair", cert.display(), key.display())]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

impl TlsFiles {
    /// Reads the files and checks that they belong together.
    ///
    /// # Errors
    /// See [`TlsFilesError`].
    pub fn load(&self) -> Result<Arc<ClientConfig>, TlsFilesError> {
        let roots = self.roots()?;
        let chain = certificates(&self.cert)?;
        let key = private_key(&self.key)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| self.unusable(source))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|source| self.unusable(source))?;
        Ok(Arc::new(config))
    }

    /// The same files for a server that requires client certificates from the authority.
    pub(in crate::io) fn server_config(&self) -> Result<Arc<ServerConfig>, TlsFilesError> {
        let roots = Arc::new(self.roots()?);
        let chain = certificates(&self.cert)?;
        let key = private_key(&self.key)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(|error| {
                let source = rustls::Error::General(error.to_string());
                TlsFilesError::BadAuthority { path: self.ca.clone(), source }
            })?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| self.unusable(source))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|source| self.unusable(source))?;
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsFilesError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots
                .add(certificate)
                .map_err(|source| TlsFilesError::BadAuthority { path: self.ca.clone(), source })?;
        }
        Ok(roots)
    }

    fn unusable(&self, source: rustls::Error) -> TlsFilesError {
        let (cert, key) = (self.cert.clone(), self.key.clone());
        match source {
            rustls::Error::InconsistentKeys(_) => TlsFilesError::KeyMismatch { cert, key },
            source => TlsFilesError::Unusable { cert, key, source },
        }
    }
}

/// Named at each use, so that no process-wide default has to be installed first.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFilesError> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsFilesError::Damaged { path: path.into(), source })?;
    if certificates.is_empty() {
        return Err(TlsFilesError::Missing { path: path.into(), wanted: "certificate" });
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFilesError> {
    use rustls::pki_types::pem::Error as Pem;
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|source| match source {
        Pem::NoItemsFound => TlsFilesError::Missing { path: path.into(), wanted: "private key" },
        source => TlsFilesError::Damaged { path: path.into(), source },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFilesError> {
    std::fs::read(path).map_err(|source| TlsFilesError::Unreadable { path: path.into(), source })
}

fn hint(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::NotFound => "it is not there: correct the path, or issue the certificate",
        std::io::ErrorKind::PermissionDenied => "it belongs to somebody else: check owner and mode",
        _ => "check the disk and the path",
    }
}
