//! A receiver of remote write that holds the sender to the protocol.
//!
//! Every request is decoded and checked, refused ones included: headers, snappy, protobuf, symbols,
//! label order, names, duplicates, and over all accepted requests the order of each series' samples.
//! What is wrong is told when the test looks at what was received.
//!
//! It understands 1.0 and 2.0 unless it is one of 1.0 alone ([`FakeReceiver::of_1_0`]).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Instant,
};

use flinkrelay::{
    labels::Labels,
    remote_write::{
        Encoding, Message, SAMPLES_WRITTEN,
        proto::{Label, MetricMetadata, TimeSeries, WriteRequest},
        proto_v2,
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

/// What a receiver of 1.0 answers to 2.0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Old {
    /// It takes it for 1.0, finds it empty, and answers 204.
    Silent,
    /// It answers this status.
    Refuses(u16),
}

struct State {
    script: Script,
    /// `None` when it understands both messages.
    old: Option<Old>,
    /// What it answers to zstd; `None` when it takes that.
    refuses_zstd: Option<u16>,
    accepted: Vec<Write>,
    tries: Vec<Write>,
    newest_ms: HashMap<String, i64>,
    faults: Vec<String>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) request: Request,
    pub(crate) message: Message,
    pub(crate) encoding: Encoding,
    /// None when the receiver did not understand the message.
    pub(crate) samples: Vec<Sample>,
    /// As they came in 1.0. In 2.0 those of its series, under the names of these.
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
    /// When its counter began, as told in 2.0; 0 when not.
    pub(crate) start_ms: i64,
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
            old: None,
            refuses_zstd: None,
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

    /// Takes everything, in 1.0 alone.
    pub(crate) async fn of_1_0(old: Old) -> Self {
        let receiver = Self::start().await;
        receiver.set_old(Some(old));
        receiver
    }

    /// From the next request on it understands 1.0 alone, or both.
    pub(crate) fn set_old(&self, old: Option<Old>) {
        self.state.lock().unwrap().old = old;
    }

    /// It does not know VictoriaMetrics' zstd and answers this status to it.
    pub(crate) fn refuse_zstd(&self, status: u16) {
        self.state.lock().unwrap().refuses_zstd = Some(status);
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

    /// Waits until what a relay that was killed has sent last is answered: it might be taken for the next
    /// one's.
    pub(crate) async fn quiet(&self) {
        self.server.quiet().await;
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
        let (message, encoding) = self.check_head(&request);
        let (at, number, samples, metadata) =
            (Instant::now(), self.tries.len(), Vec::new(), Vec::new());
        let mut write = Write { request, message, encoding, samples, metadata, at, number };
        if let (Message::V2, Some(old)) = (message, self.old) {
            self.tries.push(write);
            return match old {
                Old::Silent => Answer::new(204, &[], ""),
                Old::Refuses(status) => Answer::words(status, "what is this?"),
            };
        }
        if let (Encoding::Zstd, Some(status)) = (encoding, self.refuses_zstd) {
            self.tries.push(write);
            return Answer::words(status, "cannot decompress");
        }
        let mut starts = Vec::new();
        let decoded = decompress(&write.request.body, encoding)
            .map_err(|error| error.to_string())
            .and_then(|raw| match message {
                Message::V1 => WriteRequest::decode(&*raw).map_err(|error| error.to_string()),
                Message::V2 => proto_v2::Request::decode(&*raw)
                    .map_err(|error| error.to_string())
                    .map(|request| {
                        let samples = request.timeseries.iter().flat_map(|series| &series.samples);
                        starts = samples.map(|sample| sample.start_timestamp).collect();
                        self.spelt_out(&request)
                    }),
            });
        let decoded = decoded.unwrap_or_else(|error| {
            self.faults.push(format!("undecodable body: {error}"));
            WriteRequest::default()
        });
        write.samples =
            decoded.timeseries.iter().flat_map(|series| self.read_series(series)).collect();
        for (sample, start_ms) in write.samples.iter_mut().zip(starts) {
            sample.start_ms = start_ms;
        }
        write.metadata = decoded.metadata;
        if write.samples.is_empty() && write.metadata.is_empty() {
            self.faults.push("an empty request".to_owned());
        }
        let mut places = HashSet::new();
        for sample in &write.samples {
            if !places.insert((&sample.series, sample.timestamp_ms)) {
                self.faults.push(format!("twice at one time: {}", sample.series));
            }
        }
        self.tries.push(write.clone());
        let answer = (self.script)(&write);
        if !answer.status.is_some_and(|status| (200..300).contains(&status)) {
            return answer;
        }
        let samples = write.samples.len().to_string();
        self.accept(write);
        match message {
            Message::V1 => answer,
            Message::V2 => answer.with_header(SAMPLES_WRITTEN, &samples),
        }
    }

    /// A request of 2.0 as one of 1.0, and what is wrong with its symbols.
    fn spelt_out(&mut self, request: &proto_v2::Request) -> WriteRequest {
        let symbols = &request.symbols;
        if symbols.first().map(String::as_str) != Some("") {
            self.faults.push(format!("the first symbol is not empty: {symbols:?}"));
        }
        if symbols.iter().collect::<HashSet<_>>().len() != symbols.len() {
            self.faults.push(format!("a symbol stands twice: {symbols:?}"));
        }
        let mut spelt_out = WriteRequest::default();
        for series in &request.timeseries {
            let text = |at: u32| symbols.get(at as usize).cloned();
            let pairs = series.labels_refs.chunks(2).map(|pair| match *pair {
                [name, value] => Some(Label { name: text(name)?, value: text(value)? }),
                _ => None,
            });
            let about = series.metadata.unwrap_or_default();
            let (Some(labels), Some(help), Some(unit)) =
                (pairs.collect::<Option<Vec<_>>>(), text(about.help_ref), text(about.unit_ref))
            else {
                self.faults.push(format!("a number points nowhere: {series:?}"));
                continue;
            };
            let name = labels.iter().find(|label| label.name == "__name__");
            spelt_out.metadata.push(MetricMetadata {
                r#type: about.r#type,
                metric_family_name: name.map(|label| label.value.clone()).unwrap_or_default(),
                help,
                unit,
            });
            let samples = series.samples.iter().map(|sample| {
                let (value, timestamp) = (sample.value, sample.timestamp);
                flinkrelay::remote_write::proto::Sample { value, timestamp }
            });
            spelt_out.timeseries.push(TimeSeries { labels, samples: samples.collect() });
        }
        spelt_out.metadata.dedup_by(|a, b| a.metric_family_name == b.metric_family_name);
        spelt_out
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

    fn check_head(&mut self, request: &Request) -> (Message, Encoding) {
        let is = |message: &Message| request.header("content-type") == Some(message.content_type());
        let message = Message::ALL.into_iter().find(is).unwrap_or_default();
        let zstd = request.header("content-encoding") == Some("zstd") && message == Message::V1;
        let encoding = if zstd { Encoding::Zstd } else { Encoding::Snappy };
        let (version_name, version) = encoding.version(message);
        let length = request.body.len().to_string();
        for (header, expected) in [
            ("content-type", message.content_type()),
            ("content-encoding", encoding.name()),
            (version_name, version),
            ("user-agent", concat!("flinkrelay/", env!("CARGO_PKG_VERSION"))),
            ("content-length", &length),
        ] {
            let found = request.header(header);
            if found != Some(expected) {
                self.faults.push(format!("{header} is {found:?}, expected {expected:?}"));
            }
        }
        // A query is the test's own.
        let path = request.target.split('?').next().unwrap_or_default();
        let line = format!("{} {path}", request.method);
        if line != "POST /api/v1/write" {
            self.faults.push(line);
        }
        (message, encoding)
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
            start_ms: 0,
            bits: sample.value.to_bits(),
        };
        series.samples.iter().map(sample).collect()
    }
}

fn decompress(body: &[u8], encoding: Encoding) -> std::io::Result<Vec<u8>> {
    match encoding {
        Encoding::Snappy => {
            snap::raw::Decoder::new().decompress_vec(body).map_err(std::io::Error::other)
        }
        Encoding::Zstd => zstd::decode_all(body),
    }
}

fn is_name(name: &str, besides: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || besides.contains(c);
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(allowed)
}
