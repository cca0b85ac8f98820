//! Certificates for one test: an authority, and what it has signed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use tokio_rustls::TlsAcceptor;

/// A certificate authority whose files lie in a directory.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
    name: &'static str,
}

impl Authority {
    /// A new authority; `name` tells its files from another's.
    pub(crate) fn new(directory: &Path, name: &'static str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, directory: directory.to_owned(), name };
        fs::write(authority.ca_file(), authority.issuer.pem()).unwrap();
        authority
    }

    /// The authority's own certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.join(format!("{}-ca.pem", self.name))
    }

    /// Certificate and key of a client.
    pub(crate) fn client_files(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign("client");
        let path = |what: &str| self.directory.join(format!("{}-{what}.pem", self.name));
        fs::write(path("cert"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("cert"), path("key"))
    }

    /// A server whose certificate is for this name; with `clients`, one that wants a certificate of
    /// theirs.
    pub(crate) fn server(&self, name: &str, clients: Option<&Self>) -> TlsAcceptor {
        let (certificate, key) = self.sign(name);
        acceptor(&certificate, &key, clients, &[])
    }

    /// A server that speaks TLS 1.3 only.
    pub(crate) fn tls13_server(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.sign(name);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let certificates = vec![certificate.der().clone()];
        let config = config.with_no_client_auth().with_single_cert(certificates, key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A server whose certificate bears the server's own name as its subject; written to the file, too.
    pub(crate) fn named_server(&self, name: &str, file: &Path) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(file, certificate.pem()).unwrap();
        acceptor(&certificate, &key, None, &[])
    }

    /// A server that offers HTTP/2 and HTTP/1.1.
    pub(crate) fn http2_server(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.sign(name);
        acceptor(&certificate, &key, None, &[b"h2", b"http/1.1"])
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A server whose certificate is its own authority, as `openssl req -x509` makes them; written to
/// the file, too.
pub(crate) fn self_signed(name: &str, file: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(file, certificate.pem()).unwrap();
    acceptor(&certificate, &key, None, &[])
}

fn acceptor(
    certificate: &rcgen::Certificate,
    key: &KeyPair,
    clients: Option<&Authority>,
    protocols: &[&[u8]],
) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
