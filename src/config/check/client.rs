//! TLS, authentication and headers, the same for targets and receivers.

use super::Checker;
use crate::config::{
    Authorization, BasicAuth, HttpClient, Secret, Tls,
    raw::{RawAuthorization, RawBasicAuth, RawTls},
    value::{At, Origin, Pairs, Scalar},
};

/// The keys of a client as they stand in a job or a receiver.
pub(super) struct RawClient<'r> {
    pub(super) basic_auth: Option<&'r At<RawBasicAuth>>,
    pub(super) authorization: Option<&'r At<RawAuthorization>>,
    pub(super) bearer_token: Option<&'r Scalar>,
    pub(super) bearer_token_file: Option<&'r Scalar>,
    pub(super) tls_config: Option<&'r RawTls>,
    pub(super) headers: Option<&'r Pairs<Scalar>>,
}

/// Headers that the relay sets itself, or that belong to the connection.
const RESERVED_HEADERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "user-agent",
    "www-authenticate",
    "x-prometheus-remote-write-version",
];

/// The header that names a tenant to Mimir, Loki's family and Thanos' receivers set up like them.
pub(super) const TENANT_HEADER: &str = "X-Scope-OrgID";

impl Checker<'_> {
    pub(super) fn client(&mut self, raw: &RawClient<'_>) -> HttpClient {
        self.one_authentication(raw);
        HttpClient {
            basic_auth: raw.basic_auth.and_then(|raw| self.basic_auth(raw)),
            authorization: self.authorization(raw),
            tls: raw.tls_config.map(|raw| self.tls(raw)).unwrap_or_default(),
            headers: self.headers(raw.headers),
        }
    }

    fn one_authentication(&mut self, raw: &RawClient<'_>) {
        let bearer = raw.bearer_token.or(raw.bearer_token_file);
        let given: Vec<(&str, Origin)> = [
            ("basic_auth", raw.basic_auth.map(|at| at.origin)),
            ("authorization", raw.authorization.map(|at| at.origin)),
            ("bearer_token", bearer.map(|at| at.origin)),
        ]
        .into_iter()
        .filter_map(|(key, origin)| origin.map(|origin| (key, origin)))
        .collect();
        if let [(first, _), (second, origin), ..] = given.as_slice() {
            self.note_with_help(
                *origin,
                format!("both `{first}` and `{second}` are set"),
                "a request has one Authorization header: keep one of the two",
            );
        }
    }

    fn basic_auth(&mut self, raw: &At<RawBasicAuth>) -> Option<BasicAuth> {
        let At { value: raw, origin } = raw;
        if raw.username.is_none() && raw.username_file.is_none() {
            self.note(*origin, "basic_auth needs a `username` or a `username_file`".to_owned());
        }
        let username = self.secret(raw.username.as_ref(), raw.username_file.as_ref(), "username");
        let password = self.secret(raw.password.as_ref(), raw.password_file.as_ref(), "password");
        Some(BasicAuth {
            username: username?,
            password: password.unwrap_or_else(|| Secret::Inline(String::new())),
        })
    }

    fn authorization(&mut self, client: &RawClient<'_>) -> Option<Authorization> {
        const BEARER: &str = "Bearer";
        let Some(At { value: raw, origin }) = client.authorization else {
            let token =
                self.secret(client.bearer_token, client.bearer_token_file, "bearer_token")?;
            return Some(Authorization { kind: BEARER.to_owned(), credentials: token });
        };
        let kind = self.filled(raw.r#type.as_ref(), "type");
        if let (Some(kind), Some(scalar)) = (&kind, &raw.r#type) {
            if kind.eq_ignore_ascii_case("basic") {
                let message = "the type cannot be `Basic`: set `basic_auth` instead";
                self.note(scalar.origin, message.to_owned());
            } else if kind.bytes().any(|b| !b.is_ascii_graphic()) {
                self.note(scalar.origin, format!("`{kind}` is not an authorization scheme"));
            }
        }
        if raw.credentials.is_none() && raw.credentials_file.is_none() {
            let message = "authorization needs `credentials` or a `credentials_file`";
            self.note(*origin, message.to_owned());
        }
        let credentials =
            self.secret(raw.credentials.as_ref(), raw.credentials_file.as_ref(), "credentials")?;
        Some(Authorization { kind: kind.unwrap_or_else(|| BEARER.to_owned()), credentials })
    }

    fn tls(&mut self, raw: &RawTls) -> Tls {
        let ca_file = self.path(raw.ca_file.as_ref(), "ca_file");
        let cert = self.path(raw.cert_file.as_ref(), "cert_file");
        let key = self.path(raw.key_file.as_ref(), "key_file");
        match (&raw.cert_file, &raw.key_file) {
            (Some(cert), None) => {
                self.note(cert.origin, "`cert_file` is set without `key_file`".to_owned());
            }
            (None, Some(key)) => {
                self.note(key.origin, "`key_file` is set without `cert_file`".to_owned());
            }
            _ => {}
        }
        Tls {
            ca_file,
            client_cert: cert.zip(key),
            server_name: self.filled(raw.server_name.as_ref(), "server_name"),
            insecure_skip_verify: self.boolean(raw.insecure_skip_verify.as_ref(), false),
        }
    }

    fn headers(&mut self, raw: Option<&Pairs<Scalar>>) -> Vec<(String, Secret)> {
        let mut headers: Vec<(String, Secret)> = Vec::new();
        for (name, value) in raw.iter().flat_map(|pairs| &pairs.0) {
            let lower = name.value.to_ascii_lowercase();
            if lower == "authorization" {
                let message = "set `basic_auth` or `authorization` instead of this header";
                self.note(name.origin, message.to_owned());
            } else if RESERVED_HEADERS.contains(&lower.as_str()) {
                let message = format!("the header `{}` is the relay's own", name.value);
                self.note(name.origin, message);
            } else if http::HeaderName::from_bytes(name.value.as_bytes()).is_err() {
                self.note(name.origin, format!("`{}` is not the name of a header", name.value));
            } else if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(&lower)) {
                self.note(name.origin, format!("the header `{}` is given twice", name.value));
            }
            let Some(text) = self.text(value) else { continue };
            if http::HeaderValue::from_str(&text).is_err() {
                let message =
                    "a header's value cannot hold line breaks or other control characters";
                self.note(value.origin, message.to_owned());
            }
            headers.push((name.value.clone(), Secret::Inline(text)));
        }
        headers
    }
}
