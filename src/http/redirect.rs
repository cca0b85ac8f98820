//! Where a redirect leads, and what may be taken along.

use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{LOCATION, ToStrError},
};

/// Redirects of one request that are followed, as in Go's client; none to where it has been.
pub(super) const REDIRECTS_MAX: usize = 10;

/// Where the answer sends a request with this method and URL; none when it does not, or not in a
/// way that keeps the request what it is.
pub(super) fn target(
    method: &Method,
    url: &Uri,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<Uri> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match status.as_u16() {
        // Clients turn a POST into a GET for these, whose 200 would look like success.
        301..=303 if is_read => {}
        307 | 308 => {}
        _ => return None,
    }
    let location = headers.get(LOCATION).map(|value| value.to_str());
    resolve(url, location.and_then(Result::<_, ToStrError>::ok)?)
}

/// Whether credentials may go along: to the same host or one below it, and never from https to
/// http.
pub(super) fn is_trusted(from: &Uri, to: &Uri) -> bool {
    let host = |url: &Uri| url.host().unwrap_or_default().to_ascii_lowercase();
    let (from_host, to_host) = (host(from), host(to));
    let below = to_host.strip_suffix(&from_host).is_some_and(|rest| rest.ends_with('.'));
    let same = from_host == to_host || below && !to_host.contains(':');
    same && !(from.scheme_str() == Some("https") && to.scheme_str() != Some("https"))
}

/// A reference, resolved against the URL that it came from (RFC 3986, section 5.2).
fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?.as_str());
    let is_absolute = reference.split(['/', '?']).next().is_some_and(|first| first.contains(':'));
    let text = if is_absolute {
        reference.to_owned()
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (reference, None),
        };
        let query = query.or_else(|| base.query().filter(|_| path.is_empty()));
        let path = match path {
            "" => base.path().to_owned(),
            path if path.starts_with('/') => without_dots(path),
            path => {
                let directory = base.path().rsplit_once('/').map_or("", |(before, _)| before);
                without_dots(&format!("{directory}/{path}"))
            }
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{authority}{path}{query}")
    };
    let url: Uri = text.parse().ok()?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    (is_http && url.host().is_some_and(|host| !host.is_empty())).then_some(url)
}

/// A path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => _ = kept.pop(),
            segment => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved() {
        let check = |reference: &str, expected: Option<&str>| {
            let base = Uri::from_static("http://vm:8428/a/b?x=1");
            let found = resolve(&base, reference).map(|url| url.to_string());
            assert_eq!(found.as_deref(), expected, "{reference}");
        };
        check("https://other/c?y=2", Some("https://other/c?y=2"));
        check("//other:1/c", Some("http://other:1/c"));
        check("/c", Some("http://vm:8428/c"));
        check("/c/../d/./e#f", Some("http://vm:8428/d/e"));
        check("c", Some("http://vm:8428/a/c"));
        check("../../c/..", Some("http://vm:8428/"));
        check("c?u=http://x:1", Some("http://vm:8428/a/c?u=http://x:1"));
        check("?y=2", Some("http://vm:8428/a/b?y=2"));
        check("", Some("http://vm:8428/a/b?x=1"));
        check("ftp://other/", None);
        check("mailto:a@b", None);
        check("http://", None);
        check("/a b", None);
    }

    #[test]
    fn what_is_followed() {
        let check = |method: Method, status: u16, followed: bool| {
            let headers = [(LOCATION, "/x".parse().unwrap())].into_iter().collect();
            let (url, code) = (Uri::from_static("http://vm/"), StatusCode::from_u16(status));
            let target = target(&method, &url, code.unwrap(), &headers);
            assert_eq!(target.is_some(), followed, "{method} {status}");
        };
        for status in [301, 302, 303, 307, 308] {
            check(Method::GET, status, true);
            check(Method::POST, status, status > 303);
        }
        for status in [200, 300, 304, 305, 306, 404] {
            check(Method::GET, status, false);
        }
        let nowhere = HeaderMap::new();
        let url = Uri::from_static("http://vm/");
        assert_eq!(target(&Method::GET, &url, StatusCode::FOUND, &nowhere), None);
    }

    #[test]
    fn whom_credentials_are_shown_to() {
        let check = |from: &'static str, to: &'static str, trusted: bool| {
            let is_trusted = is_trusted(&Uri::from_static(from), &Uri::from_static(to));
            assert_eq!(is_trusted, trusted, "{from} {to}");
        };
        check("http://vm:1/", "http://VM:2/x", true);
        check("http://vm/", "https://vm/", true);
        check("http://vm.example/", "http://a.vm.example/", true);
        check("https://vm/", "http://vm/", false);
        check("http://vm/", "http://other/", false);
        check("http://vm.example/", "http://evilvm.example/", false);
        check("http://a.vm.example/", "http://vm.example/", false);
    }
}
