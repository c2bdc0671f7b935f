//! Whom to trust, and how to show who we are.
//!
//! In: the files named by the network's settings. Out: the TLS library's configuration. The cryptography is given
//! explicitly, so that no state of the process decides; HTTP/1.1 is the one protocol offered, because there every
//! request has a connection of its own, which can be given up alone and whose pace is set by the network alone.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::setup::SetupError;
use crate::network::Network;

/// The TLS configuration for these settings.
pub(super) fn config(network: &Network) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.into()))?;
    let builder = if network.insecure_tls {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnybody(provider)))
    } else {
        builder.with_root_certificates(roots(&network.ca_files)?)
    };
    let mut config = match &network.client_cert {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let (chain, key) = identity(path)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| SetupError::Unusable { path: path.clone(), source: error.into() })?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What the system trusts, and what the user names.
///
/// Of the system's certificates those that cannot be read are left out, as everywhere; a file that the user named
/// has to be right.
fn roots(files: &[impl AsRef<Path>]) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in files {
        let path = path.as_ref();
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| SetupError::Authority {
            path: path.to_owned(),
            source,
        };
        let mut any = false;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.into()))? {
            let certificate = certificate.map_err(|error| unreadable(error.into()))?;
            roots.add(certificate).map_err(|error| unreadable(error.into()))?;
            any = true;
        }
        if !any {
            return Err(SetupError::NoAuthority { path: path.to_owned() });
        }
    }
    Ok(roots)
}

/// Our certificate with those that vouch for it, and its key, from one file.
fn identity(path: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SetupError> {
    let unreadable = |error: rustls_pki_types::pem::Error| SetupError::Client {
        path: path.to_owned(),
        source: error.into(),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let chain = chain.map_err(unreadable)?;
    if chain.is_empty() {
        return Err(unreadable(rustls_pki_types::pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(path).map_err(unreadable)?;
    Ok((chain, key))
}

/// Accepts every certificate, because the user said so.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
