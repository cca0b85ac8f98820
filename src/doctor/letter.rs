//! What a receiver is sent so that it says what it thinks of this relay.
//!
//! Normally a request without any series: it passes names, networks, TLS, proxies, credentials, tenants,
//! the path and the decoding of the message, and writes nothing. Prometheus, VictoriaMetrics, Mimir,
//! Cortex and Thanos answer it with 2xx. On request one sample, [`METRIC`], which only then shows limits
//! of series and times.

use bytes::Bytes;
use prost::Message as _;

use crate::remote_write::{Message, proto, proto_v2};

/// The series that is written when a person asks for it.
pub const METRIC: &str = "flinkrelay_doctor";

/// The body of a request, in snappy's raw format. With `sample` it holds one sample of [`METRIC`] with
/// these labels, value 1, and that time in milliseconds since the epoch.
pub fn body(message: Message, sample: Option<(&[(String, String)], i64)>) -> Bytes {
    let labels = sample.map(|(labels, _)| sorted(labels)).unwrap_or_default();
    let raw = match message {
        Message::V1 => {
            let series = sample.map(|(_, timestamp)| proto::TimeSeries {
                labels: labels
                    .into_iter()
                    .map(|(name, value)| proto::Label { name, value })
                    .collect(),
                samples: vec![proto::Sample { value: 1.0, timestamp }],
            });
            let timeseries = series.into_iter().collect();
            proto::WriteRequest { timeseries, ..proto::WriteRequest::default() }.encode_to_vec()
        }
        Message::V2 => {
            // The first symbol is the empty one, and each text stands once.
            let mut symbols = vec![String::new()];
            let mut labels_refs = Vec::new();
            for text in labels.into_iter().flat_map(|(name, value)| [name, value]) {
                let known = symbols.iter().position(|symbol| *symbol == text);
                let at = known.unwrap_or(symbols.len());
                if at == symbols.len() {
                    symbols.push(text);
                }
                labels_refs.push(u32::try_from(at).expect("a few labels have few texts"));
            }
            let series = sample.map(|(_, timestamp)| proto_v2::TimeSeries {
                labels_refs,
                samples: vec![proto_v2::Sample {
                    value: 1.0,
                    timestamp,
                    ..proto_v2::Sample::default()
                }],
                ..proto_v2::TimeSeries::default()
            });
            proto_v2::Request { symbols, timeseries: series.into_iter().collect() }.encode_to_vec()
        }
    };
    let compressed = snap::raw::Encoder::new().compress_vec(&raw);
    compressed.expect("some hundred bytes are below snappy's limit of 4 GiB").into()
}

fn sorted(labels: &[(String, String)]) -> Vec<(String, String)> {
    let name = ("__name__".to_owned(), METRIC.to_owned());
    let mut labels: Vec<_> =
        labels.iter().filter(|(_, value)| !value.is_empty()).cloned().chain([name]).collect();
    labels.sort();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(body: &Bytes) -> Vec<u8> {
        snap::raw::Decoder::new().decompress_vec(body).unwrap()
    }

    #[test]
    fn an_empty_request_has_no_series() {
        let v1 = body(Message::V1, None);
        assert_eq!(
            proto::WriteRequest::decode(&*raw(&v1)).unwrap(),
            proto::WriteRequest::default()
        );
        let v2 = proto_v2::Request::decode(&*raw(&body(Message::V2, None))).unwrap();
        assert_eq!((v2.symbols, v2.timeseries.len()), (vec![String::new()], 0));
    }

    #[test]
    fn a_sample_is_the_same_in_both_messages() {
        let labels = [
            ("zone".to_owned(), "1".to_owned()),
            ("Cluster".to_owned(), "eu".to_owned()),
            ("none".to_owned(), String::new()),
        ];
        let sample = Some((&labels[..], 1_795_406_400_000));
        let expected = [("Cluster", "eu"), ("__name__", METRIC), ("zone", "1")];
        let v1 = proto::WriteRequest::decode(&*raw(&body(Message::V1, sample))).unwrap();
        let series = &v1.timeseries[0];
        let found: Vec<_> = series.labels.iter().map(|l| (&*l.name, &*l.value)).collect();
        assert_eq!(found, expected);
        assert_eq!(
            (series.samples[0].value, series.samples[0].timestamp),
            (1.0, 1_795_406_400_000)
        );
        let v2 = proto_v2::Request::decode(&*raw(&body(Message::V2, sample))).unwrap();
        let refs = &v2.timeseries[0].labels_refs;
        let found: Vec<_> = refs
            .chunks(2)
            .map(|p| (&*v2.symbols[p[0] as usize], &*v2.symbols[p[1] as usize]))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(v2.timeseries[0].samples[0].timestamp, 1_795_406_400_000);
    }
}
