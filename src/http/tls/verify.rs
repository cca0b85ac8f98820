//! Which server certificates are taken.

use std::sync::{Arc, LazyLock};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// A certificate that a trusted authority signed, or one that the user named as it is.
///
/// `openssl req -x509` makes a certificate that is an authority and a server's at once, and people
/// give it to the server and to `ca_file`. Go's clients take it, for who trusts a certificate by
/// itself needs no chain to it; webpki refuses an authority in the place of a server. So a
/// certificate that is byte for byte one of those in `ca_file` is taken when its time has come and
/// is not over, and its name is the one that was asked for. That the server has its key is proved
/// by the handshake, as for any other.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) roots: Roots,
    /// The certificates of `ca_file`; none for the system's.
    pub(super) given: Vec<CertificateDer<'static>>,
    pub(super) provider: Arc<CryptoProvider>,
}

/// The authorities that are trusted.
#[derive(Debug)]
pub(super) enum Roots {
    /// The system's, read at the first handshake: a machine has a hundred and more of them, and most
    /// clients of a relay speak plain HTTP to their neighbours.
    System(LazyLock<RootCertStore>),
    /// Those of `ca_file`, which are read at the start, to refuse what cannot be used.
    Given(RootCertStore),
}

impl Roots {
    fn store(&self) -> &RootCertStore {
        match self {
            Self::System(roots) => roots,
            Self::Given(roots) => roots,
        }
    }
}

/// `insecure_skip_verify`: any certificate is taken; signatures are still checked.
#[derive(Debug)]
pub(super) struct NoVerification(pub(super) Arc<CryptoProvider>);

/// Whether the certificate was refused for nothing but its place: it is an authority's, or nobody
/// that is trusted signed it. webpki looks at the time of validity before both.
fn only_its_place(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let verified = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            self.roots.store(),
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        );
        match verified {
            Err(error) if only_its_place(&error) && self.given.contains(end_entity) => {}
            verified => verified?,
        }
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::crypto::ring;

    use super::*;

    /// A self-signed certificate for `relay.test`, valid in 2020.
    fn self_signed(is_ca: IsCa) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["relay.test".to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_that_was_given_is_taken_as_it_is() {
        let authority = || self_signed(IsCa::Ca(BasicConstraints::Unconstrained));
        let (ca, other_ca, leaf) = (authority(), authority(), self_signed(IsCa::NoCa));
        const IN_TIME: u64 = 1_590_000_000; // May 2020
        const TOO_LATE: u64 = 1_700_000_000;
        const TOO_EARLY: u64 = 1_500_000_000;
        let check = |given: &[&CertificateDer<'static>],
                     shown: &CertificateDer<'static>,
                     name: &'static str,
                     at: u64,
                     good: bool| {
            let mut roots = RootCertStore::empty();
            given.iter().for_each(|&certificate| roots.add(certificate.clone()).unwrap());
            let trusted = Trusted {
                roots: Roots::Given(roots),
                given: given.iter().map(|&certificate| certificate.clone()).collect(),
                provider: Arc::new(ring::default_provider()),
            };
            let name = ServerName::try_from(name).unwrap();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(at));
            let verified = trusted.verify_server_cert(shown, &[], &name, &[], now);
            assert_eq!(verified.is_ok(), good, "{name:?} at {at}: {verified:?}");
        };
        check(&[&ca], &ca, "relay.test", IN_TIME, true);
        check(&[&leaf], &leaf, "relay.test", IN_TIME, true);
        check(&[&other_ca, &ca], &ca, "relay.test", IN_TIME, true);
        // Another one of the same name, another name, another time, nobody.
        check(&[&ca], &other_ca, "relay.test", IN_TIME, false);
        check(&[&leaf], &ca, "relay.test", IN_TIME, false);
        check(&[&ca], &ca, "other.test", IN_TIME, false);
        check(&[&leaf], &leaf, "other.test", IN_TIME, false);
        check(&[&ca], &ca, "relay.test", TOO_LATE, false);
        check(&[&ca], &ca, "relay.test", TOO_EARLY, false);
        check(&[&leaf], &leaf, "relay.test", TOO_LATE, false);
        check(&[], &ca, "relay.test", IN_TIME, false);
    }
}
