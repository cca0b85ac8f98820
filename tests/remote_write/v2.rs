//! Remote write 2.0: the hand-written encoder against the generated message, the rules of the
//! specification on every request, and what becomes of a request that must be turned into one of 1.0.

use std::{
    collections::{BTreeMap, HashSet},
    time::Instant,
};

use flinkrelay::{
    limits::BODY_RAW_BYTES_MAX,
    remote_write::{
        self, Fragment, Message, body,
        proto::{MetricMetadata, metric_metadata::MetricType},
        proto_v2::Request,
        v1::{self, STALE_NAN},
        v2::{self, About, Encoder, Point, ReadError, Sample, Symbols, downgrade},
    },
};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::{Series, plain_series, read, receive, series, timestamps};

/// A series with its metadata and its start.
#[derive(Clone, Debug)]
struct Described {
    series: Series,
    about: About,
    start_ms: i64,
}

impl Described {
    fn sample(&self) -> Sample {
        let Series { bits, timestamp_ms, .. } = self.series;
        Sample { value: bits, timestamp_ms, start_ms: self.start_ms }
    }

    /// What a receiver reads: a start that is not before the sample is not there.
    fn point(&self) -> Point {
        let mut sample = self.sample();
        if sample.start_ms >= sample.timestamp_ms {
            sample.start_ms = 0;
        }
        Point { labels: self.series.labels().into_owned(), sample, about: self.about.clone() }
    }
}

fn abouts() -> impl Strategy<Value = About> {
    let text = prop_oneof![Just(String::new()), any::<String>(), "[a-z ]{1,12}"];
    (0..8, text, "(bytes|seconds)?").prop_map(|(kind, help, unit)| About {
        kind: MetricType::try_from(kind).expect("0 to 7"),
        help: help.into(),
        unit: unit.into(),
    })
}

fn described(series: impl Strategy<Value = Series>) -> impl Strategy<Value = Described> {
    (series, abouts(), prop_oneof![Just(0), timestamps()])
        .prop_map(|(series, about, start_ms)| Described { series, about, start_ms })
}

fn encode(symbols: &mut Symbols, all: &[Described], samples_max: u32) -> Vec<Fragment> {
    let numbered: Vec<_> =
        all.iter().map(|one| v2::Series::new(symbols, &one.series.labels(), &one.about)).collect();
    let mut encoder = Encoder::new(symbols, samples_max);
    for (one, numbered) in all.iter().zip(&numbered) {
        match one.series.bits {
            STALE_NAN => encoder.push_stale(numbered, one.series.timestamp_ms),
            bits => {
                let value = f64::from_bits(bits);
                encoder.push(numbered, value, one.series.timestamp_ms, one.start_ms);
            }
        }
    }
    encoder.finish(Instant::now())
}

/// The body of one fragment and the request in it, checked against the rules of the specification.
fn request(fragment: &Fragment) -> (Vec<u8>, Request) {
    assert_eq!(fragment.message(), Message::V2);
    let body = body([fragment].into_iter()).to_vec();
    let raw = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy body");
    assert_eq!(raw.len() as u64, fragment.raw_bytes());
    let request = Request::decode(&raw[..]).expect("a Request");
    let texts = &request.symbols;
    assert_eq!(texts.first().map(String::as_str), Some(""), "the first text is empty");
    assert_eq!(
        texts.iter().collect::<HashSet<_>>().len(),
        texts.len(),
        "each text once: {texts:?}"
    );
    let mut used = HashSet::from([0]);
    for series in &request.timeseries {
        assert_eq!(series.labels_refs.len() % 2, 0, "pairs: {series:?}");
        let text = |at: u32| texts.get(at as usize).expect("a place of the texts").as_str();
        let names: Vec<_> = series.labels_refs.chunks(2).map(|pair| text(pair[0])).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "sorted by name, each once: {names:?}");
        assert!(series.labels_refs.chunks(2).all(|pair| !text(pair[1]).is_empty()), "{series:?}");
        assert_eq!(series.samples.len(), 1, "{series:?}");
        let about = series.metadata.unwrap_or_default();
        used.extend(series.labels_refs.iter().copied().chain([about.help_ref, about.unit_ref]));
    }
    assert_eq!(used.len(), texts.len(), "no text is there for nothing");
    assert_eq!(request.timeseries.len(), fragment.samples() as usize);
    assert_eq!(fragment.metadata(), 0, "2.0 has no entries of it");
    let times = || request.timeseries.iter().map(|series| series.samples[0].timestamp);
    assert_eq!(times().min(), fragment.lowest_timestamp_ms());
    assert_eq!(times().max(), fragment.highest_timestamp_ms());
    (body, request)
}

/// What stays of a point when the stale marker hides its start.
fn points(all: &[Described]) -> Vec<Point> {
    let point = |one: &Described| {
        let mut point = one.point();
        if point.sample.value == STALE_NAN {
            point.sample.start_ms = 0;
        }
        point
    };
    all.iter().map(point).collect()
}

proptest! {
    #[test]
    fn a_receiver_reads_all_that_was_pushed_in_order(
        scrapes in vec(vec(described(series()), 0..20), 1..4), samples_max in 1..12_u32,
    ) {
        let mut symbols = Symbols::default();
        for all in &scrapes {
            let fragments = encode(&mut symbols, all, samples_max);
            symbols.settle();
            prop_assert_eq!(fragments.len(), all.len().div_ceil(samples_max as usize));
            let bodies: Vec<_> = fragments.iter().map(|fragment| request(fragment).0).collect();
            let received: Vec<_> =
                bodies.iter().flat_map(|body| v2::read(body).expect("a body of ours")).collect();
            prop_assert_eq!(received, points(all));
        }
    }

    /// The fields of 1.0 are reserved in 2.0, so that a receiver that takes one for the other reads
    /// nothing at all rather than something wrong.
    #[test]
    fn a_receiver_of_1_0_reads_nothing(all in vec(described(series()), 1..12)) {
        for fragment in encode(&mut Symbols::default(), &all, u32::MAX) {
            let (body, _) = request(&fragment);
            prop_assert_eq!(receive(&body), remote_write::proto::WriteRequest::default());
        }
    }

    #[test]
    fn a_request_turned_into_1_0_keeps_every_sample(
        all in vec(described(plain_series()), 1..60), samples_max in 1..40_u32,
    ) {
        let fragments = encode(&mut Symbols::default(), &all, samples_max);
        let mut kept = Vec::new();
        for fragment in &fragments {
            let (body, _) = request(fragment);
            let request = receive(&downgrade(&body).expect("a body of ours"));
            kept.extend(read(&request));
            let families: HashSet<_> =
                request.metadata.iter().map(|m| &m.metric_family_name).collect();
            prop_assert_eq!(families.len(), request.metadata.len(), "each family once");
        }
        prop_assert_eq!(kept, all.iter().map(|one| one.series.clone()).collect::<Vec<_>>());
    }

    /// Whoever sends a request as 1.0 because the receiver wants that gets the bytes that the 1.0
    /// encoder makes, apart from metadata, which that sends at its own intervals.
    #[test]
    fn a_request_turned_into_1_0_is_the_one_of_1_0(all in vec(described(plain_series()), 1..60)) {
        let all: Vec<_> = all
            .into_iter()
            .map(|one| Described { about: About::kind(MetricType::Unknown), ..one })
            .collect();
        let mut encoder = remote_write::Encoder::new(u32::MAX);
        all.iter().for_each(|one| super::push(&mut encoder, &one.series));
        let theirs = encoder.finish(Instant::now());
        for fragment in encode(&mut Symbols::default(), &all, u32::MAX) {
            let ours = downgrade(&request(&fragment).0).expect("a body of ours");
            // Byte by byte: NaN is unequal to itself.
            let raw = |body: &[u8]| snap::raw::Decoder::new().decompress_vec(body).unwrap();
            prop_assert_eq!(raw(&ours), raw(&body(theirs.iter())));
        }
    }

    #[test]
    fn reading_survives_any_bytes(
        all in vec(described(plain_series()), 1..6), at: prop::sample::Index, byte: u8,
        cut: prop::sample::Index,
    ) {
        let fragments = encode(&mut Symbols::default(), &all, u32::MAX);
        let (body, _) = request(&fragments[0]);
        let mut raw = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy body");
        let at = at.index(raw.len());
        raw[at] = byte;
        raw.truncate(cut.index(raw.len()) + 1);
        let damaged = snap::raw::Encoder::new().compress_vec(&raw).expect("below 4 GiB");
        if let Ok(points) = v2::read(&damaged) {
            prop_assert!(points.len() <= all.len() * 16);
        }
        let _whatever = v2::read(&raw);
    }
}

#[test]
fn the_metadata_of_a_request_turned_into_1_0_is_that_of_its_families() {
    let one = |name: &str, labels: &str, kind: MetricType, help: &str, unit: &str| Described {
        series: Series {
            labels: [("__name__", name), ("quantile", labels)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            bits: 0,
            timestamp_ms: 1,
        },
        about: About { kind, help: help.into(), unit: unit.into() },
        start_ms: 0,
    };
    let (summary, counter) = (MetricType::Summary, MetricType::Counter);
    let all = [
        one("latency", "0.5", summary, "How late.", "seconds"),
        one("latency", "0.99", summary, "How late.", "seconds"),
        one("latency_count", "", summary, "How late.", "seconds"),
        one("jobs_count", "", counter, "Jobs.", ""),
        one("unknown", "", MetricType::Unknown, "", ""),
        one("told", "", MetricType::Unknown, "Only a help.", ""),
    ];
    let fragments = encode(&mut Symbols::default(), &all, u32::MAX);
    let turned = receive(&downgrade(&request(&fragments[0]).0).unwrap());
    let families: BTreeMap<_, _> = turned
        .metadata
        .iter()
        .map(|MetricMetadata { r#type, metric_family_name, help, unit }| {
            (&**metric_family_name, (*r#type, &**help, &**unit))
        })
        .collect();
    let expect = BTreeMap::from([
        ("jobs_count", (counter as i32, "Jobs.", "")),
        ("latency", (summary as i32, "How late.", "seconds")),
        ("told", (0, "Only a help.", "")),
    ]);
    assert_eq!(families, expect);
}

#[test]
fn a_request_stays_below_the_body_limit_also_as_one_of_1_0() {
    // Long texts that repeat: as 1.0 each of the series has them, as 2.0 the request has them once.
    let (long, count) = ("x".repeat(10_000), 2_500);
    let one = |n: usize| Described {
        series: Series {
            labels: vec![("n".into(), n.to_string()), ("sql".into(), long.clone())],
            bits: 0,
            timestamp_ms: 1,
        },
        about: About::kind(MetricType::Gauge),
        start_ms: 0,
    };
    let all: Vec<_> = (0..count).map(one).collect();
    let fragments = encode(&mut Symbols::default(), &all, u32::MAX);
    assert_eq!(fragments.iter().map(|f| f.samples() as usize).sum::<usize>(), count);
    assert!((3..=5).contains(&fragments.len()), "25 MB in parts of 8 MiB: {}", fragments.len());
    for fragment in &fragments {
        let turned = downgrade(&request(fragment).0).unwrap();
        let raw = snap::raw::decompress_len(&turned).unwrap() as u64;
        assert!(raw <= BODY_RAW_BYTES_MAX, "{raw}");
        assert!(fragment.raw_bytes() < 100_000, "{}", fragment.raw_bytes());
    }
    // One series that is longer than the limit still goes, alone.
    let limit = usize::try_from(BODY_RAW_BYTES_MAX).unwrap();
    let lengths = [10, limit + 1, 10];
    let all = lengths.map(|len| Described {
        series: Series { labels: vec![("sql".into(), "y".repeat(len))], bits: 0, timestamp_ms: 1 },
        about: About::kind(MetricType::Gauge),
        start_ms: 0,
    });
    let fragments = encode(&mut Symbols::default(), &all, u32::MAX);
    assert_eq!(fragments.iter().map(Fragment::samples).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_damaged_request_is_refused() {
    let check = |symbols: &[&str], refs: &[u32], metadata: Option<(u32, u32)>| {
        let metadata = metadata.map(|(help_ref, unit_ref)| remote_write::proto_v2::Metadata {
            r#type: 0,
            help_ref,
            unit_ref,
        });
        let series = |labels_refs: &[u32]| remote_write::proto_v2::TimeSeries {
            labels_refs: labels_refs.to_vec(),
            samples: vec![remote_write::proto_v2::Sample::default()],
            metadata,
        };
        let request = Request {
            symbols: symbols.iter().map(|&text| text.to_owned()).collect(),
            timeseries: vec![series(&[1, 1]), series(refs)],
        };
        let raw = request.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
        v2::read(&body).map(|points| points.len()).map_err(|error| match error {
            ReadError::Series { series } => series,
            error => panic!("{error}"),
        })
    };
    let texts = ["", "a", "b"];
    assert_eq!(check(&texts, &[1, 2, 2, 1], Some((0, 2))), Ok(2));
    assert_eq!(check(&texts, &[1], None), Err(1), "half a label");
    assert_eq!(check(&texts, &[1, 3], None), Err(1), "beyond the texts");
    assert_eq!(check(&texts, &[2, 1, 1, 1], None), Err(1), "not sorted");
    assert_eq!(check(&texts, &[1, 1, 1, 2], None), Err(1), "a name twice");
    assert_eq!(check(&texts, &[], Some((3, 0))), Err(0), "help beyond the texts");
    assert_eq!(check(&texts, &[], Some((0, 3))), Err(0), "unit beyond the texts");
    assert!(matches!(v2::read(b"\xff"), Err(ReadError::Compression(_))));
    let no_message = snap::raw::Encoder::new().compress_vec(b"\x22\x09short").unwrap();
    assert!(matches!(v2::read(&no_message), Err(ReadError::Message(_))));
}

/// 1.0 and 2.0 of a page's worth of series: what stays in a body of each.
#[test]
fn texts_that_repeat_cost_nothing_but_their_place() {
    let all: Vec<_> = super::series_named("flink_taskmanager_job_task_numRecordsIn", 2_000)
        .into_iter()
        .map(|series| Described { series, about: About::kind(MetricType::Counter), start_ms: 0 })
        .collect();
    let fragments = encode(&mut Symbols::default(), &all, 2_000);
    let blocks: usize = all.iter().map(|one| one.series.block().len()).sum();
    let (_, request) = request(&fragments[0]);
    // "", two names, one metric, the subtasks.
    assert_eq!(request.symbols.len(), 4 + 2_000);
    assert!(fragments[0].raw_bytes() < blocks as u64, "{} of {blocks}", fragments[0].raw_bytes());
    assert_eq!(v1::labels_block_len(&all[0].series.labels()), all[0].series.block().len());
}
