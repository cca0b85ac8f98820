//! `proxy_url`, `no_proxy`, `proxy_from_environment` and `proxy_connect_header`.
//!
//! The environment is read here, when the configuration is, so that `check` tells what is wrong with
//! it. The names are those of Go's `httpproxy`, in capitals or not, capitals first.

use hyper::Uri;
use percent_encoding::percent_decode_str;

use super::{Checker, RawProxy};
use crate::config::{
    Proxy, ProxyServer, Secret,
    value::{Origin, Pairs, Scalar},
};

const EXAMPLE: &str = "expected one such as http://proxy:3128";

impl Checker<'_> {
    pub(super) fn proxy(&mut self, raw: &RawProxy<'_>) -> Option<Proxy> {
        let from_environment = self.boolean(raw.proxy_from_environment, false);
        let url = raw.proxy_url.filter(|url| !url.value.is_empty());
        match (url, raw.proxy_from_environment) {
            (Some(_), Some(other)) if from_environment => self.note(
                other.origin,
                "both `proxy_url` and `proxy_from_environment` are set: keep one".to_owned(),
            ),
            _ => {}
        }
        if let Some(no_proxy) = raw.no_proxy {
            if from_environment {
                self.note_with_help(
                    no_proxy.origin,
                    "both `no_proxy` and `proxy_from_environment` are set".to_owned(),
                    "with the latter, the variable NO_PROXY says what is reached directly",
                );
            } else if url.is_none() {
                let message = "`no_proxy` is set without `proxy_url`".to_owned();
                self.note(no_proxy.origin, message);
            }
        }
        let connect_headers = self.connect_headers(raw.proxy_connect_header);
        if from_environment {
            return self
                .proxy_from_environment(raw.proxy_from_environment?.origin, connect_headers);
        }
        let Some(url) = url else {
            if let Some((name, _)) = raw.proxy_connect_header.and_then(|pairs| pairs.0.first()) {
                let message = "`proxy_connect_header` is set without a proxy";
                self.note_with_help(
                    name.origin,
                    message.to_owned(),
                    "add `proxy_url` or `proxy_from_environment: true`",
                );
            }
            return None;
        };
        // A variable that is empty is how an environment says that it has no proxy.
        let text = self.text(url).filter(|text| !text.is_empty())?;
        let server = match server(&text) {
            Ok(server) => server,
            Err(why) => {
                self.note(url.origin, why);
                return None;
            }
        };
        let no_proxy = raw.no_proxy.and_then(|scalar| self.text(scalar));
        let no_proxy = no_proxy.filter(|list| !list.is_empty());
        Some(Proxy { http: Some(server.clone()), https: Some(server), no_proxy, connect_headers })
    }

    fn proxy_from_environment(
        &mut self,
        origin: Origin,
        connect_headers: Vec<(String, Secret)>,
    ) -> Option<Proxy> {
        let variable = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .into_iter()
                .find_map(|name| (self.env)(&name).filter(|v| !v.is_empty()).map(|v| (name, v)))
        };
        let (http, https) = (variable("HTTP_PROXY"), variable("HTTPS_PROXY"));
        let no_proxy = variable("NO_PROXY").map(|(_, value)| value).unwrap_or_default();
        let mut server = |found: Option<(String, String)>| {
            let (name, value) = found?;
            // A bare `proxy:3128` is common in environments.
            let value = if value.contains("://") { value } else { format!("http://{value}") };
            server(&value)
                .map_err(|why| self.note(origin, format!("the variable {name}: {why}")))
                .ok()
        };
        let (http, https) = (server(http), server(https));
        if http.is_none() && https.is_none() {
            return None;
        }
        Some(Proxy { http, https, no_proxy: Some(no_proxy), connect_headers })
    }

    fn connect_headers(&mut self, raw: Option<&Pairs<Vec<Scalar>>>) -> Vec<(String, Secret)> {
        let mut headers = Vec::new();
        for (name, values) in raw.iter().flat_map(|pairs| &pairs.0) {
            if http::HeaderName::from_bytes(name.value.as_bytes()).is_err() {
                self.note(name.origin, format!("`{}` is not the name of a header", name.value));
            }
            for value in values {
                let value = self.header_value(value);
                headers.extend(value.map(|value| (name.value.clone(), value)));
            }
        }
        headers
    }
}

/// Reads a proxy's URL. What is wrong is told without the URL, which may hold a password.
fn server(text: &str) -> Result<ProxyServer, String> {
    let url = text.trim_end_matches('/');
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("a proxy's URL begins with http:// or https://: {EXAMPLE}"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => {}
        "socks5" | "socks5h" => return Err(format!("SOCKS proxies are not supported: {EXAMPLE}")),
        _ => return Err(format!("a proxy's URL begins with http:// or https://: {EXAMPLE}")),
    }
    let (login, authority) = match rest.rsplit_once('@') {
        Some((login, authority)) => (Some(login), authority),
        None => (None, rest),
    };
    let url: Uri = format!("{scheme}://{authority}")
        .parse()
        .map_err(|error| format!("not the URL of a proxy: {error}; {EXAMPLE}"))?;
    if url.path() != "/" || url.query().is_some() {
        return Err(format!("a proxy's URL has no path: {EXAMPLE}"));
    }
    if url.host().is_none_or(str::is_empty) || !super::super::write::has_good_port(&url) {
        return Err(format!("not the host and port of a proxy: {EXAMPLE}"));
    }
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let login = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        (decode(user), Secret::Inline(decode(password)))
    });
    Ok(ProxyServer { url, login })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_proxies() {
        let check = |text: &str, expected: Option<(&str, Option<(&str, &str)>)>| {
            let found = server(text).ok().map(|server| {
                let login = server.login.map(|(user, password)| match password {
                    Secret::Inline(password) => (user, password),
                    Secret::File(path) => panic!("{path:?}"),
                });
                (server.url.to_string(), login)
            });
            let expected = expected.map(|(url, login)| {
                (url.to_owned(), login.map(|(user, word)| (user.to_owned(), word.to_owned())))
            });
            assert_eq!(found, expected, "{text}");
        };
        check("http://proxy:3128", Some(("http://proxy:3128/", None)));
        check("https://proxy/", Some(("https://proxy/", None)));
        check("http://u:p@proxy:1", Some(("http://proxy:1/", Some(("u", "p")))));
        check("http://u%40x:p%3A%2f@[::1]:1", Some(("http://[::1]:1/", Some(("u@x", "p:/")))));
        check("http://u:p@ss@proxy:1", Some(("http://proxy:1/", Some(("u", "p@ss")))));
        check("http://token@proxy:1", Some(("http://proxy:1/", Some(("token", "")))));
        for bad in
            ["proxy:3128", "socks5://proxy:1", "ftp://proxy", "http://", "http://p:0", "http://p/x"]
        {
            check(bad, None);
        }
    }
}
