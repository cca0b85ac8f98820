//! AWS' security token service: keys for a role.
//!
//! ```text
//! POST https://sts.REGION.amazonaws.com/
//! Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=…&RoleSessionName=…&WebIdentityToken=…
//! Action=AssumeRole&Version=2011-06-15&RoleArn=…&RoleSessionName=…&ExternalId=…      signed
//! -> 200 <…><Credentials><AccessKeyId>…<SecretAccessKey>…<SessionToken>…<Expiration>…
//! -> 403 <ErrorResponse><Error><Code>AccessDenied</Code><Message>…
//! ```

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http_body_util::Full;
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderValue, USER_AGENT},
};

use super::{
    keys::{Keys, lifetime},
    sign,
};
use crate::{
    config::{self, AwsRole, Connections, Tls},
    http::{
        BuildError, ask,
        credentials::{CredentialError, Granted},
        transport::{Settings, Transport},
    },
};

/// The security token service of a region.
pub(super) struct Sts {
    url: Uri,
    region: String,
    transport: Transport,
    timeout: Duration,
}

const WHAT: &str = "no AWS keys";
const VERSION: &str = "2011-06-15";

impl Sts {
    pub(super) fn new(
        config: &config::Sigv4,
        proxy: Option<&config::Proxy>,
        timeout: Duration,
    ) -> Result<Self, BuildError> {
        let transport = Transport::new(&Settings {
            // The system's authorities: AWS' are among them, a receiver's own are none of AWS'.
            tls: &Tls::default(),
            proxy,
            http2: true,
            connections: Connections::default(),
            timeout,
        })?;
        Ok(Self { url: config.sts.clone(), region: config.region.clone(), transport, timeout })
    }

    /// Takes on a role with a token of an identity provider.
    pub(super) async fn assume_with_web_identity(
        &self,
        role: &AwsRole,
        token: &str,
        now: SystemTime,
    ) -> Result<Granted<Keys>, CredentialError> {
        let action = "AssumeRoleWithWebIdentity";
        let request = self.request(action, role, Some(("WebIdentityToken", token)));
        self.ask(request, now).await
    }

    /// Takes on a role with keys.
    pub(super) async fn assume(
        &self,
        role: &AwsRole,
        keys: &Keys,
        now: SystemTime,
    ) -> Result<Granted<Keys>, CredentialError> {
        let external_id = role.external_id.as_deref().map(|id| ("ExternalId", id));
        let mut request = self.request("AssumeRole", role, external_id);
        sign(&mut request, keys, &self.region, "sts", now)?;
        self.ask(request, now).await
    }

    fn request(
        &self,
        action: &str,
        role: &AwsRole,
        more: Option<(&str, &str)>,
    ) -> Request<Full<Bytes>> {
        let mut form = Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", VERSION);
        form.append_pair("RoleArn", &role.arn).append_pair("RoleSessionName", &role.session);
        form.extend_pairs(more);
        let mut request = Request::new(Full::new(Bytes::from(form.finish())));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&self.url);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        let agent = HeaderValue::from_static(crate::http::USER_AGENT);
        request.headers_mut().insert(USER_AGENT, agent);
        request
    }

    async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        now: SystemTime,
    ) -> Result<Granted<Keys>, CredentialError> {
        let (status, body) = ask::ask(&self.transport, request, self.timeout, WHAT).await?;
        read(status, &String::from_utf8_lossy(&body), now).map_err(|words| {
            CredentialError::Refused { what: WHAT, url: ask::without_query(&self.url), words }
        })
    }
}

/// Reads an answer; the error says what is wrong with it.
fn read(status: StatusCode, xml: &str, now: SystemTime) -> Result<Granted<Keys>, String> {
    if !status.is_success() {
        return Err(match (element(xml, "Code"), element(xml, "Message")) {
            (Some(code), Some(message)) => {
                format!("HTTP {status} {code}: {}", ask::words(message.as_bytes()))
            }
            _ => format!("HTTP {status} {}", ask::words(xml.as_bytes())).trim_end().to_owned(),
        });
    }
    let credentials = element(xml, "Credentials").ok_or("the answer holds no keys")?;
    let of = |name| element(&credentials, name).ok_or_else(|| format!("the answer has no {name}"));
    let value = Keys {
        access_key: of("AccessKeyId")?,
        secret_key: of("SecretAccessKey")?,
        session_token: Some(of("SessionToken")?),
    };
    Ok(Granted { value, lifetime: lifetime(&of("Expiration")?, now) })
}

/// What stands inside the first element of this name. STS writes neither attributes nor comments
/// there, and keys need none of XML's five escapes; messages may have them.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    let text = inside.trim().replace("&lt;", "<").replace("&gt;", ">");
    Some(text.replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_sts() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_553_445); // 2030-01-02T03:04:05Z
        let check = |status: u16, xml: &str, expected: Result<(&str, u64), &str>| {
            let read = read(StatusCode::from_u16(status).unwrap(), xml, now).map(|granted| {
                let Keys { access_key, secret_key, session_token } = granted.value;
                let keys = format!("{access_key} {secret_key} {}", session_token.unwrap());
                (keys, granted.lifetime.unwrap().as_secs())
            });
            let expected = expected.map(|(keys, lifetime)| (keys.to_owned(), lifetime));
            assert_eq!(read, expected.map_err(str::to_owned), "{xml}");
        };
        let keys = "<R xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n<Result>\n\
            <AssumedRoleUser><Arn>x</Arn></AssumedRoleUser><Credentials>\n  <SessionToken>t/+=\
            </SessionToken><SecretAccessKey>s</SecretAccessKey>\n<Expiration>2030-01-02T04:04:05.5Z\
            </Expiration><AccessKeyId>ASIA</AccessKeyId></Credentials></Result></R>";
        check(200, keys, Ok(("ASIA s t/+=", 3600)));
        check(200, &keys.replace("SessionToken", "X"), Err("the answer has no SessionToken"));
        check(200, "<html>", Err("the answer holds no keys"));
        check(
            403,
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not \
             authorized to perform &quot;sts:AssumeRole&quot;</Message></Error></ErrorResponse>",
            Err("HTTP 403 Forbidden AccessDenied: Not authorized to perform \"sts:AssumeRole\""),
        );
        check(502, "", Err("HTTP 502 Bad Gateway"));
    }
}
