//! Each receiver: one request, made and sent as a batch is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt as _, stream};
use hyper::header;
use tokio::time::Instant;

use super::{ANSWER_MAX, CONNECT_MAX, LOOKS_IN_FLIGHT, trouble, unreached};
use crate::{
    config::{Config, Receiver},
    doctor::{
        evidence::{Answer, ReceiverLook, Trouble, TroubleKind},
        letter,
    },
    http::{BuildError, Client, reach},
    push::{Knocked, knock},
    relay::{Relay, now_ms},
    remote_write::{Message, SAMPLES_WRITTEN, Wanted},
};

/// Looks at all receivers.
///
/// # Errors
/// TLS files or headers that cannot be used.
pub(super) async fn look(
    config: &Config,
    relay: &Relay,
    with_sample: bool,
    until: Instant,
) -> Result<Vec<ReceiverLook>, BuildError> {
    let mut looks = Vec::new();
    for (receiver, view) in relay.views() {
        let limit = receiver.timeout.min(ANSWER_MAX * 2);
        let client = Client::new(&receiver.http, limit)?;
        looks.push((receiver, view, client, limit));
    }
    let looks = looks.into_iter().map(async |(receiver, view, client, limit)| {
        let labels: Vec<_> = config.external_labels.clone().into_iter().collect();
        let sample = with_sample.then_some(&labels[..]);
        let asked = ask(&client, &receiver, sample, limit);
        let answer = tokio::time::timeout_at(until, asked).await.ok();
        let proxy = client.proxy_for(&receiver.url).map(|proxy| proxy.to_string());
        ReceiverLook { config: receiver, view, proxy, with_sample, answer }
    });
    Ok(stream::iter(looks).buffered(LOOKS_IN_FLIGHT).collect().await)
}

async fn ask(
    client: &Client,
    receiver: &Receiver,
    sample: Option<&[(String, String)]>,
    limit: Duration,
) -> Result<Answer, Trouble> {
    let proxy = client.proxy_for(&receiver.url);
    if proxy.is_none() {
        let reached = reach(&receiver.url, CONNECT_MAX).await;
        unreached(reached, CONNECT_MAX).map_or(Ok(()), Err)?;
    }
    // 1.0 is what every receiver takes; only who insists on 2.0 would never send it.
    let message = match receiver.protobuf_message {
        Wanted::Only(message) => message,
        Wanted::Auto => Message::V1,
    };
    let body = letter::body(message, sample.map(|labels| (labels, now_ms())));
    match knock(client, receiver, message, body, limit).await {
        Some(Ok(knocked)) => Ok(answer(knocked)),
        Some(Err(error)) => Err(trouble(&error, proxy.as_ref())),
        None => {
            let words = format!("no answer within {} s", limit.as_secs_f64());
            Err(Trouble { kind: TroubleKind::Hangs, words })
        }
    }
}

fn answer(knocked: Knocked) -> Answer {
    let Knocked { status, headers, words, clocks } = knocked;
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    Answer {
        status,
        words,
        location: location.unwrap_or_default().to_owned(),
        tells_written: headers.contains_key(SAMPLES_WRITTEN),
        is_victoria: headers.contains_key("x-server-hostname"),
        clocks_ms: clocks.map(|(there, here)| (millis(there), millis(here))),
    }
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
