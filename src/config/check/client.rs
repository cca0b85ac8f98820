//! Authentication, TLS, proxies and headers, the same for targets and receivers.

mod aws;
mod oauth2;
mod proxy;
mod tls;

use super::Checker;
use crate::config::{
    Auth, Authorization, BasicAuth, Connections, HttpClient, Secret,
    raw::{RawAuthorization, RawBasicAuth, RawHeader, RawOAuth2, RawSigv4, RawTls},
    value::{At, Origin, Pairs, Scalar},
};

/// The keys of a client as they stand in a job or a receiver; see [`client_keys`].
pub(super) struct RawClient<'r> {
    pub(super) basic_auth: Option<&'r At<RawBasicAuth>>,
    pub(super) authorization: Option<&'r At<RawAuthorization>>,
    pub(super) bearer_token: Option<&'r Scalar>,
    pub(super) bearer_token_file: Option<&'r Scalar>,
    pub(super) oauth2: Option<&'r At<RawOAuth2>>,
    pub(super) tls_config: Option<&'r RawTls>,
    pub(super) proxy: RawProxy<'r>,
    pub(super) follow_redirects: Option<&'r Scalar>,
    pub(super) enable_http2: Option<&'r Scalar>,
    pub(super) headers: Option<&'r Pairs<Scalar>>,
    pub(super) http_headers: Option<&'r Pairs<RawHeader>>,
}

impl RawClient<'_> {
    /// Where one of the keys stands, when any is given.
    pub(super) fn given(&self) -> Option<Origin> {
        let place = |name: Option<&Scalar>| name.map(|name| name.origin);
        let RawProxy { proxy_url, no_proxy, proxy_from_environment, proxy_connect_header } =
            &self.proxy;
        let headers = self.headers.and_then(|headers| headers.0.first());
        let http_headers = self.http_headers.and_then(|headers| headers.0.first());
        let connect = proxy_connect_header.and_then(|headers| headers.0.first());
        let tls = self.tls_config.and_then(RawTls::any);
        [
            self.basic_auth.map(|at| at.origin),
            self.authorization.map(|at| at.origin),
            place(self.bearer_token),
            place(self.bearer_token_file),
            self.oauth2.map(|at| at.origin),
            place(tls),
            place(*proxy_url),
            place(*no_proxy),
            place(*proxy_from_environment),
            place(connect.map(|(name, _)| name)),
            place(self.follow_redirects),
            place(self.enable_http2),
            place(headers.map(|(name, _)| name)),
            place(http_headers.map(|(name, _)| name)),
        ]
        .into_iter()
        .flatten()
        .next()
    }
}

impl RawTls {
    /// One of its keys, when any is given.
    fn any(&self) -> Option<&Scalar> {
        let files = [&self.ca_file, &self.cert_file, &self.key_file];
        let texts = [&self.ca, &self.cert, &self.key, &self.server_name];
        let others = [&self.insecure_skip_verify, &self.min_version, &self.max_version];
        files.into_iter().chain(texts).chain(others).find_map(Option::as_ref)
    }
}

/// The keys of a proxy.
pub(super) struct RawProxy<'r> {
    pub(super) proxy_url: Option<&'r Scalar>,
    pub(super) no_proxy: Option<&'r Scalar>,
    pub(super) proxy_from_environment: Option<&'r Scalar>,
    pub(super) proxy_connect_header: Option<&'r Pairs<Vec<Scalar>>>,
}

/// Which end a client talks to: some keys and defaults differ.
pub(super) enum Side<'r> {
    Target,
    Receiver { sigv4: Option<&'r At<RawSigv4>>, lanes: u16 },
}

/// Borrows the keys of a client from a section that has them all.
macro_rules! client_keys {
    ($raw:expr) => {
        $crate::config::check::client::RawClient {
            basic_auth: $raw.basic_auth.as_ref(),
            authorization: $raw.authorization.as_ref(),
            bearer_token: $raw.bearer_token.as_ref(),
            bearer_token_file: $raw.bearer_token_file.as_ref(),
            oauth2: $raw.oauth2.as_ref(),
            tls_config: $raw.tls_config.as_ref(),
            proxy: $crate::config::check::client::proxy_keys!($raw),
            follow_redirects: $raw.follow_redirects.as_ref(),
            enable_http2: $raw.enable_http2.as_ref(),
            headers: $raw.headers.as_ref(),
            http_headers: $raw.http_headers.as_ref(),
        }
    };
}

/// Borrows the keys of a proxy from a section that has them all.
macro_rules! proxy_keys {
    ($raw:expr) => {
        $crate::config::check::client::RawProxy {
            proxy_url: $raw.proxy_url.as_ref(),
            no_proxy: $raw.no_proxy.as_ref(),
            proxy_from_environment: $raw.proxy_from_environment.as_ref(),
            proxy_connect_header: $raw.proxy_connect_header.as_ref(),
        }
    };
}

pub(super) use {client_keys, proxy_keys};

/// Headers that the relay sets itself, or that belong to the connection or to a signature.
const RESERVED_HEADERS: [&str; 18] = [
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
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-prometheus-remote-write-version",
    "x-prometheus-scrape-timeout-seconds",
];

/// The header that names a tenant to Mimir, Loki's family and Thanos' receivers set up like them.
pub(super) const TENANT_HEADER: &str = "X-Scope-OrgID";

/// Connections of a receiver at most that requests are spread over. HTTP/2 takes a hundred requests
/// on each, so more would spread over addresses only, of which few names have more.
const CONNECTIONS_MAX: u16 = 4;

impl Checker<'_> {
    pub(super) fn client(&mut self, raw: &RawClient<'_>, side: &Side<'_>) -> HttpClient {
        let (sigv4, follow_redirects, connections) = match side {
            Side::Target => (None, true, 1),
            Side::Receiver { sigv4, lanes } => (*sigv4, false, (*lanes).min(CONNECTIONS_MAX)),
        };
        let proxy = self.proxy(&raw.proxy);
        HttpClient {
            auth: self.auth(raw, sigv4),
            tls: raw.tls_config.map(|raw| self.tls(raw)).unwrap_or_default(),
            proxy,
            headers: self.all_headers(raw),
            follow_redirects: self.boolean(raw.follow_redirects, follow_redirects),
            http2: self.boolean(raw.enable_http2, true),
            connections: Connections(connections),
        }
    }

    fn auth(&mut self, raw: &RawClient<'_>, sigv4: Option<&At<RawSigv4>>) -> Option<Auth> {
        self.one_authentication(raw, sigv4);
        let basic = raw.basic_auth.and_then(|raw| self.basic_auth(raw)).map(Auth::Basic);
        let token = self.authorization(raw).map(Auth::Authorization);
        let oauth2 = raw.oauth2.and_then(|raw| self.oauth2(raw));
        let oauth2 = oauth2.map(|oauth2| Auth::OAuth2(Box::new(oauth2)));
        let sigv4 = sigv4.and_then(|raw| self.sigv4(raw));
        basic.or(token).or(oauth2).or_else(|| sigv4.map(|sigv4| Auth::Sigv4(Box::new(sigv4))))
    }

    fn one_authentication(&mut self, raw: &RawClient<'_>, sigv4: Option<&At<RawSigv4>>) {
        let bearer = raw.bearer_token.or(raw.bearer_token_file);
        let given: Vec<(&str, Origin)> = [
            ("basic_auth", raw.basic_auth.map(|at| at.origin)),
            ("authorization", raw.authorization.map(|at| at.origin)),
            ("bearer_token", bearer.map(|at| at.origin)),
            ("oauth2", raw.oauth2.map(|at| at.origin)),
            ("sigv4", sigv4.map(|at| at.origin)),
        ]
        .into_iter()
        .filter_map(|(key, origin)| origin.map(|origin| (key, origin)))
        .collect();
        if let [(first, _), others @ ..] = given.as_slice() {
            for (other, origin) in others {
                self.note_with_help(
                    *origin,
                    format!("both `{first}` and `{other}` are set"),
                    "a request has one Authorization header: keep one of the two",
                );
            }
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

    fn all_headers(&mut self, raw: &RawClient<'_>) -> Vec<(String, Secret)> {
        let mut headers: Vec<(String, Secret)> = Vec::new();
        for (name, value) in raw.headers.iter().flat_map(|pairs| &pairs.0) {
            self.header_name(name, &headers);
            headers.extend(self.header_value(value).map(|text| (name.value.clone(), text)));
        }
        for (name, value) in raw.http_headers.iter().flat_map(|pairs| &pairs.0) {
            self.header_name(name, &headers);
            let RawHeader { values, secrets, files } = value;
            let texts = values.iter().chain(secrets).flatten();
            let mut found: Vec<Secret> = texts.filter_map(|text| self.header_value(text)).collect();
            let files = files.iter().flatten();
            found.extend(files.filter_map(|file| self.path(Some(file), "files").map(Secret::File)));
            if values.iter().chain(secrets).chain(&value.files).flatten().next().is_none() {
                self.note_with_help(
                    name.origin,
                    format!("the header `{}` has no value", name.value),
                    "add `values`, `secrets` or `files`, each a list",
                );
            }
            headers.extend(found.into_iter().map(|value| (name.value.clone(), value)));
        }
        headers
    }

    fn header_name(&mut self, name: &Scalar, before: &[(String, Secret)]) {
        let lower = name.value.to_ascii_lowercase();
        if lower == "authorization" {
            let message = "set `basic_auth` or `authorization` instead of this header";
            self.note(name.origin, message.to_owned());
        } else if RESERVED_HEADERS.contains(&lower.as_str()) {
            let message = format!("the header `{}` is the relay's own", name.value);
            self.note(name.origin, message);
        } else if http::HeaderName::from_bytes(name.value.as_bytes()).is_err() {
            self.note(name.origin, format!("`{}` is not the name of a header", name.value));
        } else if before.iter().any(|(other, _)| other.eq_ignore_ascii_case(&lower)) {
            self.note(name.origin, format!("the header `{}` is given twice", name.value));
        }
    }

    fn header_value(&mut self, value: &Scalar) -> Option<Secret> {
        let text = self.text(value)?;
        if http::HeaderValue::from_str(&text).is_err() {
            let message = "a header's value cannot hold line breaks or other control characters";
            self.note(value.origin, message.to_owned());
        }
        Some(Secret::Inline(text))
    }
}
