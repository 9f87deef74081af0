//! TLS as a client of whoever takes the lines.

use std::{fmt, sync::Arc};

use pintle_contract::DriverError;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

/// Whom to believe, and who we are. Paths of PEM files.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    /// Authorities; the system's if there is none.
    pub(super) ca: Option<String>,
    /// This host's certificate and its key.
    pub(super) own: Option<(String, String)>,
    /// The user wants the other end's certificate not to be looked at.
    pub(super) anyone: bool,
}

impl Trust {
    /// Reads the files. Blocks for as long as that takes.
    pub(super) fn config(&self) -> Result<ClientConfig, DriverError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for authority in chain(path)? {
                    roots.add(authority).map_err(|error| unusable(path, &error))?;
                }
            }
            None if !self.anyone => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            None => {}
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&"versions", &error))?;
        let builder = if self.anyone {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            builder.with_root_certificates(roots)
        };
        match &self.own {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                builder
                    .with_client_auth_cert(chain(certificate)?, private)
                    .map_err(|error| unusable(certificate, &error))
            }
        }
    }
}

fn unusable(what: &dyn fmt::Display, error: &dyn fmt::Display) -> DriverError {
    DriverError::invalid(format!("the log driver's TLS: {what}: {error}"))
}

fn chain(path: &String) -> Result<Vec<CertificateDer<'static>>, DriverError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, &error))
}

/// Encrypted, but to whom is not checked. That is what the option means.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
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
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
