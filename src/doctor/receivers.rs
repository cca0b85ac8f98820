//! What receivers answer, and what a person has to change for another answer.
//!
//! | receiver | path of remote write |
//! |---|---|
//! | Prometheus | `/api/v1/write`, 404 unless started with `--web.enable-remote-write-receiver` |
//! | VictoriaMetrics, vmagent | `/api/v1/write` |
//! | VictoriaMetrics cluster | `/insert/TENANT/prometheus/api/v1/write` at vminsert; 400 "unsupported path" elsewhere |
//! | Mimir, Cortex | `/api/v1/push`; 401 "no org id" without a tenant |
//! | Grafana Cloud | `/api/prom/push` |
//! | Thanos Receive | `/api/v1/receive` |

use hyper::Uri;

use super::{
    Finding, Fix, Id,
    Severity::{Problem, Warning},
    clock,
    evidence::{Answer, Evidence, ReceiverLook, Trouble, TroubleKind},
};
use crate::remote_write::{Message, Wanted};

/// All findings about receivers' answers and clocks.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    if evidence.receivers.is_empty() {
        let why = "`run` needs one; doctor has looked at Flink's side alone";
        let finding =
            Finding::new(Id::ReceiverNone, Warning, "receivers", "no receiver is configured", why);
        return vec![
            finding.fix("the relay's command line", "--remote-write http://HOST:8428/api/v1/write"),
        ];
    }
    evidence.receivers.iter().flat_map(of_receiver).collect()
}

fn of_receiver(receiver: &ReceiverLook) -> Vec<Finding> {
    match &receiver.answer {
        None => Vec::new(),
        Some(Err(trouble)) => vec![troubled(receiver, trouble)],
        Some(Ok(answer)) => {
            answered(receiver, answer).into_iter().chain(skewed(receiver, answer)).collect()
        }
    }
}

/// With the name where the configuration gives it one; otherwise it is a part of the URL.
pub(super) fn subject(receiver: &ReceiverLook) -> String {
    let (name, url) = (&receiver.config.name, &receiver.config.url);
    match url.to_string().contains(name) {
        true => url.to_string(),
        false => format!("{url} ({name})"),
    }
}

fn troubled(receiver: &ReceiverLook, trouble: &Trouble) -> Finding {
    let url = &receiver.config.url;
    let (host, port) = (url.host().unwrap_or_default(), port(url));
    let finding = |id, why: &str| Finding::new(id, Problem, subject(receiver), &trouble.words, why);
    match trouble.kind {
        TroubleKind::Dns => finding(Id::ReceiverDns, "without an address nothing can be sent; samples wait and are sent when there is one")
            .fix("where the relay runs: the same question", format!("getent ahosts {host}")),
        TroubleKind::Refused => finding(Id::ReceiverRefused, "no process listens there: the receiver is down, or has another port")
            .fix("the relay's command line: the port of the receiver (VictoriaMetrics 8428, vminsert 8480, Prometheus 9090, Mimir 8080 or 9009, Thanos 19291)",
                format!("--remote-write {}://{host}:PORT{}", url.scheme_str().unwrap_or("http"), url.path())),
        TroubleKind::Silent | TroubleKind::Unreachable | TroubleKind::Hangs => {
            let why = match trouble.kind {
                TroubleKind::Silent => "a firewall, security group or network policy swallows the packets, or the host is down",
                TroubleKind::Hangs => "it accepts connections and says nothing: it is overloaded, or not a receiver",
                _ => "the network has no way to that address from here",
            };
            finding(Id::ReceiverUnreachable, why)
                .fix("the firewall or network policy in between: let the relay out", format!("allow TCP {port} to {host}"))
        }
        TroubleKind::Closed => finding(Id::ReceiverUnreachable, "the connection ends before an answer: no HTTP there, or TLS is wanted")
            .fix("the relay's command line: the other scheme", format!("--remote-write {}", other_scheme(url))),
        TroubleKind::Tls => tls(receiver, trouble),
        TroubleKind::Proxy => finding(Id::ReceiverProxy, "requests go through a proxy, which did not let this one through")
            .fix("the relay's remote_write, or the variable NO_PROXY: go straight there", format!("no_proxy: {host}"))
            .fix("or, when the proxy wants a login", "proxy_url: http://USER:PASSWORD@PROXY:3128"),
        TroubleKind::Secret => secret(receiver, trouble),
    }
}

/// A file, or who gives tokens or keys out.
fn secret(receiver: &ReceiverLook, trouble: &Trouble) -> Finding {
    let why = "without its credential nothing is sent; samples wait until it is there";
    let finding = Finding::new(Id::ReceiverSecret, Problem, subject(receiver), &trouble.words, why);
    let (place, line) = if trouble.words.contains("no token") {
        (
            "the relay's remote_write: what the token server wants",
            "oauth2: {client_id: ID, client_secret_file: FILE, token_url: URL}",
        )
    } else if trouble.words.contains("AWS") {
        (
            "the relay's remote_write, or AWS' own variables",
            "sigv4: {region: REGION, role_arn: ARN}",
        )
    } else {
        ("where the relay runs", "mount the file, or give its user the right to read it")
    };
    finding.fix(place, line)
}

/// By the words of the TLS library, whose names of faults are stable.
fn tls(receiver: &ReceiverLook, trouble: &Trouble) -> Finding {
    let url = &receiver.config.url;
    let words = &trouble.words;
    let has = |word: &str| words.contains(word);
    let place = "the relay's remote_write";
    let (why, place, line) = if has("UnknownIssuer")
        || has("BadSignature")
        || has("CaUsedAsEndEntity")
    {
        (
            "its certificate is signed by an authority that is not trusted here",
            place,
            "tls_config: {ca_file: /etc/flinkrelay/ca.pem}".to_owned(),
        )
    } else if has("NotValidForName") {
        (
            "its certificate is for another name than the one in the URL",
            place,
            "tls_config: {server_name: NAME_IN_THE_CERTIFICATE}".to_owned(),
        )
    } else if has("NotValidYet") {
        (
            "its certificate is not valid yet, or this machine's clock is behind",
            "this machine",
            "timedatectl set-ntp true".to_owned(),
        )
    } else if has("Expired") {
        (
            "its certificate has expired, or this machine's clock is ahead",
            "the receiver: renew its certificate; it is seen here by",
            format!(
                "openssl s_client -connect {}:{} </dev/null | openssl x509 -noout -dates",
                url.host().unwrap_or_default(),
                port(url)
            ),
        )
    } else if has("InvalidMessage") || has("speak TLS") || has("corrupt message") {
        (
            "that port speaks plain HTTP, not TLS",
            "the relay's command line",
            format!("--remote-write {}", other_scheme(url)),
        )
    } else if has("CertificateRequired") || has("HandshakeFailure") || has("fatal alert") {
        ("it wants a certificate of the client, or other TLS versions", place, "tls_config: {cert_file: /etc/flinkrelay/client.pem, key_file: /etc/flinkrelay/client-key.pem}".to_owned())
    } else {
        (
            "both sides could not agree on TLS",
            place,
            "tls_config: {ca_file: /etc/flinkrelay/ca.pem}".to_owned(),
        )
    };
    Finding::new(Id::ReceiverTls, Problem, subject(receiver), words, why).fix(place, line)
}

fn answered(receiver: &ReceiverLook, answer: &Answer) -> Option<Finding> {
    let words = answer.words.to_lowercase();
    let has = |word: &str| words.contains(word);
    let url = &receiver.config.url;
    let finding = |id, why: &str| Finding::new(id, Problem, subject(receiver), &answer.words, why);
    let wants_2_0 = receiver.config.protobuf_message == Wanted::Only(Message::V2);
    let tenant_missing = has("no org id") || has("x-scope-orgid") || has("missing tenant");
    Some(match answer.status {
        200..=299 if wants_2_0 && !answer.tells_written => {
            let seen = format!("HTTP {} to remote write 2.0, without saying how many samples were written", answer.status);
            let why = "a receiver that understands 2.0 says so; this one takes it for 1.0, finds it empty and throws it away";
            message(Finding::new(Id::ReceiverMessage, Problem, subject(receiver), seen, why))
        }
        200..=299 => return None,
        300..=399 => {
            let seen = format!("{} to {}", answer.words, answer.location);
            let why = "redirects of a POST are not followed: they lead to login pages, or from http to https";
            let line = if answer.location.is_empty() { other_scheme(url) } else { answer.location.clone() };
            Finding::new(Id::ReceiverRedirect, Problem, subject(receiver), seen, why)
                .fix("the relay's command line: the address itself", format!("--remote-write {line}"))
        }
        400..=403 if tenant_missing => {
            finding(Id::ReceiverTenant, "it has several tenants and does not know whose samples these are")
                .fix("the relay's command line", "--tenant NAME")
                .fix("or its remote_write", "tenant: NAME")
                .fix("or, for a Mimir with one tenant only, Mimir's configuration", "multitenancy_enabled: false")
        }
        401 | 403 | 407 => finding(Id::ReceiverCredentials, "samples are refused until the credentials are right, and lost unless `on_status` says otherwise")
            .fix("the relay's remote_write, with a token", "authorization: {credentials_file: /run/secrets/token}")
            .fix("or with a password", "basic_auth: {username: NAME, password_file: /run/secrets/password}")
            .fix("and to lose nothing while they are wrong", "on_status: {401: park, 403: park}"),
        404 if has("remote write receiver needs to be enabled") => {
            finding(Id::ReceiverSwitchedOff, "Prometheus takes samples only when it is told to")
                .fix("Prometheus' command line", "--web.enable-remote-write-receiver")
        }
        404 | 405 => finding(Id::ReceiverPath, "no receiver of remote write is at this path, and what is sent there is lost").fixes(paths(url, answer)),
        400 if has("unsupported path") => {
            finding(Id::ReceiverPath, "no receiver of remote write is at this path, and what is sent there is lost").fixes(paths(url, answer))
        }
        415 => message(finding(Id::ReceiverMessage, "it does not understand the message that it is sent")),
        429 => Finding { severity: Warning, ..finding(Id::ReceiverFails, "it limits the rate; samples wait and are sent again")
            .fix("the receiver: raise the limit of this tenant (Mimir's name for it)", "ingestion_rate: 50000") },
        400 if !receiver.with_sample && ["empty", "no data", "no time series", "no samples"].into_iter().any(has) => {
            let why = "it refuses the empty request that doctor sends so as to write nothing; samples may be taken all the same";
            Finding { severity: Warning, ..finding(Id::ReceiverRefuses, why).fix("to know for certain, with one sample", "flinkrelay doctor --send-sample …") }
        }
        500..=599 => finding(Id::ReceiverFails, "it, or a proxy in front of it, is in trouble; samples wait and are sent again")
            .fix("the receiver's own log, at this time", format!("curl -sv -X POST {}{}", origin(url), url.path())),
        _ => finding(Id::ReceiverRefuses, "what a receiver refuses is lost; its words say why")
            .fix("the relay's remote_write, so that one bad series does not cost a batch", "on_status: {400: bisect}"),
    })
}

fn message(finding: Finding) -> Finding {
    finding.fix(
        "the relay's remote_write: let the relay find out what is understood",
        "protobuf_message: auto",
    )
}

fn skewed(receiver: &ReceiverLook, answer: &Answer) -> Option<Finding> {
    let (there, here) = answer.clocks_ms?;
    // The date has whole seconds: the clock itself is half a second later on average.
    let skew_ms = there + 500 - here;
    if skew_ms.abs() < clock::NOTICED_MS {
        return None;
    }
    let severity = if skew_ms.abs() >= clock::HARMFUL_MS { Problem } else { Warning };
    let why = if skew_ms > 0 {
        "samples carry this machine's time: they are too old for alerts and graphs of the last minutes, and \
         receivers may refuse them as too old"
    } else {
        "samples carry this machine's time: they lie in the receiver's future, which Mimir refuses beyond ten \
         minutes, and what comes after the clock was set right is refused as out of order"
    };
    let seen = clock::skew("the receiver's clock", skew_ms);
    let finding = Finding::new(Id::ReceiverClock, severity, subject(receiver), seen, why);
    Some(clock::remedy(finding))
}

/// URLs that may have been meant: one where port or words tell the product, else one of each.
fn paths(url: &Uri, answer: &Answer) -> Vec<Fix> {
    const PRODUCTS: [(&str, &[u16], &str); 5] = [
        ("VictoriaMetrics, vmagent", &[8428, 8429], "/api/v1/write"),
        ("VictoriaMetrics cluster (vminsert)", &[8480], "/insert/0/prometheus/api/v1/write"),
        ("Prometheus, started with --web.enable-remote-write-receiver", &[9090], "/api/v1/write"),
        ("Mimir, Cortex (Grafana Cloud: /api/prom/push)", &[8080, 9009], "/api/v1/push"),
        ("Thanos Receive", &[19291, 10908], "/api/v1/receive"),
    ];
    let by_port = |ports: &[u16]| ports.contains(&port(url));
    let by_words = |name: &str| answer.is_victoria && name.starts_with("VictoriaMetrics");
    // What was asked already is no advice.
    let others = PRODUCTS.into_iter().filter(|(.., path)| *path != url.path());
    let line = |(name, _, path)| {
        Fix::new(
            format!("the relay's command line, for {name}"),
            format!("--remote-write {}{path}", origin(url)),
        )
    };
    let sure: Vec<_> = others
        .clone()
        .filter(|(name, ports, _)| by_port(ports) || by_words(name))
        .map(line)
        .collect();
    if sure.is_empty() { others.map(line).collect() } else { sure }
}

fn origin(url: &Uri) -> String {
    format!(
        "{}://{}",
        url.scheme_str().unwrap_or("http"),
        url.authority().map_or("", |a| a.as_str())
    )
}

fn other_scheme(url: &Uri) -> String {
    let text = url.to_string();
    match text.strip_prefix("https://") {
        Some(rest) => format!("http://{rest}"),
        None => text.replacen("http://", "https://", 1),
    }
}

pub(super) fn port(url: &Uri) -> u16 {
    let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
    url.port_u16().unwrap_or(default)
}
