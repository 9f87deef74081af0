//! `certs.d/<host>`: the authorities that a registry's certificate may come from besides the system's, and the
//! certificate that it wants from us.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};

use crate::ImageError;

/// What a host's directory holds.
pub(super) struct Certificates {
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Certificates {
    /// Reads `*.crt` as authorities and `*.cert` with `*.key` as ours. `None` if there is nothing.
    pub fn read(dir: &Path) -> Result<Option<Self>, ImageError> {
        let mut names: Vec<_> =
            fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        names.sort();
        let mut found = Self { authorities: Vec::new(), identity: None };
        for path in &names {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => found.authorities.extend(certificates(path)?),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.exists() {
                        return Err(ImageError::invalid(format!(
                            "missing key {} for client certificate {}",
                            key.display(),
                            path.display()
                        )));
                    }
                    let private = PrivateKeyDer::from_pem_file(&key)
                        .map_err(|error| ImageError::invalid(format!("key {}: {error}", key.display())))?;
                    found.identity = Some((certificates(path)?, private));
                }
                _ => {}
            }
        }
        Ok((!found.authorities.is_empty() || found.identity.is_some()).then_some(found))
    }

    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// A configuration that trusts these and the system's authorities; with `check` false, everybody.
    pub fn into_config(self, check: bool) -> Result<ClientConfig, ImageError> {
        let unusable = |error: &dyn std::fmt::Display| {
            ImageError::invalid(format!("certificates for a registry: {error}"))
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(|error| unusable(&error))?;
        }
        let verifier = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder(Arc::new(roots)).build().map_err(|error| unusable(&error))?,
            ),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                verifier,
                own: self.authorities,
                check,
                provider,
            }));
        match self.identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error)),
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ImageError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| ImageError::invalid(format!("certificate {}: {error}", path.display())))
}

/// WebPKI's rules, with one exception: a certificate that the operator put into the directory itself is good for
/// the names in it. Docker's own guide makes such certificates, which are authorities and so no servers to WebPKI.
#[derive(Debug)]
struct Verifier {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    own: Vec<CertificateDer<'static>>,
    check: bool,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.check {
            return Ok(ServerCertVerified::assertion());
        }
        if self.own.iter().any(|own| own == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let verifier = self.verifier.as_ref().ok_or(untrusted)?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
