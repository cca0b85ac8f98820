//! OAuth 2.0 client credentials (RFC 6749, section 4.4).
//!
//! ```text
//! POST token_url   grant_type=client_credentials&scope=…&…
//! Authorization: Basic base64(urlencoded id ":" urlencoded secret)       section 2.3.1
//! -> 200 {"access_token": "…", "token_type": "Bearer", "expires_in": 3600}   section 5.1
//! -> 400 {"error": "invalid_client", "error_description": "…"}               section 5.2
//! ```
//!
//! Servers that want id and secret in the body instead are found out by trying, as Go's `oauth2`
//! does. A token is kept until shortly before its end, replaced when the receiver answers 401 to
//! it, and given up when the client's secret changes. While there is no token nothing is sent, and
//! nothing is lost: a request without an answer is sent again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http_body_util::Full;
use hyper::{
    Request, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use serde::Deserialize;

use super::{
    BuildError, ask,
    credentials::{CredentialError, Granted, Lease},
    secret::Text,
    transport::{Settings, Transport},
};
use crate::config::{self, Connections};

/// Gets tokens and keeps them.
pub(super) struct OAuth2 {
    client_id: String,
    client_secret: Text,
    url: Uri,
    /// Parameters of each request.
    params: Vec<(String, String)>,
    transport: Transport,
    timeout: Duration,
    lease: Lease<Arc<[u8]>, HeaderValue>,
    /// Whether the server was found to want id and secret in the body.
    in_body: AtomicBool,
}

/// The answer of a token server, as far as it matters. Some servers write the number as text.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
    error_description: Option<String>,
}

const WHAT: &str = "no token";

impl OAuth2 {
    pub(super) fn new(config: &config::OAuth2, timeout: Duration) -> Result<Self, BuildError> {
        let settings = Settings {
            tls: &config.tls,
            proxy: config.proxy.as_ref(),
            http2: true,
            connections: Connections::default(),
            timeout,
        };
        let mut params = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
        if !config.scopes.is_empty() {
            params.push(("scope".to_owned(), config.scopes.join(" ")));
        }
        params.extend(config.endpoint_params.iter().cloned());
        Ok(Self {
            client_id: config.client_id.clone(),
            client_secret: Text::new(config.client_secret.clone()),
            url: config.token_url.clone(),
            params,
            transport: Transport::new(&settings)?,
            timeout,
            lease: Lease::default(),
            in_body: AtomicBool::new(false),
        })
    }

    /// What `Authorization` says now.
    pub(super) async fn authorization(&self) -> Result<HeaderValue, Arc<CredentialError>> {
        let secret = self.client_secret.read().map_err(|error| Arc::new(error.into()))?;
        // While there is a token, half of a request's time at most goes into the next one.
        let patience = self.timeout / 2;
        self.lease.get(&secret, patience, Box::pin(self.ask(&secret))).await
    }

    /// The receiver answered 401. Says whether there may be a better token.
    pub(super) fn refused(&self, token: &HeaderValue) -> bool {
        self.lease.refused(token)
    }

    async fn ask(&self, secret: &[u8]) -> Result<Granted<HeaderValue>, CredentialError> {
        let in_body = self.in_body.load(Relaxed);
        let refused = match self.ask_once(secret, in_body).await {
            Err(refused @ CredentialError::Refused { .. }) => refused,
            asked => return asked,
        };
        // Also what was found out once is tried the other way: servers are replaced.
        match self.ask_once(secret, !in_body).await {
            Ok(granted) => {
                self.in_body.store(!in_body, Relaxed);
                Ok(granted)
            }
            // Where both ways fail, what is said to the standard one says more.
            Err(standard @ CredentialError::Refused { .. }) if in_body => Err(standard),
            Err(_) => Err(refused),
        }
    }

    async fn ask_once(
        &self,
        secret: &[u8],
        in_body: bool,
    ) -> Result<Granted<HeaderValue>, CredentialError> {
        let request = self.request(secret, in_body)?;
        let (status, body) = ask::ask(&self.transport, request, self.timeout, WHAT).await?;
        read(status, &body).map_err(|words| CredentialError::Refused {
            what: WHAT,
            url: ask::without_query(&self.url),
            words,
        })
    }

    fn request(
        &self,
        secret: &[u8],
        in_body: bool,
    ) -> Result<Request<Full<Bytes>>, CredentialError> {
        let not_text = |_| CredentialError::Other("the client_secret is not text".to_owned());
        let secret = str::from_utf8(secret).map_err(not_text)?;
        let mut body = Serializer::new(String::new());
        body.extend_pairs(&self.params);
        if in_body {
            body.append_pair("client_id", &self.client_id);
            if !secret.is_empty() {
                body.append_pair("client_secret", secret);
            }
        }
        let mut request = Request::new(Full::new(Bytes::from(body.finish())));
        *request.method_mut() = hyper::Method::POST;
        request.uri_mut().clone_from(&self.url);
        let headers = request.headers_mut();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        if !in_body {
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let login = format!("{}:{}", encode(&self.client_id), encode(secret));
            let mut login = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(login)))
                .expect("base64 is made of characters that headers may hold");
            login.set_sensitive(true);
            headers.insert(AUTHORIZATION, login);
        }
        Ok(request)
    }
}

/// Reads a token server's answer; the error says what is wrong with it.
fn read(status: hyper::StatusCode, body: &[u8]) -> Result<Granted<HeaderValue>, String> {
    let answer = serde_json::from_slice::<Answer>(body);
    if !status.is_success() {
        let words = match answer {
            Ok(Answer { error: Some(error), error_description, .. }) => match error_description {
                Some(description) => format!("{error}: {}", ask::words(description.as_bytes())),
                None => error,
            },
            _ => ask::words(body),
        };
        return Err(format!("HTTP {status} {words}").trim_end().to_owned());
    }
    let answer = answer.map_err(|error| format!("the answer is not a token: {error}"))?;
    if let Some(error) = answer.error {
        return Err(error);
    }
    let token = answer.access_token.filter(|token| !token.is_empty());
    let token = token.ok_or("the answer has no `access_token`")?;
    // Servers write the type in any case; who receives it may not take any.
    let kind = match answer.token_type.as_deref() {
        None | Some("") => "Bearer",
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer",
        Some(kind) => kind,
    };
    let value = HeaderValue::try_from(format!("{kind} {token}"));
    let mut value = value.map_err(|_| "the token holds bytes that a header cannot carry")?;
    value.set_sensitive(true);
    let seconds = answer.expires_in.and_then(|number| match number {
        serde_json::Value::String(text) => text.parse::<f64>().ok(),
        number => number.as_f64(),
    });
    let lifetime = seconds.filter(|&seconds| seconds > 0.0);
    Ok(Granted { value, lifetime: lifetime.and_then(|s| Duration::try_from_secs_f64(s).ok()) })
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn answers_of_token_servers() {
        let check = |status: u16, body: &str, expected: Result<(&str, Option<u64>), &str>| {
            let read = read(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            let read = read.map(|granted| {
                assert!(granted.value.is_sensitive());
                let lifetime = granted.lifetime.map(|lifetime| lifetime.as_secs());
                (granted.value.to_str().unwrap().to_owned(), lifetime)
            });
            let expected = expected.map(|(value, lifetime)| (value.to_owned(), lifetime));
            assert_eq!(read, expected.map_err(str::to_owned), "{body}");
        };
        let token = r#""access_token":"t","token_type""#;
        check(200, &format!(r#"{{{token}:"bearer","expires_in":60}}"#), Ok(("Bearer t", Some(60))));
        check(200, &format!(r#"{{{token}:"MAC","expires_in":"90"}}"#), Ok(("MAC t", Some(90))));
        check(201, r#"{"access_token":"t","x":[]}"#, Ok(("Bearer t", None)));
        check(200, r#"{"access_token":"t","expires_in":0}"#, Ok(("Bearer t", None)));
        check(200, r#"{"access_token":"t","expires_in":-5}"#, Ok(("Bearer t", None)));
        check(200, r#"{"access_token":"t","expires_in":1e300}"#, Ok(("Bearer t", None)));
        check(200, r#"{"access_token":""}"#, Err("the answer has no `access_token`"));
        check(200, "{}", Err("the answer has no `access_token`"));
        check(200, r#"{"error":"invalid_scope"}"#, Err("invalid_scope"));
        check(
            200,
            r#"{"access_token":"a\nb"}"#,
            Err("the token holds bytes that a header cannot carry"),
        );
        check(
            401,
            r#"{"error":"invalid_client","error_description":"no such\nclient"}"#,
            Err("HTTP 401 Unauthorized invalid_client: no such client"),
        );
        check(503, "<html> try\n later", Err("HTTP 503 Service Unavailable <html> try later"));
        check(500, "", Err("HTTP 500 Internal Server Error"));
        let html = read(StatusCode::OK, b"<html>").unwrap_err();
        assert!(html.starts_with("the answer is not a token: expected value"), "{html}");
    }
}
