//! A receiver of remote write 1.0 that holds the sender to the protocol.
//!
//! Every request is decoded and checked, refused ones included: headers, snappy, protobuf, label
//! order, names, duplicates, and over all accepted requests the order of each series' samples. What
//! is wrong is told when the test looks at what was received.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Instant,
};

use flinkrelay::{
    labels::Labels,
    remote_write::{
        proto::{MetricMetadata, TimeSeries, WriteRequest},
        v1::STALE_NAN,
    },
};
use prost::Message as _;
use tokio_rustls::TlsAcceptor;

use super::http::{Answer, Request, Server};

type Script = Box<dyn FnMut(&Write) -> Answer + Send>;

/// A scripted receiver.
pub(crate) struct FakeReceiver {
    server: Server,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
}

struct State {
    script: Script,
    accepted: Vec<Write>,
    tries: Vec<Write>,
    newest_ms: HashMap<String, i64>,
    faults: Vec<String>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) request: Request,
    pub(crate) samples: Vec<Sample>,
    pub(crate) metadata: Vec<MetricMetadata>,
    pub(crate) at: Instant,
    /// The how manieth try it is, from 0, of any body.
    pub(crate) number: usize,
}

/// One sample.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// `name{a="b"}`
    pub(crate) series: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
    bits: u64,
}

impl Sample {
    /// The value of a label, empty when there is none.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The metric's name.
    pub(crate) fn name(&self) -> &str {
        self.label("__name__")
    }

    /// Whether it is a staleness marker, by its bits.
    pub(crate) fn is_stale(&self) -> bool {
        self.bits == STALE_NAN
    }
}

impl FakeReceiver {
    /// Takes everything.
    pub(crate) async fn start() -> Self {
        Self::with_script(|_| Answer::new(204, &[], "")).await
    }

    /// Answers what the script says; a request is taken when that is a 2xx.
    pub(crate) async fn with_script(script: impl FnMut(&Write) -> Answer + Send + 'static) -> Self {
        Self::serve(None, script).await
    }

    /// Takes everything, over TLS.
    pub(crate) async fn with_tls(tls: TlsAcceptor) -> Self {
        Self::serve(Some(tls), |_| Answer::new(204, &[], "")).await
    }

    async fn serve(
        tls: Option<TlsAcceptor>,
        script: impl FnMut(&Write) -> Answer + Send + 'static,
    ) -> Self {
        let state = Arc::new(Mutex::new(State {
            script: Box::new(script),
            accepted: Vec::new(),
            tries: Vec::new(),
            newest_ms: HashMap::new(),
            faults: Vec::new(),
        }));
        let of_server = Arc::clone(&state);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server =
            Server::start(0, tls, move |request| of_server.lock().unwrap().answer(request));
        Self { server: server.await, scheme, state }
    }

    /// Where to post. By name, as certificates want it.
    pub(crate) fn url(&self) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}/api/v1/write", self.scheme, self.server.address.port())
    }

    /// Changes the answers from the next request on.
    pub(crate) fn set(&self, script: impl FnMut(&Write) -> Answer + Send + 'static) {
        self.state.lock().unwrap().script = Box::new(script);
    }

    /// The requests that were taken.
    #[track_caller]
    pub(crate) fn accepted(&self) -> Vec<Write> {
        self.look(|state| state.accepted.clone())
    }

    /// All requests.
    #[track_caller]
    pub(crate) fn tries(&self) -> Vec<Write> {
        self.look(|state| state.tries.clone())
    }

    /// The samples that were taken, in their order.
    #[track_caller]
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.look(|state| state.accepted.iter().flat_map(|write| write.samples.clone()).collect())
    }

    /// The samples of one metric that were taken, in their order, markers included.
    #[track_caller]
    pub(crate) fn samples_of(&self, name: &str) -> Vec<Sample> {
        let mut samples = self.samples();
        samples.retain(|sample| sample.name() == name);
        samples
    }

    /// The receiver dies.
    pub(crate) async fn kill(self) {
        self.server.stop().await;
    }

    #[track_caller]
    fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        let state = self.state.lock().unwrap();
        assert!(state.faults.is_empty(), "the sender broke the protocol: {:#?}", state.faults);
        at(&state)
    }
}

impl State {
    fn answer(&mut self, request: Request) -> Answer {
        self.check_head(&request);
        let decoded = snap::raw::Decoder::new()
            .decompress_vec(&request.body)
            .map_err(|error| error.to_string())
            .and_then(|raw| WriteRequest::decode(&*raw).map_err(|error| error.to_string()));
        let decoded = decoded.unwrap_or_else(|error| {
            self.faults.push(format!("undecodable body: {error}"));
            WriteRequest::default()
        });
        let samples: Vec<_> =
            decoded.timeseries.iter().flat_map(|series| self.read_series(series)).collect();
        if samples.is_empty() && decoded.metadata.is_empty() {
            self.faults.push("an empty request".to_owned());
        }
        let mut places = HashSet::new();
        for sample in &samples {
            if !places.insert((&sample.series, sample.timestamp_ms)) {
                self.faults.push(format!("twice at one time: {}", sample.series));
            }
        }
        let (metadata, at, number) = (decoded.metadata, Instant::now(), self.tries.len());
        let write = Write { request, samples, metadata, at, number };
        self.tries.push(write.clone());
        let answer = (self.script)(&write);
        if answer.status.is_some_and(|status| (200..300).contains(&status)) {
            self.accept(write);
        }
        answer
    }

    fn accept(&mut self, write: Write) {
        for sample in &write.samples {
            let newest = self.newest_ms.entry(sample.series.clone()).or_insert(i64::MIN);
            if sample.timestamp_ms <= *newest {
                let (series, at) = (&sample.series, sample.timestamp_ms);
                self.faults.push(format!("{series}: {at} comes after {newest}"));
            }
            *newest = sample.timestamp_ms;
        }
        self.accepted.push(write);
    }

    fn check_head(&mut self, request: &Request) {
        let length = request.body.len().to_string();
        for (header, expected) in [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            ("user-agent", concat!("flinkrelay/", env!("CARGO_PKG_VERSION"))),
            ("content-length", &length),
        ] {
            let found = request.header(header);
            if found != Some(expected) {
                self.faults.push(format!("{header} is {found:?}, expected {expected:?}"));
            }
        }
        let line = format!("{} {}", request.method, request.target);
        if line != "POST /api/v1/write" {
            self.faults.push(line);
        }
    }

    fn read_series(&mut self, series: &TimeSeries) -> Vec<Sample> {
        let mut faults = Vec::new();
        let names: Vec<_> = series.labels.iter().map(|label| label.name.as_str()).collect();
        if !names.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()) {
            faults.push("labels out of order or twice");
        }
        if !names.iter().all(|name| is_name(name, "_")) {
            faults.push("a bad label name");
        }
        if series.labels.iter().any(|label| label.value.is_empty()) {
            faults.push("a label without a value");
        }
        let labels: BTreeMap<String, String> =
            series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
        if !labels.get("__name__").is_some_and(|name| is_name(name, "_:")) {
            faults.push("a bad metric name");
        }
        if series.samples.len() != 1 {
            faults.push("not one sample");
        }
        self.faults.extend(faults.into_iter().map(|fault| format!("{fault}: {series:?}")));
        let text = series.labels.iter().map(|label| (&*label.name, &*label.value));
        let text = text.collect::<Labels<'_>>().to_string();
        let sample = |sample: &flinkrelay::remote_write::proto::Sample| Sample {
            series: text.clone(),
            labels: labels.clone(),
            timestamp_ms: sample.timestamp,
            value: sample.value,
            bits: sample.value.to_bits(),
        };
        series.samples.iter().map(sample).collect()
    }
}

fn is_name(name: &str, besides: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || besides.contains(c);
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(allowed)
}
