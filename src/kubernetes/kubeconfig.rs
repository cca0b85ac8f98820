//! A kubeconfig file: where the API is and how to log in there.
//!
//! The current context names a cluster and a user; tokens, certificates and authorities are texts in the
//! file (base64) or paths, relative to it. Users whose credentials a program gives out (`exec`), or a plug-in
//! (`auth-provider`), are refused: such programs are made for people at a terminal, and what runs by itself
//! has a ServiceAccount.
//!
//! Source: `kubectl` reference, "kubeconfig (v1)".

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::Uri;
use serde::Deserialize;

use crate::config::{Auth, Authorization, BasicAuth, HttpClient, Proxy, ProxyServer, Secret, Tls};

/// Where the API is and how to log in there.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The API server; what is asked is appended to its path.
    pub url: Uri,
    /// TLS, authentication and proxy.
    pub http: HttpClient,
}

/// A kubeconfig that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// No YAML, or another document.
    #[error("not a kubeconfig: {0}")]
    Syntax(String),
    /// No current context.
    #[error("no current-context is set; set one with `kubectl config use-context NAME`")]
    NoContext,
    /// What is referred to is not in the file.
    #[error("there is no {kind} `{name}` in it")]
    Missing {
        /// `context`, `cluster` or `user`.
        kind: &'static str,
        /// The name that was looked for.
        name: String,
    },
    /// The server's or the proxy's URL.
    #[error("{key} `{url}` is not a URL that begins with http:// or https://")]
    Url {
        /// `server` or `proxy-url`.
        key: &'static str,
        /// Its value.
        url: String,
    },
    /// Base64 that is none, or not of a text.
    #[error("{key} is not the base64 of a PEM text")]
    Data {
        /// The key.
        key: &'static str,
    },
    /// A login that needs a program.
    #[error(
        "user `{user}` logs in by `{key}`, which needs a person's terminal; create a ServiceAccount, and a \
         user with its token (`kubectl create token`), or use `api_server` with `authorization`"
    )]
    Program {
        /// The user.
        user: String,
        /// `exec` or `auth-provider`.
        key: &'static str,
    },
}

/// Reads a kubeconfig; `directory` is where its relative paths begin.
///
/// # Errors
/// What is missing or cannot be used. Files that it names are not opened.
pub fn read(text: &str, directory: &Path) -> Result<Access, KubeconfigError> {
    let file: File = serde_saphyr::from_str(text)
        .map_err(|error| KubeconfigError::Syntax(one_line(&error.to_string())))?;
    let name = file.current_context.filter(|name| !name.is_empty());
    let name = name.ok_or(KubeconfigError::NoContext)?;
    let missing = |kind, name: &str| KubeconfigError::Missing { kind, name: name.to_owned() };
    let context = file.contexts.into_iter().find(|context| context.name == name);
    let context = context.ok_or_else(|| missing("context", &name))?.context;
    let cluster = file.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
    let user = match context.user.as_deref().filter(|user| !user.is_empty()) {
        None => User::default(),
        Some(name) => {
            let user = file.users.into_iter().find(|user| user.name == name);
            let user = user.ok_or_else(|| missing("user", name))?.user;
            let program = [("exec", &user.exec), ("auth-provider", &user.auth_provider)];
            if let Some((key, _)) = program.into_iter().find(|(_, given)| given.is_some()) {
                return Err(KubeconfigError::Program { user: name.to_owned(), key });
            }
            user
        }
    };
    Ok(Access {
        url: url("server", cluster.server.as_deref().unwrap_or_default())?,
        http: HttpClient {
            auth: auth(&user, directory),
            tls: tls(&cluster, &user, directory)?,
            proxy: proxy(&cluster)?,
            headers: Vec::new(),
            follow_redirects: false,
            http2: true,
            ..HttpClient::default()
        },
    })
}

fn auth(user: &User, directory: &Path) -> Option<Auth> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    // The file goes before the token, which is what was in it when the kubeconfig was written.
    let token = filled(&user.token_file).map(|path| Secret::File(directory.join(path)));
    if let Some(credentials) = token.or_else(|| filled(&user.token).map(Secret::Inline)) {
        let kind = "Bearer".to_owned();
        return Some(Auth::Authorization(Authorization { kind, credentials }));
    }
    let username = Secret::Inline(filled(&user.username)?);
    let password = Secret::Inline(user.password.clone().unwrap_or_default());
    Some(Auth::Basic(BasicAuth { username, password }))
}

fn tls(cluster: &Cluster, user: &User, directory: &Path) -> Result<Tls, KubeconfigError> {
    let pem = |key, data: &Option<String>, path: &Option<PathBuf>| match (data, path) {
        (Some(data), _) if !data.is_empty() => decoded(key, data).map(Some),
        (_, Some(path)) => Ok(Some(Secret::File(directory.join(path)))),
        _ => Ok(None),
    };
    let cert =
        pem("client-certificate-data", &user.client_certificate_data, &user.client_certificate)?;
    let key = pem("client-key-data", &user.client_key_data, &user.client_key)?;
    Ok(Tls {
        ca: pem(
            "certificate-authority-data",
            &cluster.certificate_authority_data,
            &cluster.certificate_authority,
        )?,
        client_cert: cert.zip(key),
        server_name: cluster.tls_server_name.clone().filter(|name| !name.is_empty()),
        insecure_skip_verify: cluster.insecure_skip_tls_verify,
        ..Tls::default()
    })
}

fn proxy(cluster: &Cluster) -> Result<Option<Proxy>, KubeconfigError> {
    let Some(text) = cluster.proxy_url.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let server = ProxyServer { url: url("proxy-url", text)?, login: None };
    let (http, https) = (Some(server.clone()), Some(server));
    Ok(Some(Proxy { http, https, no_proxy: None, connect_headers: Vec::new() }))
}

fn url(key: &'static str, text: &str) -> Result<Uri, KubeconfigError> {
    let fault = || KubeconfigError::Url { key, url: text.to_owned() };
    let url: Uri = text.trim_end_matches('/').parse().map_err(|_| fault())?;
    let has_scheme = matches!(url.scheme_str(), Some("http" | "https"));
    if has_scheme && url.host().is_some() { Ok(url) } else { Err(fault()) }
}

fn decoded(key: &'static str, data: &str) -> Result<Secret, KubeconfigError> {
    let packed: String = data.split_whitespace().collect();
    let text = STANDARD.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Secret::Inline).ok_or(KubeconfigError::Data { key })
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: Option<String>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
preferences: {}
current-context: prod
contexts:
- {name: prod, context: {cluster: far, user: relay, namespace: flink}}
- {name: nobody, context: {cluster: far}}
- {name: person, context: {cluster: far, user: person}}
- {name: cert, context: {cluster: near, user: cert}}
- {name: lost, context: {cluster: gone, user: relay}}
- {name: stranger, context: {cluster: far, user: gone}}
- {name: bad, context: {cluster: bad, user: relay}}
clusters:
- name: far
  cluster: {server: 'https://far:6443/k8s/clusters/c-1/', certificate-authority-data: Q0E=, tls-server-name: api}
- name: near
  cluster: {server: 'https://127.0.0.1:6443', certificate-authority: ca.crt, proxy-url: 'http://proxy:3128'}
- name: bad
  cluster: {server: 'https://bad', certificate-authority-data: '?'}
users:
- {name: relay, user: {token: secret, tokenFile: /var/run/token}}
- {name: cert, user: {client-certificate: pki/me.crt, client-key-data: S0VZ}}
- {name: person, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}}}
";

    fn read_as(context: &str) -> Result<Access, KubeconfigError> {
        let text = FILE.replace("current-context: prod", &format!("current-context: {context}"));
        read(&text, Path::new("/etc/relay"))
    }

    #[test]
    fn the_current_context_says_where_and_as_whom() {
        let access = read_as("prod").unwrap();
        assert_eq!(access.url, "https://far:6443/k8s/clusters/c-1");
        let tls = &access.http.tls;
        assert_eq!(tls.ca, Some(Secret::Inline("CA".to_owned())));
        assert_eq!(tls.server_name.as_deref(), Some("api"));
        let token = Secret::File("/var/run/token".into());
        let auth = Authorization { kind: "Bearer".to_owned(), credentials: token };
        assert_eq!(access.http.auth, Some(Auth::Authorization(auth)));

        let access = read_as("cert").unwrap();
        assert_eq!(access.http.tls.ca, Some(Secret::File("/etc/relay/ca.crt".into())));
        let cert = Secret::File("/etc/relay/pki/me.crt".into());
        assert_eq!(access.http.tls.client_cert, Some((cert, Secret::Inline("KEY".to_owned()))));
        assert_eq!(access.http.auth, None);
        assert!(access.http.proxy.is_some());
        assert_eq!(read_as("nobody").unwrap().http.auth, None);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let check = |context: &str, expect: &str| {
            let error = read_as(context).unwrap_err().to_string();
            assert!(error.contains(expect), "{context}: {error}");
        };
        check("''", "no current-context is set");
        check("other", "no context `other`");
        check("lost", "no cluster `gone`");
        check("stranger", "no user `gone`");
        check("person", "user `person` logs in by `exec`");
        check("bad", "certificate-authority-data is not the base64");
        let error = read("hello", Path::new("/")).unwrap_err().to_string();
        assert!(error.starts_with("not a kubeconfig: "), "{error}");
        let error =
            read(&FILE.replace("https://far:6443/k8s/clusters/c-1/", "far"), Path::new("/"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("server `far` is not a URL"), "{error}");
    }
}
