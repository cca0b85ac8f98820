//! Where AWS keys come from.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_smithy_types::{DateTime, date_time::Format};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Uri,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde::Deserialize;

use super::{profile, sts::Sts};
use crate::{
    config::{self, AwsKeys, AwsRole, Connections, Tls},
    http::{
        BuildError, ask,
        credentials::{CredentialError, Granted, Lease},
        secret::{SecretError, Text},
        transport::{Settings, Transport},
    },
};

/// Keys to sign with. No `Debug`: they never belong into a message.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) session_token: Option<String>,
}

/// Where keys come from, and those that were given out last.
pub(super) struct Source {
    kind: Kind,
    /// By the text that they were given out for, where there is one.
    lease: Lease<Arc<[u8]>, Keys>,
    timeout: Duration,
}

enum Kind {
    Fixed { access_key: String, secret_key: Text, session_token: Option<Text> },
    WebIdentity { token: Text, role: AwsRole },
    Profile { file: Text, name: String },
    Container { url: Uri, token: Option<Text>, transport: Transport },
    Instance { url: Uri, transport: Transport },
}

/// What containers' and instances' services answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
    /// Instances: `Success`, or why not.
    code: Option<String>,
    message: Option<String>,
}

const WHAT: &str = "no AWS keys";

/// Longest time for an answer of the machine's own services. Where they are not there, nothing
/// answers.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(2);

const SESSION_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const SESSION_TTL_HEADER: HeaderName =
    HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

impl Source {
    pub(super) fn new(keys: &AwsKeys, timeout: Duration) -> Result<Self, BuildError> {
        // The machine's own services are never behind a proxy.
        let local = || {
            Transport::new(&Settings {
                tls: &Tls::default(),
                proxy: None,
                http2: false,
                connections: Connections::default(),
                timeout: LOCAL_TIMEOUT,
            })
        };
        let text = |secret: &config::Secret| Text::new(secret.clone());
        let kind = match keys {
            AwsKeys::Fixed { access_key, secret_key, session_token } => Kind::Fixed {
                access_key: access_key.clone(),
                secret_key: text(secret_key),
                session_token: session_token.as_ref().map(text),
            },
            AwsKeys::WebIdentity { token, role } => {
                Kind::WebIdentity { token: text(token), role: role.clone() }
            }
            AwsKeys::Profile { file, name } => Kind::Profile {
                file: Text::new(config::Secret::File(file.clone())),
                name: name.clone(),
            },
            AwsKeys::Container { url, token } => Kind::Container {
                url: url.clone(),
                token: token.as_ref().map(text),
                transport: local()?,
            },
            AwsKeys::Instance { url } => Kind::Instance { url: url.clone(), transport: local()? },
        };
        Ok(Self { kind, lease: Lease::default(), timeout })
    }

    /// Keys that are good now.
    pub(super) async fn keys(&self, sts: &Sts) -> Result<Keys, Arc<CredentialError>> {
        let arc = |error: SecretError| Arc::new(CredentialError::from(error));
        let patience = self.timeout / 2;
        let nothing = Arc::from([].as_slice());
        match &self.kind {
            Kind::Fixed { access_key, secret_key, session_token } => Ok(Keys {
                access_key: access_key.clone(),
                secret_key: secret_key.read_text().map_err(arc)?,
                session_token: session_token
                    .as_ref()
                    .map(Text::read_text)
                    .transpose()
                    .map_err(arc)?,
            }),
            Kind::Profile { file, name } => {
                let text = file.read().map_err(arc)?;
                let parse = async { profile::keys(&text, name, &file.place()) };
                self.lease.get(&text, patience, parse).await
            }
            Kind::WebIdentity { token, role } => {
                // A new token is no reason for new keys, so it is read when keys are asked for.
                let ask = async {
                    let token = token.read_text()?;
                    sts.assume_with_web_identity(role, &token, SystemTime::now()).await
                };
                self.lease.get(&nothing, patience, Box::pin(ask)).await
            }
            Kind::Container { url, token, transport } => {
                let ask = async {
                    let token = token.as_ref().map(Text::read_text).transpose()?;
                    let token = token.iter().map(|token| (AUTHORIZATION, token.as_str()));
                    let answer = get(transport, url.clone(), token).await?;
                    read(url, &answer, SystemTime::now())
                };
                self.lease.get(&nothing, patience, Box::pin(ask)).await
            }
            Kind::Instance { url, transport } => {
                self.lease.get(&nothing, patience, Box::pin(of_instance(transport, url))).await
            }
        }
    }
}

/// The metadata service of an instance, version 2: a session, the role's name, its keys.
async fn of_instance(transport: &Transport, root: &Uri) -> Result<Granted<Keys>, CredentialError> {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let url = |path: &str| -> Result<Uri, CredentialError> {
        let url = format!("{}{path}", root.to_string().trim_end_matches('/'));
        url.parse().map_err(|_| CredentialError::Other(format!("{WHAT}: `{url}` is not a URL")))
    };
    let session = request(Method::PUT, url("/latest/api/token")?, [(SESSION_TTL_HEADER, "21600")])?;
    let session = text(transport, session).await?;
    let with_session = [(SESSION_HEADER, session.as_str())];
    let role = text(transport, request(Method::GET, url(ROLES)?, with_session.clone())?).await?;
    let role = role.lines().next().unwrap_or_default();
    let of_role = url(&format!("{ROLES}{role}"))?;
    let answer = get(transport, of_role.clone(), with_session).await?;
    read(&of_role, &answer, SystemTime::now())
}

async fn get(
    transport: &Transport,
    url: Uri,
    headers: impl IntoIterator<Item = (HeaderName, &str)>,
) -> Result<String, CredentialError> {
    text(transport, request(Method::GET, url, headers)?).await
}

fn request<'h>(
    method: Method,
    url: Uri,
    headers: impl IntoIterator<Item = (HeaderName, &'h str)>,
) -> Result<Request<Full<Bytes>>, CredentialError> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = url;
    for (name, value) in headers {
        let value = HeaderValue::try_from(value).map_err(|_| SecretError::NotAHeader)?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

async fn text(
    transport: &Transport,
    request: Request<Full<Bytes>>,
) -> Result<String, CredentialError> {
    let url = ask::without_query(request.uri());
    let (status, body) = ask::ask(transport, request, LOCAL_TIMEOUT, WHAT).await?;
    if !status.is_success() {
        let words = format!("HTTP {status} {}", ask::words(&body)).trim_end().to_owned();
        return Err(CredentialError::Refused { what: WHAT, url, words });
    }
    Ok(String::from_utf8_lossy(&body).trim().to_owned())
}

fn read(url: &Uri, answer: &str, now: SystemTime) -> Result<Granted<Keys>, CredentialError> {
    let refused = |words: String| CredentialError::Refused {
        what: WHAT,
        url: ask::without_query(url),
        words,
    };
    let answer: Answer = serde_json::from_str(answer)
        .map_err(|error| refused(format!("the answer holds no keys: {error}")))?;
    match (answer.access_key_id, answer.secret_access_key) {
        (Some(access_key), Some(secret_key)) => Ok(Granted {
            value: Keys { access_key, secret_key, session_token: answer.token },
            lifetime: answer.expiration.and_then(|end| lifetime(&end, now)),
        }),
        _ => {
            let code = answer.code.unwrap_or_else(|| "the answer holds no keys".to_owned());
            let message = answer.message.map(|message| format!(": {message}"));
            Err(refused(format!("{code}{}", message.unwrap_or_default())))
        }
    }
}

/// The time until an end as AWS writes it, `2030-01-02T03:04:05Z`; none when it cannot be read.
pub(super) fn lifetime(end: &str, now: SystemTime) -> Option<Duration> {
    let end = DateTime::from_str(end, Format::DateTime).ok()?;
    let end = SystemTime::try_from(end).ok()?;
    Some(end.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_machines_services() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_553_445); // 2030-01-02T03:04:05Z
        let url = Uri::from_static("http://169.254.170.2/v2/x?secret=1");
        let keys = |answer: &str| {
            read(&url, answer, now)
                .map(|granted| {
                    let Keys { access_key, secret_key, session_token } = granted.value;
                    let token = session_token.unwrap_or_default();
                    (format!("{access_key} {secret_key} {token}"), granted.lifetime)
                })
                .map_err(|error| error.to_string())
        };
        let good = r#""AccessKeyId":"a","SecretAccessKey":"b","Token":"c","Expiration""#;
        assert_eq!(
            keys(&format!(r#"{{{good}:"2030-01-02T04:04:05Z","RoleArn":"x"}}"#)),
            Ok(("a b c".to_owned(), Some(Duration::from_secs(3600))))
        );
        assert_eq!(
            keys(&format!(r#"{{{good}:"2029-01-02T04:04:05Z"}}"#)),
            Ok(("a b c".to_owned(), Some(Duration::ZERO)))
        );
        assert_eq!(
            keys(r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume"}"#),
            Err("no AWS keys from http://169.254.170.2/v2/x: AssumeRoleUnauthorizedAccess: EC2 \
                 cannot assume"
                .to_owned())
        );
        assert!(keys("<html>").unwrap_err().contains("the answer holds no keys"));
    }
}
