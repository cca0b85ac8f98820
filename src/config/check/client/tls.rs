//! `tls_config`.

use super::Checker;
use crate::config::{
    Tls, TlsVersions,
    raw::RawTls,
    value::{Origin, Scalar},
};

/// Versions as they are written, in order. Those before 1.2 are known, to say what is wrong with
/// them, and not spoken: RFC 8996 retired them.
const VERSIONS: [(&str, u8); 4] = [("TLS10", 10), ("TLS11", 11), ("TLS12", 12), ("TLS13", 13)];

impl Checker<'_> {
    pub(super) fn tls(&mut self, raw: &RawTls) -> Tls {
        let ca = self.secret(raw.ca.as_ref(), raw.ca_file.as_ref(), "ca");
        let cert = self.secret(raw.cert.as_ref(), raw.cert_file.as_ref(), "cert");
        let key = self.secret(raw.key.as_ref(), raw.key_file.as_ref(), "key");
        let of_cert =
            named(raw.cert.as_ref(), "cert").or_else(|| named(raw.cert_file.as_ref(), "cert_file"));
        let of_key =
            named(raw.key.as_ref(), "key").or_else(|| named(raw.key_file.as_ref(), "key_file"));
        match (of_cert, of_key) {
            (Some((origin, name)), None) => {
                self.note(origin, format!("`{name}` is set without `key_file`"));
            }
            (None, Some((origin, name))) => {
                self.note(origin, format!("`{name}` is set without `cert_file`"));
            }
            _ => {}
        }
        Tls {
            ca,
            client_cert: cert.zip(key),
            server_name: self.filled(raw.server_name.as_ref(), "server_name"),
            insecure_skip_verify: self.boolean(raw.insecure_skip_verify.as_ref(), false),
            versions: self.versions(raw),
        }
    }

    fn versions(&mut self, raw: &RawTls) -> TlsVersions {
        // What is below 1.2 as a minimum excludes nothing that is spoken.
        let min = self.choice(raw.min_version.as_ref(), &VERSIONS, 12).max(12);
        let max = self.choice(raw.max_version.as_ref(), &VERSIONS, 13);
        if let Some(scalar) = &raw.max_version {
            if max < 12 {
                self.note_with_help(
                    scalar.origin,
                    "TLS before 1.2 is not spoken".to_owned(),
                    "versions 1.0 and 1.1 are broken: update the server, or put a proxy before it",
                );
            } else if max < min {
                let message = "`max_version` is below `min_version`";
                self.note(scalar.origin, message.to_owned());
            }
        }
        match (min, max) {
            (12, 12) => TlsVersions::Tls12,
            (13, _) => TlsVersions::Tls13,
            _ => TlsVersions::Both,
        }
    }
}

fn named<'n>(scalar: Option<&Scalar>, name: &'n str) -> Option<(Origin, &'n str)> {
    scalar.map(|scalar| (scalar.origin, name))
}
