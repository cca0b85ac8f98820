//! `flink.rest`.

use std::time::Duration;

use hyper::Uri;

use super::{
    Checker,
    client::{Side, client_keys},
};
use crate::config::{
    Rest, RestEndpoints,
    overrides::is_mode,
    raw::RawRest,
    value::{At, Form, Scalar},
};

/// Long, because names do not change; what is new on a page is asked for at once.
const POLL_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// A JobManager that takes longer has other troubles.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Enough for the handful of requests that a new job takes.
const HOLD: Duration = Duration::from_secs(5);
const EXAMPLE: &str = "expected one such as http://flink-jobmanager:8081";

impl Checker<'_> {
    pub(super) fn rest(&mut self, raw: Option<At<Form<RawRest>>>) -> Rest {
        let mut map = RawRest::default();
        match raw {
            None => {}
            Some(At { value: Form::Map(given), .. }) => map = given,
            Some(At { value: Form::List(list), origin }) => {
                map.urls = Some(At { value: list, origin });
            }
            Some(At { value: Form::Word(word), origin }) => {
                // YAML reads `off` as false.
                let word = if word == "false" { "off".to_owned() } else { word };
                let scalar = Scalar { value: word, origin };
                // `${VAR}` may stand for either.
                let is_mode = self.text(&scalar).is_none_or(|text| is_mode(&text));
                if is_mode || !scalar.value.contains([':', '/', '$']) {
                    map.mode = Some(scalar);
                } else {
                    map.urls = Some(At { value: vec![scalar], origin });
                }
            }
        }
        let pace = self.rest_pace(&map);
        Rest {
            endpoints: self.rest_endpoints(&map),
            http: self.client(&client_keys!(map), &Side::Target),
            ..pace
        }
    }

    fn rest_pace(&mut self, raw: &RawRest) -> Rest {
        Rest {
            endpoints: RestEndpoints::Off,
            poll_interval: self.positive_duration(raw.poll_interval.as_ref(), POLL_INTERVAL),
            timeout: self.positive_duration(raw.timeout.as_ref(), TIMEOUT),
            hold: self.duration(raw.hold.as_ref(), HOLD),
            http: Default::default(),
        }
    }

    fn rest_endpoints(&mut self, raw: &RawRest) -> RestEndpoints {
        const MODES: [(&str, bool); 2] = [("auto", true), ("off", false)];
        let is_on = self.choice(raw.mode.as_ref(), &MODES, true);
        let Some(At { value: urls, origin }) = &raw.urls else {
            return if is_on { RestEndpoints::Auto } else { RestEndpoints::Off };
        };
        if urls.is_empty() {
            self.note_with_help(
                *origin,
                "the list of REST URLs is empty".to_owned(),
                "leave the key out to find REST at the JobManagers, or set `mode: off`",
            );
        }
        let urls = urls.iter().filter_map(|url| self.rest_url(url)).collect();
        if is_on { RestEndpoints::Urls(urls) } else { RestEndpoints::Off }
    }

    fn rest_url(&mut self, scalar: &Scalar) -> Option<Uri> {
        let url = self.url(scalar, EXAMPLE)?;
        if url.query().is_some() {
            let message = "the URL of a REST API cannot have a query (`?…`)";
            self.note(scalar.origin, message.to_owned());
        }
        Some(url)
    }
}
