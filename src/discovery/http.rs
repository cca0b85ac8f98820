//! `http_sd_configs`: a list of targets that somebody serves.
//!
//! Asked at each `refresh_interval`, which is told in `X-Prometheus-Refresh-Interval-Seconds`; the answer
//! is taken when it is whole, its status 200, and its type JSON. The whole list counts, each time.
//! Source: Prometheus' `discovery/http/http.go`.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::{
    Group,
    fetch::{Question, get},
    lists::{self, Format},
    source::{Report, refresh},
};
use crate::{
    config::HttpSd,
    http::{BuildError, Client, without_query},
    limits::LIST_BYTES_MAX,
};

/// The server of one entry.
#[derive(Debug)]
pub struct Lists {
    client: Client,
    question: Question,
    refresh_interval: Duration,
}

impl Lists {
    /// A client for an entry; nothing is asked yet.
    ///
    /// # Errors
    /// TLS files or headers that cannot be used.
    pub fn new(config: &HttpSd) -> Result<Self, BuildError> {
        let timeout = config.refresh_interval.min(ANSWER_TIME_MAX);
        let seconds = config.refresh_interval.as_secs_f64().to_string();
        let interval = HeaderValue::try_from(seconds).ok();
        let name = HeaderName::from_static("x-prometheus-refresh-interval-seconds");
        let question = Question {
            url: config.url.clone(),
            accept: "application/json",
            header: interval.map(|interval| (name, interval)),
            timeout,
            bytes_max: LIST_BYTES_MAX,
            cut: false,
        };
        let client = Client::new(&config.http, timeout)?;
        Ok(Self { client, question, refresh_interval: config.refresh_interval })
    }

    pub(super) async fn run(&self, report: &Report) {
        refresh(report, || self.ask(), self.refresh_interval).await;
    }

    async fn ask(&self) -> Result<Vec<Group>, String> {
        let answer = get(&self.client, &self.question).await.map_err(|error| error.to_string())?;
        let url = without_query(&self.question.url);
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default();
        if !is_json(kind) {
            return Err(format!("{url}: the content type is `{kind}`, not application/json"));
        }
        let text = str::from_utf8(&answer.body).map_err(|_| format!("{url}: not UTF-8"))?;
        let mut groups = lists::read(text, Format::Json).map_err(|e| format!("{url}:{e}"))?;
        for group in &mut groups {
            group.labels.set("__meta_url", self.question.url.to_string());
        }
        Ok(groups)
    }
}

/// As Prometheus decides it: other parameters than UTF-8 are refused.
fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("application/json") else { return false };
    rest.is_empty()
        || rest.strip_prefix(';').is_some_and(|parameters| {
            matches!(parameters.trim_start(), "charset=utf-8" | "charset=\"utf-8\"")
        })
}

/// Longest time for a whole answer; the refresh interval when that is shorter.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_are_json() {
        for kind in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(is_json(kind), "{kind}");
        }
        for kind in ["", "text/plain", "application/jsonp", "application/json; charset=latin1"] {
            assert!(!is_json(kind), "{kind}");
        }
    }
}
