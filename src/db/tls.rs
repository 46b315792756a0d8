//! TLS toward databases: rustls with ring, the system's roots or the user's own authority.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::base::{Error, Kind, Result, Side};
use crate::config;

/// The crypto of this program: ring, and nothing else.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Settings for one server.
///
/// # Errors
/// A file cannot be read or holds no certificate; certificate and key do not belong together; the system has no roots.
pub fn client(tls: &config::Tls) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(Kind::Config, Side::Own, "TLS cannot be set up").because(e))?;
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone(provider())))
    } else {
        builder.with_root_certificates(roots(tls.ca.as_deref())?)
    };
    let Some((cert, key)) = &tls.own else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let fault = |key: &str, path: &Path, what: &str| {
        Error::new(Kind::Config, Side::Own, format!("tls.{key} {}: {what}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let chain = chain.map_err(|e| fault("cert", cert, "cannot be read as a PEM file").because(e))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| fault("key", key, "cannot be read as a PEM file with a private key").because(e))?;
    let settings = builder.with_client_auth_cert(chain, private);
    Ok(Arc::new(settings.map_err(|e| fault("cert", cert, "does not fit the key").because(e))?))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca {
        let fault = |what: &str| Error::new(Kind::Config, Side::Own, format!("tls.ca {}: {what}", path.display()));
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| fault("cannot be read").because(e))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| fault("is no PEM file").because(e))?;
            store.add(certificate).map_err(|e| fault("holds a certificate that is no authority").because(e))?;
        }
        if store.is_empty() {
            return Err(fault("holds no certificate"));
        }
        return Ok(store);
    }
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    if store.is_empty() {
        return Err(Error::new(Kind::Config, Side::Own, "this system has no certificate authorities")
            .hint("install ca-certificates, or set `tls.ca`"));
    }
    Ok(store)
}

/// What `insecure_skip_verify` asks for: encryption without knowing with whom.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
