//! `remote_write`.

use std::time::Duration;

use hyper::Uri;

use super::{
    Checker,
    client::{Side, TENANT_HEADER, client_keys},
};
use crate::{
    config::{
        Drain, HttpClient, Metadata, PromDuration, Queue, Receiver, Secret,
        raw::{RawMetadata, RawQueue, RawReceiver},
        value::{At, Origin, Pairs, Scalar},
    },
    remote_write::{Action, Encoding, Message, StatusPolicy, Statuses, Wanted},
};

const EXAMPLE: &str = "expected one such as http://victoria-metrics:8428/api/v1/write";
const REMOTE_TIMEOUT: Duration = Duration::from_secs(30);
/// Samples of a request unless `max_samples_per_send` says otherwise. As vmagent's `maxRowsPerBlock`: a receiver's work for a request is shared by five times as many samples as with
/// Prometheus' 2,000.
pub const MAX_SAMPLES_PER_SEND: u32 = 10_000;
/// Above it the compressed body outgrows what receivers accept.
const SAMPLES_PER_SEND_LIMIT: u32 = 1_000_000;
const BATCH_SEND_DEADLINE: Duration = Duration::from_secs(5);
const MIN_SHARDS: u16 = 1;
const MAX_SHARDS: u16 = 4;
/// Each shard may hold a connection.
const SHARDS_LIMIT: u16 = 1024;
const MAX_BYTES: u64 = 64 << 20;
/// The body of one batch has to fit.
const BYTES_LEAST: u64 = 1 << 20;
/// What is dropped when a spool on disk is full is a segment, of 256 KiB at least.
const DISK_BYTES_LEAST: u64 = 8 << 20;
const DRAINS: [(&str, Drain); 2] =
    [("oldest_first", Drain::OldestFirst), ("newest_first", Drain::NewestFirst)];
/// Twenty times what a cluster of a hundred TaskManagers makes; a receiver that has just come back takes it.
const BACKLOG_SAMPLES_PER_SECOND: u64 = 100_000;
const MIN_BACKOFF: Duration = Duration::from_millis(30);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
const METADATA_INTERVAL: Duration = Duration::from_secs(60);

impl Checker<'_> {
    pub(super) fn receivers(
        &mut self,
        raw: Option<At<Vec<At<RawReceiver>>>>,
        required: bool,
    ) -> Vec<Receiver> {
        let (list, origin) = match raw {
            Some(At { value, origin }) => (value, origin),
            None => (Vec::new(), Origin::Whole),
        };
        if list.is_empty() && required {
            self.note_with_help(
                origin,
                "there is no receiver: no remote_write and no --remote-write".to_owned(),
                "add `remote_write` with a `url`, or give --remote-write URL",
            );
        }
        let receivers: Vec<(Receiver, Named)> =
            list.iter().filter_map(|raw| self.receiver(raw)).collect();
        self.name(receivers)
    }

    fn receiver(&mut self, at: &At<RawReceiver>) -> Option<(Receiver, Named)> {
        let At { value: raw, origin } = at;
        if raw.url.is_none() {
            self.note(*origin, "the receiver has no `url`".to_owned());
        }
        let url = raw.url.as_ref().and_then(|url| self.url(url, EXAMPLE));
        let name = self.filled(raw.name.as_ref(), "name");
        let queue = self.queue(&raw.queue_config.clone().unwrap_or_default());
        let side = Side::Receiver { sigv4: raw.sigv4.as_ref(), lanes: queue.max_shards };
        let mut http = self.client(&client_keys!(raw), &side);
        self.tenant(raw.tenant.as_ref(), &mut http);
        let (protobuf_message, compression) = self.message(raw);
        let receiver = Receiver {
            name: String::new(),
            timeout: self.positive_duration(raw.remote_timeout.as_ref(), REMOTE_TIMEOUT),
            protobuf_message,
            compression,
            http,
            write_relabel_configs: self.rules(raw.write_relabel_configs.as_ref()),
            label_limit: self.number(raw.label_limit.as_ref(), 0..=u64::MAX, 0),
            label_name_length_limit: self.number(
                raw.label_name_length_limit.as_ref(),
                0..=u64::MAX,
                0,
            ),
            label_value_length_limit: self.number(
                raw.label_value_length_limit.as_ref(),
                0..=u64::MAX,
                0,
            ),
            cut_long_values: self.long_values(raw),
            on_status: self.on_status(raw),
            queue,
            metadata: self.metadata(&raw.metadata_config.clone().unwrap_or_default()),
            url: url?,
        };
        let place = raw.name.as_ref().or(raw.url.as_ref()).map_or(*origin, |key| key.origin);
        Some((receiver, Named { given: name, place }))
    }

    fn long_values(&mut self, raw: &RawReceiver) -> bool {
        self.choice(raw.long_label_values.as_ref(), &[("cut", true), ("drop", false)], true)
    }

    fn message(&mut self, raw: &RawReceiver) -> (Wanted, Encoding) {
        let message =
            self.choice(raw.protobuf_message.as_ref(), &Wanted::CHOICES, Wanted::default());
        let compression =
            self.choice(raw.compression.as_ref(), &Encoding::CHOICES, Encoding::default());
        if let (Some(scalar), Encoding::Zstd, Wanted::Only(Message::V2)) =
            (&raw.compression, compression, message)
        {
            self.note_with_help(
                scalar.origin,
                "remote write 2.0 is compressed with snappy and nothing else".to_owned(),
                "remove `protobuf_message`: zstd is VictoriaMetrics' variant of 1.0",
            );
        }
        (message, compression)
    }

    /// An absolute URL; `example` is shown when it is none.
    pub(super) fn url(&mut self, scalar: &Scalar, example: &str) -> Option<Uri> {
        let text = self.text(scalar)?;
        let lower = text.to_ascii_lowercase();
        // The text may hold a password, so it is not shown.
        let wrong = if text.is_empty() {
            Some(format!("the URL is empty: {example}"))
        } else if !lower.starts_with("http://") && !lower.starts_with("https://") {
            Some(format!("the URL must begin with http:// or https://: {example}"))
        } else if text.contains('#') {
            Some("the URL cannot have a fragment (`#…`)".to_owned())
        } else {
            match text.parse::<Uri>() {
                Err(error) => Some(format!("not a URL: {error}; {example}")),
                Ok(url) if url.authority().is_some_and(|host| host.as_str().contains('@')) => Some(
                    "a URL cannot hold a user or password: set `basic_auth` instead".to_owned(),
                ),
                Ok(url) if url.host().is_none_or(str::is_empty) => {
                    Some(format!("the URL has no host: {example}"))
                }
                Ok(url) if !has_good_port(&url) => {
                    Some("the port of the URL is not a number from 1 to 65535".to_owned())
                }
                Ok(url) => return Some(url),
            }
        };
        wrong.into_iter().for_each(|message| self.note(scalar.origin, message));
        None
    }

    fn tenant(&mut self, raw: Option<&Scalar>, http: &mut HttpClient) {
        let Some(scalar) = raw else { return };
        let Some(tenant) = self.filled(raw, "tenant") else { return };
        if http::HeaderValue::from_str(&tenant).is_err() {
            let message = "a tenant cannot hold line breaks or other control characters";
            self.note(scalar.origin, message.to_owned());
        }
        if http.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TENANT_HEADER)) {
            let message = format!("both a tenant and the header {TENANT_HEADER} are set");
            self.note_with_help(scalar.origin, message, "keep `tenant`, which sets that header");
        }
        http.headers.push((TENANT_HEADER.to_owned(), Secret::Inline(tenant)));
    }

    fn on_status(&mut self, raw: &RawReceiver) -> StatusPolicy {
        let mut policy = StatusPolicy::default();
        let too_many = Statuses::One(429);
        let queue = raw.queue_config.as_ref();
        let key_429 = queue.and_then(|queue| queue.retry_on_http_429.as_ref());
        if !self.boolean(key_429, true) {
            let set = policy.set(too_many, Action::Drop);
            set.expect("every status may be dropped");
        }
        for (key, value) in raw.on_status.iter().flat_map(|Pairs(pairs)| pairs) {
            let Some(statuses) = self.parsed::<Statuses>(Some(key)) else { continue };
            if statuses == too_many && key_429.is_some() {
                let message = "both `on_status` and `retry_on_http_429` say what 429 means";
                let help = "keep `on_status`, which can say more";
                self.note_with_help(key.origin, message.to_owned(), help);
            }
            let action = self.choice(Some(value), &Action::NAMES, Action::Retry);
            if let Err(error) = policy.set(statuses, action) {
                self.note(value.origin, error.to_string());
            }
        }
        policy
    }

    fn queue(&mut self, raw: &RawQueue) -> Queue {
        let min_backoff = self.positive_duration(raw.min_backoff.as_ref(), MIN_BACKOFF);
        let default = MAX_BACKOFF.max(min_backoff);
        let max_backoff = self.positive_duration(raw.max_backoff.as_ref(), default);
        if let (Some(scalar), true) = (&raw.max_backoff, max_backoff < min_backoff) {
            self.note(
                scalar.origin,
                format!(
                    "max_backoff, {}, is shorter than min_backoff, {}",
                    PromDuration(max_backoff),
                    PromDuration(min_backoff),
                ),
            );
        }
        let max_bytes = self.size(raw.max_bytes.as_ref(), MAX_BYTES);
        if let (Some(scalar), true, true) =
            (&raw.max_bytes, self.is_durable, max_bytes < DISK_BYTES_LEAST)
        {
            let message = "must be at least 8MiB with a data directory, room for its segments";
            self.note(scalar.origin, message.to_owned());
        } else if let (Some(scalar), true) = (&raw.max_bytes, max_bytes < BYTES_LEAST) {
            self.note(scalar.origin, "must be at least 1MiB, room for one batch".to_owned());
        }
        let max_shards = self.number(raw.max_shards.as_ref(), 1..=SHARDS_LIMIT, MAX_SHARDS);
        let min_shards =
            self.number(raw.min_shards.as_ref(), 1..=SHARDS_LIMIT, MIN_SHARDS.min(max_shards));
        if let (Some(scalar), true) = (&raw.min_shards, min_shards > max_shards) {
            let message = format!("min_shards, {min_shards}, is above max_shards, {max_shards}");
            self.note(scalar.origin, message);
        }
        let capacity = self.number(raw.capacity.as_ref(), 0..=u64::MAX, 0);
        // Who sets a small capacity has said enough.
        let samples_default = match u32::try_from(capacity) {
            Ok(capacity @ 1..) => capacity.min(MAX_SAMPLES_PER_SEND),
            _ => MAX_SAMPLES_PER_SEND,
        };
        Queue {
            max_samples_per_send: self.number(
                raw.max_samples_per_send.as_ref(),
                1..=SAMPLES_PER_SEND_LIMIT,
                samples_default,
            ),
            batch_send_deadline: self
                .positive_duration(raw.batch_send_deadline.as_ref(), BATCH_SEND_DEADLINE),
            min_shards,
            max_shards,
            max_bytes,
            capacity,
            sample_age_limit: self.duration(raw.sample_age_limit.as_ref(), Duration::ZERO),
            drain: self.choice(raw.drain.as_ref(), &DRAINS, Drain::OldestFirst),
            max_backlog_samples_per_second: self.number(
                raw.max_backlog_samples_per_second.as_ref(),
                0..=u64::MAX,
                BACKLOG_SAMPLES_PER_SECOND,
            ),
            min_backoff,
            max_backoff,
        }
    }

    fn metadata(&mut self, raw: &RawMetadata) -> Metadata {
        Metadata {
            send: self.boolean(raw.send.as_ref(), true),
            send_interval: self.positive_duration(raw.send_interval.as_ref(), METADATA_INTERVAL),
        }
    }

    /// Gives each receiver its name: the one that was typed, else `host:port`, else, when another
    /// receiver has that, `host:port/path`.
    fn name(&mut self, receivers: Vec<(Receiver, Named)>) -> Vec<Receiver> {
        let authority = |url: &Uri| match (url.host(), url.port_u16(), url.scheme_str()) {
            (host, Some(port), _) => format!("{}:{port}", host.unwrap_or_default()),
            (host, None, Some("https")) => format!("{}:443", host.unwrap_or_default()),
            (host, None, _) => format!("{}:80", host.unwrap_or_default()),
        };
        let short: Vec<String> = receivers
            .iter()
            .map(|(receiver, named)| {
                named.given.clone().unwrap_or_else(|| authority(&receiver.url))
            })
            .collect();
        let mut named: Vec<Receiver> = Vec::new();
        for ((mut receiver, Named { given, place }), short_name) in
            receivers.into_iter().zip(&short)
        {
            let shared = short.iter().filter(|other| *other == short_name).count() > 1;
            receiver.name = match given {
                None if shared => format!("{short_name}{}", receiver.url.path()),
                _ => short_name.clone(),
            };
            if named.iter().any(|other| other.name == receiver.name) {
                self.note_with_help(
                    place,
                    format!("there is another receiver with the name `{}`", receiver.name),
                    "give each its own `name`; it tells them apart in logs and metrics",
                );
            }
            named.push(receiver);
        }
        named
    }
}

/// Whether the port, if the URL has one, is a port. `Uri` takes any text for one.
pub(super) fn has_good_port(url: &Uri) -> bool {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = url.host().unwrap_or_default();
    match authority.strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => true,
    }
}

/// How a receiver is called, and where a clash is shown.
struct Named {
    given: Option<String>,
    place: Origin,
}
