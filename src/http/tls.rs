//! TLS of a client: the system's authorities or one's own, client certificates, a name to verify
//! other than the URL's, and, where a person insists, no verification at all.

use std::{fs, io, path::Path, sync::Arc};

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::{BuildError, error::Resolver};
use crate::config::Tls;

/// A connector for `http://` and `https://` URLs.
pub(super) fn connector(
    tls: &Tls,
    http: HttpConnector<Resolver>,
) -> Result<HttpsConnector<HttpConnector<Resolver>>, BuildError> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(client_config(tls)?).https_or_http();
    Ok(match &tls.server_name {
        None => builder.enable_http1().wrap_connector(http),
        Some(name) => {
            let name = ServerName::try_from(name.clone())
                .map_err(|error| fault(format!("tls_config server_name {name:?}"), error))?;
            let resolver = FixedServerNameResolver::new(name);
            builder.with_server_name_resolver(resolver).enable_http1().wrap_connector(http)
        }
    })
}

fn client_config(tls: &Tls) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("TLS versions".to_owned(), error))?;
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
    } else {
        builder.with_root_certificates(roots(tls.ca_file.as_deref())?)
    };
    match &tls.client_cert {
        None => Ok(builder.with_no_client_auth()),
        Some((cert_file, key_file)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
                .map_err(|error| fault(format!("private key in {}", key_file.display()), error))?;
            let name = format!("client certificate {}", cert_file.display());
            builder
                .with_client_auth_cert(certificates(cert_file)?, key)
                .map_err(|error| fault(name, error))
        }
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| fault(format!("certificate in {}", path.display()), error))?;
        }
    } else {
        // A machine without authorities is fine as long as no https:// URL is used; a handshake
        // then says that the issuer is unknown.
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let what = || format!("certificates in {}", path.display());
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| fault(what(), error))?;
    if certificates.is_empty() {
        return Err(fault(what(), "the file holds no PEM certificate"));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path)
        .map_err(|source: io::Error| BuildError::TlsFile { path: path.to_owned(), source })
}

fn fault(what: String, reason: impl ToString) -> BuildError {
    BuildError::Tls { what, reason: reason.to_string() }
}

/// `insecure_skip_verify`: any certificate is taken; signatures are still checked.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
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
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
