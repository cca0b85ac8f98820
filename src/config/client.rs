//! How requests are sent: authentication, TLS, proxies, headers; the same for targets and receivers.
//!
//! The words are those of Prometheus' `HTTPClientConfig`. Everything here is data: files are read by
//! `http`, when a request needs them and again when they change.

use std::path::PathBuf;

use hyper::Uri;

/// How an HTTP client sends its requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpClient {
    /// What `Authorization` says; a request has one such header at most.
    pub auth: Option<Auth>,
    /// TLS settings.
    pub tls: Tls,
    /// The proxies between here and there.
    pub proxy: Option<Proxy>,
    /// More headers, in order. A name that stands several times is sent with several values.
    pub headers: Vec<(String, Secret)>,
    /// Whether redirects are followed: all of them for GET, for POST those that keep method and body
    /// (307 and 308).
    pub follow_redirects: bool,
    /// Whether HTTP/2 is spoken with servers that offer it over TLS.
    pub http2: bool,
    /// Connections that requests are spread over, where HTTP/2 would put all of them on one. 1 is
    /// right for targets, each of which has one request at a time.
    pub connections: Connections,
}

/// A number of connections, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections(pub u16);

impl Default for Connections {
    fn default() -> Self {
        Self(1)
    }
}

/// Where the `Authorization` header comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// `Basic …`.
    Basic(BasicAuth),
    /// `TYPE CREDENTIALS`.
    Authorization(Authorization),
    /// A token that an authorization server gives.
    OAuth2(Box<OAuth2>),
    /// A signature of the request, as AWS wants it.
    Sigv4(Box<Sigv4>),
}

/// User name and password.
#[derive(Clone, Debug, PartialEq)]
pub struct BasicAuth {
    /// The user name.
    pub username: Secret,
    /// The password.
    pub password: Secret,
}

/// A credential with its scheme.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    /// The scheme, `Bearer` by default.
    pub kind: String,
    /// The credential.
    pub credentials: Secret,
}

/// `oauth2`: the grant `client_credentials` (RFC 6749, section 4.4).
#[derive(Clone, Debug, PartialEq)]
pub struct OAuth2 {
    /// Who asks.
    pub client_id: String,
    /// The password of who asks.
    pub client_secret: Secret,
    /// Where tokens are asked for.
    pub token_url: Uri,
    /// What the token shall be good for; empty leaves it to the server.
    pub scopes: Vec<String>,
    /// More parameters of the request for a token.
    pub endpoint_params: Vec<(String, String)>,
    /// TLS towards the token server.
    pub tls: Tls,
    /// Proxies towards it.
    pub proxy: Option<Proxy>,
}

/// `sigv4`: requests signed with AWS Signature Version 4.
#[derive(Clone, Debug, PartialEq)]
pub struct Sigv4 {
    /// AWS region, such as `eu-central-1`.
    pub region: String,
    /// Name of the service in the signature: `aps` for Amazon Managed Service for Prometheus.
    pub service: String,
    /// Where keys come from.
    pub keys: AwsKeys,
    /// The role that is taken on with these keys.
    pub role: Option<AwsRole>,
    /// The security token service of the region.
    pub sts: Uri,
}

/// A source of AWS keys. Which one is used is decided when the configuration is read, in the order
/// of AWS' own libraries.
#[derive(Clone, Debug, PartialEq)]
pub enum AwsKeys {
    /// From the configuration or the environment.
    Fixed {
        /// Access key id.
        access_key: String,
        /// Secret access key.
        secret_key: Secret,
        /// Token of a session, when the keys belong to one.
        session_token: Option<Secret>,
    },
    /// A token of the machine's identity provider, such as a Kubernetes service account's, which STS
    /// gives keys for.
    WebIdentity {
        /// The token's file, which is replaced before the token expires.
        token: Secret,
        /// The role.
        role: AwsRole,
    },
    /// A section of AWS' shared credentials file.
    Profile {
        /// The file.
        file: PathBuf,
        /// The section.
        name: String,
    },
    /// The credentials endpoint of a container (ECS, EKS Pod Identity).
    Container {
        /// Where keys are asked for.
        url: Uri,
        /// What `Authorization` says there.
        token: Option<Secret>,
    },
    /// The metadata service of an EC2 instance, version 2.
    Instance {
        /// Its root, `http://169.254.169.254` unless the environment says otherwise.
        url: Uri,
    },
}

/// A role to take on, by STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsRole {
    /// The role's ARN.
    pub arn: String,
    /// Name of the session, shown in AWS' logs.
    pub session: String,
    /// External id, when the role asks for one.
    pub external_id: Option<String>,
}

/// A secret, or a PEM text, from the config or from a file that is read again when it changes.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Written in the config.
    Inline(String),
    /// Path of the file that holds it; a trailing line break is not part of it.
    File(PathBuf),
}

/// Never shows the secret itself.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "<secret from {}>", path.display()),
        }
    }
}

/// TLS settings of a client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// PEM text of the authorities to trust instead of the system's.
    pub ca: Option<Secret>,
    /// PEM texts of the client's certificate and key; both or none.
    pub client_cert: Option<(Secret, Secret)>,
    /// Name to verify (and to send as SNI) instead of the URL's host.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Versions that are spoken.
    pub versions: TlsVersions,
}

/// Versions of TLS that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

/// Which proxies stand between here and there.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// For `http://` URLs.
    pub http: Option<ProxyServer>,
    /// For `https://` URLs.
    pub https: Option<ProxyServer>,
    /// What is reached without them, in the syntax of `NO_PROXY`. With it, even when it is empty,
    /// loopback addresses are; without it nothing is.
    pub no_proxy: Option<String>,
    /// Headers of `CONNECT` requests.
    pub connect_headers: Vec<(String, Secret)>,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyServer {
    /// `http://…` or `https://…`, without user and password.
    pub url: Uri,
    /// User and password.
    pub login: Option<(String, Secret)>,
}
