//! Targets as a person writes them.
//!
//! ```text
//! target = host ":" ports                                   127.0.0.1:9249, tm:9250-9260, [::1]:9249
//!        | scheme "://" host [ ":" ports ] [ path ] [ "?" query ]     http://tm:9249/metrics?x=y
//! ports  = port | port "-" port                             both ends belong to the range
//! ```
//!
//! Without a scheme the port is required: Flink's default, 9249, is what most people mean, but a
//! second TaskManager on the host has another, so guessing would scrape the wrong one silently. With
//! a scheme the port is the scheme's own, 80 or 443, as in any URL.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Scheme, TargetSpec};
use crate::limits;

/// What a query leaves as it is: the unreserved characters of RFC 3986.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Nothing is there.
    #[error("a target cannot be empty: expected HOST:PORT, HOST:FIRST-LAST or a URL")]
    Empty,
    /// Neither `http` nor `https`.
    #[error("unknown scheme `{0}`: expected http or https")]
    Scheme(String),
    /// A path or query without a scheme.
    #[error("a target with a path needs a scheme: write `http://{0}`")]
    PathWithoutScheme(String),
    /// `user:password@`.
    #[error("a target cannot hold a user or password: set basic_auth instead")]
    UserInfo,
    /// `#fragment`.
    #[error("a target cannot have a fragment (`#…`)")]
    Fragment,
    /// No host before the port.
    #[error("the host is missing")]
    NoHost,
    /// A character that no host name has.
    #[error("`{0}` is not a host name or an IP address")]
    Host(String),
    /// More than one colon outside brackets.
    #[error("an IPv6 address needs brackets, as in [::1]:9249")]
    Ipv6WithoutBrackets,
    /// No port and no scheme to imply one.
    #[error(
        "the port is missing, and none is assumed: write `{0}:9249` if the reporter has Flink's default port"
    )]
    NoPort(String),
    /// Not a number from 1 to 65535.
    #[error("`{0}` is not a port: expected a number from 1 to 65535, or a range such as 9250-9260")]
    Port(String),
    /// The first port is above the last.
    #[error("the port range {first}-{last} is reversed: write {last}-{first}")]
    Reversed {
        /// As written before the hyphen.
        first: u16,
        /// As written behind it.
        last: u16,
    },
    /// More ports than a range may have.
    #[error("the range has {0} ports, more than the {max} that are probed", max = limits::RANGE_PORTS_MAX)]
    TooManyPorts(usize),
    /// The path is not one.
    #[error(
        "`{0}` is not a URL path: other characters than ASCII letters, digits and punctuation must be percent-encoded"
    )]
    Path(String),
}

impl TargetSpec {
    /// `host:port` for one of its ports.
    pub fn address(&self, port: u16) -> String {
        format!("{}:{port}", self.host)
    }
}

impl FromStr for TargetSpec {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.trim().is_empty() {
            return Err(TargetError::Empty);
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(parse_scheme(scheme)?), rest),
            None => (None, text),
        };
        if rest.contains('#') {
            return Err(TargetError::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if scheme.is_none() && !rest.is_empty() {
            return Err(TargetError::PathWithoutScheme(text.to_owned()));
        }
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        let (host, ports) = split_host(authority)?;
        let ports = match (ports, scheme) {
            (Some(ports), _) => parse_ports(ports)?,
            (None, Some(Scheme::Http)) => 80..=80,
            (None, Some(Scheme::Https)) => 443..=443,
            (None, None) => return Err(TargetError::NoPort(host.to_owned())),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !path.is_empty() && !is_path(path) {
            return Err(TargetError::Path(path.to_owned()));
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            ports,
            path: (!path.is_empty()).then(|| path.to_owned()),
            params: parse_query(query),
        })
    }
}

/// Reads back as the same target.
impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{scheme}://")?;
        }
        write!(f, "{}:{}", self.host, self.ports.start())?;
        if self.ports.start() != self.ports.end() {
            write!(f, "-{}", self.ports.end())?;
        }
        f.write_str(self.path.as_deref().unwrap_or_default())?;
        if self.params.is_empty() { Ok(()) } else { write!(f, "?{}", query(&self.params)) }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// URL parameters as a query string without its `?`, percent-encoded.
pub fn query(params: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in params {
        if !out.is_empty() {
            out.push('&');
        }
        out.extend(utf8_percent_encode(name, QUERY));
        out.push('=');
        out.extend(utf8_percent_encode(value, QUERY));
    }
    out
}

/// Whether a text is the path of a URL: absolute, printable ASCII, no query.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.contains(['?', '#'])
        && text.bytes().all(|b| b.is_ascii_graphic())
        && text.parse::<http::uri::PathAndQuery>().is_ok_and(|path| path.as_str() == text)
}

pub(super) fn parse_scheme(text: &str) -> Result<Scheme, TargetError> {
    match text.to_ascii_lowercase().as_str() {
        "http" => Ok(Scheme::Http),
        "https" => Ok(Scheme::Https),
        _ => Err(TargetError::Scheme(text.to_owned())),
    }
}

/// Host and what follows its colon.
fn split_host(authority: &str) -> Result<(&str, Option<&str>), TargetError> {
    let (host, port) = match authority.find(']') {
        Some(end) if authority.starts_with('[') => {
            let (host, rest) = authority.split_at(end + 1);
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(TargetError::Host(authority.to_owned())),
            }
        }
        _ => match authority.split_once(':') {
            Some((_, rest)) if rest.contains(':') => return Err(TargetError::Ipv6WithoutBrackets),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(TargetError::NoHost);
    }
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match address {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    if valid { Ok((host, port)) } else { Err(TargetError::Host(host.to_owned())) }
}

/// A port or a range of ports.
pub(super) fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, TargetError> {
    let port = |port: &str| match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(TargetError::Port(text.to_owned())),
    };
    let Some((first, last)) = text.split_once('-') else {
        let port = port(text)?;
        return Ok(port..=port);
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(TargetError::Reversed { first, last });
    }
    let count = usize::from(last - first) + 1;
    if count > limits::RANGE_PORTS_MAX {
        return Err(TargetError::TooManyPorts(count));
    }
    Ok(first..=last)
}

fn parse_query(query: &str) -> Vec<(String, String)> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_that_people_write() {
        let check = |text: &str, printed: &str| {
            let target: TargetSpec = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(target.to_string(), printed, "{text}");
            assert_eq!(printed.parse(), Ok(target), "{text}");
        };
        for text in [
            "localhost:9249",
            "127.0.0.1:9250-9260",
            "[::1]:9250",
            "[fe80::1]:9250-9251",
            "task_manager-1.flink.svc.cluster.local:1",
            "http://host:9250/metrics",
            "https://host:9250-9260/a/b",
            "http://host:9250/metrics?x=y&x=z&empty=",
            "http://[::1]:65535/",
        ] {
            check(text, text);
        }
        check("http://host/metrics", "http://host:80/metrics");
        check("https://host", "https://host:443");
        check("HTTP://host:1", "http://host:1");
        check("http://h:1?a", "http://h:1?a=");
        check("http://h:1/?a=%20b+c&&%E6%97%A5=1", "http://h:1/?a=%20b%20c&%E6%97%A5=1");
        check("h:9249-9249", "h:9249");
        check("h:09249", "h:9249");
    }

    #[test]
    fn the_parts_of_a_target() {
        let target: TargetSpec = "https://h:1-3/m?a=%26%3D".parse().unwrap();
        assert_eq!(
            target,
            TargetSpec {
                scheme: Some(Scheme::Https),
                host: "h".to_owned(),
                ports: 1..=3,
                path: Some("/m".to_owned()),
                params: vec![("a".to_owned(), "&=".to_owned())],
            }
        );
        let target: TargetSpec = "[::1]:9249".parse().unwrap();
        assert_eq!((target.scheme, target.host.as_str(), target.path), (None, "[::1]", None));
    }

    #[test]
    fn targets_that_cannot_be() {
        let check = |text: &str, expected: TargetError| {
            assert_eq!(text.parse::<TargetSpec>(), Err(expected), "{text}");
        };
        check("", TargetError::Empty);
        check("  ", TargetError::Empty);
        check("ftp://h:1", TargetError::Scheme("ftp".to_owned()));
        check("h:1/metrics", TargetError::PathWithoutScheme("h:1/metrics".to_owned()));
        check("h:1?x=y", TargetError::PathWithoutScheme("h:1?x=y".to_owned()));
        check("http://u:p@h:1/", TargetError::UserInfo);
        check("http://h:1/#x", TargetError::Fragment);
        check(":9249", TargetError::NoHost);
        check("http:///metrics", TargetError::NoHost);
        check("http://", TargetError::NoHost);
        check("a b:1", TargetError::Host("a b".to_owned()));
        check("主机:1", TargetError::Host("主机".to_owned()));
        check("[::1:9249", TargetError::Ipv6WithoutBrackets);
        check("[x]:1", TargetError::Host("[x]".to_owned()));
        check("[::1]9249", TargetError::Host("[::1]9249".to_owned()));
        check("::1", TargetError::Ipv6WithoutBrackets);
        check("fe80::1:9249", TargetError::Ipv6WithoutBrackets);
        check("localhost", TargetError::NoPort("localhost".to_owned()));
        check("[::1]", TargetError::NoPort("[::1]".to_owned()));
        for ports in
            ["", "0", "65536", "x", "-1", "1-", "-", "1-2-3", "0-5", "+1", "1 ", "9250..9260"]
        {
            check(&format!("h:{ports}"), TargetError::Port(ports.to_owned()));
        }
        check("h:9260-9250", TargetError::Reversed { first: 9260, last: 9250 });
        check("h:1-1025", TargetError::TooManyPorts(1025));
        check("http://h:1/日", TargetError::Path("/日".to_owned()));
        check("http://h:1/a b", TargetError::Path("/a b".to_owned()));
        assert!("h:1-1024".parse::<TargetSpec>().is_ok());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            scheme in prop_oneof![Just(None), Just(Some(Scheme::Http)), Just(Some(Scheme::Https))],
            host in "[a-z0-9._-]{1,12}|\\[::1\\]",
            first in 1_u16..60_000,
            more in 0_u16..1024,
            path in "/[a-z/]{0,8}",
            params in proptest::collection::vec(("\\PC{1,4}", "\\PC{0,4}"), 0..3),
        ) {
            let with_path = scheme.is_some();
            let target = TargetSpec {
                scheme,
                host,
                ports: first..=first + more,
                path: with_path.then_some(path),
                params: if with_path { params } else { Vec::new() },
            };
            prop_assert_eq!(target.to_string().parse(), Ok(target));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
            if let Ok(target) = text.parse::<TargetSpec>() {
                prop_assert_eq!(target.to_string().parse(), Ok(target));
            }
        }
    }
}
