//! TLS of a client: the system's authorities or one's own, client certificates, a name to verify
//! other than the URL's, and, where a person insists, no verification at all.
//!
//! Certificates are replaced while the relay runs, so files are looked at for each new connection.
//! Files that cannot be used, half written ones for instance, do not end what works: the settings
//! from before are kept until they can be.

mod verify;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::{
    ClientConfig, RootCertStore,
    client::danger::ServerCertVerifier,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tracing::warn;

use self::verify::{NoVerification, Roots, Trusted};
use super::{
    BuildError,
    secret::{SecretError, Text},
};
use crate::config::{Tls, TlsVersions};

/// The settings of a client's TLS as they are now.
pub(super) struct TlsSource {
    ca: Option<Text>,
    client_cert: Option<(Text, Text)>,
    /// Instead of the host of the URL.
    server_name: Option<ServerName<'static>>,
    insecure_skip_verify: bool,
    versions: TlsVersions,
    http2: bool,
    current: Mutex<Current>,
}

struct Current {
    made_of: Parts,
    config: Arc<ClientConfig>,
    /// What was said last about files that cannot be used.
    complaint: Option<String>,
}

/// The PEM texts: authorities, certificate, key.
#[derive(PartialEq)]
struct Parts([Option<Arc<[u8]>>; 3]);

impl TlsSource {
    /// Reads and checks everything; `http2` offers HTTP/2 to servers.
    pub(super) fn new(tls: &Tls, http2: bool) -> Result<Self, BuildError> {
        let server_name = tls.server_name.clone().map(|name| {
            ServerName::try_from(name.clone())
                .map_err(|error| fault(format!("tls_config server_name {name:?}"), error))
        });
        let client_cert = tls.client_cert.clone();
        let empty = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| fault("TLS versions".to_owned(), error))?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let source = Self {
            ca: tls.ca.clone().map(Text::new),
            client_cert: client_cert.map(|(cert, key)| (Text::new(cert), Text::new(key))),
            server_name: server_name.transpose()?,
            insecure_skip_verify: tls.insecure_skip_verify,
            versions: tls.versions,
            http2,
            current: Mutex::new(Current {
                made_of: Parts([None, None, None]),
                config: Arc::new(empty),
                complaint: None,
            }),
        };
        let parts = source.read()?;
        let config = Arc::new(source.build(&parts)?);
        *source.current() = Current { made_of: parts, config, complaint: None };
        Ok(source)
    }

    /// The settings for a new connection.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        let mut current = self.current();
        let next = match self.read() {
            Ok(parts) if parts == current.made_of => return Arc::clone(&current.config),
            Ok(parts) => self.build(&parts).map(|config| (parts, config)),
            Err(error) => Err(error),
        };
        match next {
            Ok((parts, config)) => {
                *current = Current { made_of: parts, config: Arc::new(config), complaint: None };
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                let complaint = format!("{error:#}");
                if current.complaint.as_ref() != Some(&complaint) {
                    warn!(error = %complaint,
                        "TLS files have changed and cannot be used; those from before still are");
                    current.complaint = Some(complaint);
                }
            }
        }
        Arc::clone(&current.config)
    }

    /// The name to verify for this host of a URL.
    pub(super) fn server_name(&self, host: &str) -> Result<ServerName<'static>, BuildError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => name_of(host),
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Parts, BuildError> {
        let read = |text: Option<&Text>| {
            let read = text.map(Text::read).transpose();
            read.map_err(|error| match error {
                SecretError::Read { path, source } => BuildError::TlsFile { path, source },
                SecretError::Empty { .. } | SecretError::NotAHeader => BuildError::InlineSecret,
            })
        };
        let (cert, key) = self.client_cert.as_ref().map(|(cert, key)| (cert, key)).unzip();
        Ok(Parts([read(self.ca.as_ref())?, read(cert)?, read(key)?]))
    }

    fn build(&self, Parts([ca, cert, key]): &Parts) -> Result<ClientConfig, BuildError> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[_] = match self.versions {
            TlsVersions::Both => &[&TLS13, &TLS12],
            TlsVersions::Tls12 => &[&TLS12],
            TlsVersions::Tls13 => &[&TLS13],
        };
        let verifier: Arc<dyn ServerCertVerifier> = if self.insecure_skip_verify {
            Arc::new(NoVerification(Arc::clone(&provider)))
        } else {
            let (roots, given) = match (&self.ca, ca) {
                (Some(text), Some(pem)) => {
                    let (roots, given) = roots(text, pem)?;
                    (Roots::Given(roots), given)
                }
                _ => (Roots::System(LazyLock::new(system_roots)), Vec::new()),
            };
            Arc::new(Trusted { roots, given, provider: Arc::clone(&provider) })
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| fault("TLS versions".to_owned(), error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&self.client_cert, cert, key) {
            (Some((cert_text, key_text)), Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
                    fault(format!("private key in {}", key_text.place()), error)
                })?;
                let name = format!("client certificate in {}", cert_text.place());
                builder
                    .with_client_auth_cert(certificates(cert_text, cert)?, key)
                    .map_err(|error| fault(name, error))?
            }
            _ => builder.with_no_client_auth(),
        };
        if self.http2 {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(config)
    }
}

/// The name to verify for a host as it stands in a URL.
pub(super) fn name_of(host: &str) -> Result<ServerName<'static>, BuildError> {
    let host = host.trim_matches(['[', ']']);
    ServerName::try_from(host.to_owned())
        .map_err(|error| fault(format!("the host {host:?} of an https:// URL"), error))
}

/// A machine without authorities is fine as long as no https:// URL is used.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The authorities of a PEM text, and the certificates themselves.
fn roots(
    text: &Text,
    pem: &[u8],
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), BuildError> {
    let mut roots = RootCertStore::empty();
    let certificates = certificates(text, pem)?;
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| fault(format!("certificate in {}", text.place()), error))?;
    }
    Ok((roots, certificates))
}

fn certificates(text: &Text, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let what = || format!("certificates in {}", text.place());
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| fault(what(), error))?;
    if certificates.is_empty() {
        return Err(fault(what(), "the file holds no PEM certificate"));
    }
    Ok(certificates)
}

fn fault(what: String, reason: impl ToString) -> BuildError {
    BuildError::Tls { what, reason: reason.to_string() }
}
