//! TLS toward clients: who we are, and who they must be.
//!
//! Promises: the files are read when the listener begins and whenever [`Identity::read_again`] says so; files that do not fit
//! together change nothing. Connections under way keep what they began with.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::base::{Error, Kind, Result, Side};
use crate::config::ListenTls;
use crate::db::tls::provider;

/// What a listener shows to its clients, and asks of them.
#[derive(Debug)]
pub struct Identity {
    files: ListenTls,
    current: RefCell<Arc<ServerConfig>>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read, or certificate and key do not belong together.
    pub fn read(files: ListenTls) -> Result<Self> {
        let current = RefCell::new(settings(&files)?);
        Ok(Self { files, current })
    }

    /// Reads them again, for connections to come.
    ///
    /// # Errors
    /// As for [`Identity::read`]; what was read before stays.
    pub fn read_again(&self) -> Result<()> {
        let read = settings(&self.files)?;
        self.current.replace(read);
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.borrow()).into()
    }
}

fn fault(key: &str, path: &Path, what: &str) -> Error {
    Error::new(Kind::Config, Side::Own, format!("listen.tls.{key} {}: {what}", path.display()))
}

fn settings(files: &ListenTls) -> Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(Kind::Config, Side::Own, "TLS cannot be set up").because(e))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca", path)? {
                let no_authority = |e| fault("client_ca", path, "holds a certificate that is no authority").because(e);
                roots.add(certificate).map_err(no_authority)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                .build()
                .map_err(|e| fault("client_ca", path, "cannot be used").because(e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|e| fault("key", &files.key, "cannot be read as a PEM file with a private key").because(e))?;
    let mut settings = builder
        .with_single_cert(certificates("cert", &files.cert)?, key)
        .map_err(|e| fault("cert", &files.cert, "does not fit the key").because(e))?;
    // Clients that could speak HTTP/2 are told that we do not.
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(settings))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).map_err(|e| fault(key, path, "cannot be read").because(e))?;
    let all: std::result::Result<Vec<_>, _> = all.collect();
    let all = all.map_err(|e| fault(key, path, "is no PEM file").because(e))?;
    if all.is_empty() {
        return Err(fault(key, path, "holds no certificate"));
    }
    Ok(all)
}
