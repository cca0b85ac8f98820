//! Which proxy a request goes through.
//!
//! `NO_PROXY` is read as Go's `httpproxy` reads it, for Prometheus does:
//!
//! ```text
//! list  = "*" | entry { "," entry }       spaces do not count, case neither
//! entry = CIDR                            10.0.0.0/8, fd00::/8
//!       | address [ ":" port ]            10.0.0.1, 10.0.0.1:80, [fd00::1]:80
//!       | domain [ ":" port ]             example.com: it and all below it
//!       | ( "." | "*." ) domain [ … ]     .example.com: all below it
//! ```
//!
//! Addresses are compared with hosts that are written as addresses; names are not resolved. Whatever
//! the list says, `localhost` and loopback addresses are reached directly.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::{HeaderValue, PROXY_AUTHORIZATION};
use hyper::{HeaderMap, Uri, header::HeaderName};
use ipnet::IpNet;

use super::{BuildError, secret::SecretSource};
use crate::config::{self, ProxyServer, Secret};

/// The proxies of a client.
#[derive(Default)]
pub(super) struct Proxies {
    http: Option<Via>,
    https: Option<Via>,
    /// `None` when everything goes through the proxy, loopback too.
    except: Option<NoProxy>,
    connect_headers: Vec<(HeaderName, SecretSource)>,
}

/// One proxy.
#[derive(Clone, Debug)]
pub(super) struct Via {
    pub(super) url: Uri,
    /// `Proxy-Authorization`, when the proxy's URL has a user.
    pub(super) login: Option<HeaderValue>,
}

impl Proxies {
    pub(super) fn new(config: Option<&config::Proxy>) -> Result<Self, BuildError> {
        let Some(config) = config else { return Ok(Self::default()) };
        let mut connect_headers = Vec::new();
        for (name, value) in &config.connect_headers {
            let header = HeaderName::try_from(name.as_str())
                .map_err(|_| BuildError::Header { name: name.clone() })?;
            let value = SecretSource::new(vec![value.clone()], <[_]>::concat)?;
            connect_headers.push((header, value));
        }
        let via = |server: &Option<ProxyServer>| server.as_ref().map(Via::new).transpose();
        Ok(Self {
            http: via(&config.http)?,
            https: via(&config.https)?,
            except: config.no_proxy.as_deref().map(NoProxy::new),
            connect_headers,
        })
    }

    /// The proxy for this URL, if it goes through one.
    pub(super) fn via(&self, url: &Uri) -> Option<&Via> {
        let (via, default_port) = match url.scheme_str() {
            Some("https") => (self.https.as_ref()?, 443),
            _ => (self.http.as_ref()?, 80),
        };
        let host = url.host().unwrap_or_default();
        let port = url.port_u16().unwrap_or(default_port);
        let direct = self.except.as_ref().is_some_and(|list| list.contains(host, port));
        (!direct).then_some(via)
    }

    /// What a `CONNECT` request says beside the destination.
    pub(super) fn connect_headers(
        &self,
        via: &Via,
    ) -> Result<HeaderMap, super::secret::SecretError> {
        let mut headers = HeaderMap::new();
        if let Some(login) = &via.login {
            headers.insert(PROXY_AUTHORIZATION, login.clone());
        }
        for (name, value) in &self.connect_headers {
            headers.append(name, value.header_value()?);
        }
        Ok(headers)
    }
}

impl Via {
    fn new(server: &ProxyServer) -> Result<Self, BuildError> {
        let login = server.login.as_ref().map(|(user, password)| {
            let Secret::Inline(password) = password else { return Err(BuildError::InlineSecret) };
            let login = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            let mut login = HeaderValue::try_from(login).map_err(|_| BuildError::InlineSecret)?;
            login.set_sensitive(true);
            Ok(login)
        });
        Ok(Self { url: server.url.clone(), login: login.transpose()? })
    }
}

/// A list of what is reached directly.
#[derive(Debug, Default)]
struct NoProxy {
    everything: bool,
    networks: Vec<IpNet>,
    addresses: Vec<(IpAddr, Option<String>)>,
    domains: Vec<Domain>,
}

#[derive(Debug)]
struct Domain {
    /// With a dot in front.
    suffix: String,
    /// Whether the domain itself matches, too.
    itself: bool,
    port: Option<String>,
}

impl NoProxy {
    fn new(list: &str) -> Self {
        let mut all = Self::default();
        for entry in list.split(',').map(|entry| entry.trim().to_lowercase()) {
            if entry == "*" {
                all.everything = true;
            } else if let Ok(network) = entry.parse() {
                all.networks.push(network);
            } else {
                all.add(&entry);
            }
        }
        all
    }

    fn add(&mut self, entry: &str) {
        let (host, port) = match entry.rsplit_once(':') {
            // More than one colon outside brackets is an address of version 6 without a port.
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => {
                (host, Some(port.to_owned()).filter(|port| !port.is_empty()))
            }
            _ => (entry, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return self.addresses.push((address, port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let itself = !host.starts_with('.');
        let suffix = if itself { format!(".{host}") } else { host.to_owned() };
        if suffix.len() > 1 {
            self.domains.push(Domain { suffix, itself, port });
        }
    }

    fn contains(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']).to_lowercase();
        let port = port.to_string();
        let same_port = |wanted: &Option<String>| wanted.as_ref().is_none_or(|w| *w == port);
        if host == "localhost" || self.everything {
            return true;
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return address.is_loopback()
                || self.networks.iter().any(|network| network.contains(&address))
                || self.addresses.iter().any(|(of, port)| *of == address && same_port(port));
        }
        self.domains.iter().any(|domain| {
            let itself = domain.itself && domain.suffix.strip_prefix('.') == Some(&*host);
            (itself || host.ends_with(&domain.suffix)) && same_port(&domain.port)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, login: Option<(&str, &str)>) -> ProxyServer {
        let login = login.map(|(user, word)| (user.to_owned(), Secret::Inline(word.to_owned())));
        ProxyServer { url: url.parse().unwrap(), login }
    }

    /// The table of `TestUseProxy` in Go's `httpproxy`, with what is particular to the rest.
    #[test]
    fn what_no_proxy_excepts() {
        const LIST: &str = "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, \
                            192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, \
                            [2001:db8::52:0:3]:80, 2002:db8:a::45/64";
        let check = |list: &str, url: &str, proxied: bool| {
            let proxies = Proxies {
                http: Some(Via { url: Uri::from_static("http://proxy:1"), login: None }),
                https: Some(Via { url: Uri::from_static("http://proxy:2"), login: None }),
                except: Some(NoProxy::new(list)),
                connect_headers: Vec::new(),
            };
            assert_eq!(proxies.via(&url.parse().unwrap()).is_some(), proxied, "{list:?} {url}");
        };
        for (host, proxied) in [
            // Never proxied:
            ("localhost", false),
            ("127.0.0.1", false),
            ("127.0.0.2", false),
            ("[::1]", false),
            ("LOCALHOST:8080", false),
            ("[::2]", true), // not a loopback address
            ("192.168.1.1", false),
            ("192.168.1.2", true), // ports differ
            ("192.168.1.2:81", false),
            ("192.168.1.3", false), // port 80 is http's own
            ("192.168.1.4", true),
            ("10.0.0.2", false),
            ("10.0.0.4", true),
            ("[2001:db8::52:0:1]", false),
            ("[2001:db8::52:0:2]", true), // ports differ
            ("[2001:db8::52:0:3]", false),
            ("[2002:db8:a::123]", false),
            ("[fe80::424b:c8be:1643:a1b6]", true),
            ("barbaz.net", true), // does not match as no leading dot was written
            ("www.barbaz.net", false),
            ("foobar.com", false),
            ("www.foobar.com", false),
            ("FOOBAR.com:8080", false),
            ("foofoobar.com", true), // not below it
            ("baz.com", true),
            ("localhost.net", true),
            ("local.localhost", true),
            ("barbarbaz.net", true),
            ("wildcard.io", true),
            ("a.b.wildcard.io", false),
        ] {
            check(LIST, &format!("http://{host}/"), proxied);
        }
        check("*", "http://example.com/", false);
        check("foo.com:443, *", "http://example.com/", false);
        check("example.com:443", "https://example.com/", false);
        check("example.com:443", "http://example.com/", true);
        check("example.com:443", "http://www.example.com:443/", false);
        check("[2001:db8::1]:443", "https://[2001:db8::1]/", false);
        check("", "http://example.com/", true);
        check("", "https://127.0.0.1:8443/", false);
        check(" , :80, ., *.,[]", "http://example.com/", true);
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        let config = config::Proxy {
            http: Some(server("http://plain:3128", None)),
            https: Some(server("https://secure", Some(("u", "p")))),
            no_proxy: None,
            connect_headers: vec![("x-a".to_owned(), Secret::Inline("1".to_owned()))],
        };
        let proxies = Proxies::new(Some(&config)).unwrap();
        let via = |url: &'static str| proxies.via(&Uri::from_static(url));
        assert_eq!(via("http://vm/").unwrap().url, "http://plain:3128");
        let secure = via("https://vm/").unwrap();
        assert_eq!(secure.url, "https://secure");
        // Without a list of exceptions there is none, as with Go's ProxyURL.
        assert!(via("http://127.0.0.1/").is_some());
        let headers = proxies.connect_headers(secure).unwrap();
        assert_eq!(headers[PROXY_AUTHORIZATION], "Basic dTpw");
        assert_eq!(headers["x-a"], "1");
        assert!(Proxies::new(None).unwrap().via(&Uri::from_static("http://vm/")).is_none());
    }
}
