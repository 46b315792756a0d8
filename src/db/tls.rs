//! TLS toward databases: rustls with ring, the system's roots or the user's own authority.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::base::{Error, Kind, Result, Side};

/// The crypto of this program: ring, and nothing else.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Settings for one server. `ca`: PEM file with the authorities to trust, instead of the system's.
///
/// # Errors
/// The file cannot be read or holds no certificate; the system has no roots.
pub fn client(ca: Option<&Path>, skip_verify: bool) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(Kind::Config, Side::Own, "TLS cannot be set up").because(e))?;
    if skip_verify {
        let verifier = Arc::new(TrustAnyone(provider()));
        return Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()));
    }
    Ok(Arc::new(builder.with_root_certificates(roots(ca)?).with_no_client_auth()))
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
