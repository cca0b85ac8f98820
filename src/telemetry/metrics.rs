//! The relay's own metrics, named after Prometheus' own (`prometheus_target_…`,
//! `prometheus_remote_storage_…`). They are made from the relay's state when somebody asks, so that
//! the path of a sample carries no metric, and a target that is gone has none. A value that is not
//! known yet is left out, so that no sum or average meets a NaN.
//!
//! `docs/metrics.md` lists them; `tests/docs.rs` holds the two together.

mod budget;
mod discovery;
mod own;
mod rest;
mod spool;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::UNIX_EPOCH,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    push::{ANSWERS, Health, Receiver, State},
    relay::Relay,
    scrape::Reason,
    series::Dropped,
    spool::{Counts, Reason as DropReason},
    status::{TargetState, TargetStatus},
    telemetry::process::ProcessMetrics,
};

/// Media type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a relay as OpenMetrics text.
///
/// # Errors
/// None in practice: writing to a string does not fail.
pub fn encode(relay: &Arc<Relay>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessMetrics));
    let own = registry.sub_registry_with_prefix("flinkrelay");
    own.register_collector(Box::new(RelayMetrics(Arc::clone(relay))));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct RelayMetrics(Arc<Relay>);

impl Collector for RelayMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        family(&mut encoder, "build_info", "Version of the relay.", Kind::Gauge, |family| {
            family.add(&build, 1.0)
        })?;
        own::reloads(&self.0, &mut encoder)?;
        own::shard(&self.0, &mut encoder)?;
        own::replay(&mut encoder)?;
        own::page_series(&self.0, &mut encoder)?;
        targets(&self.0, &mut encoder)?;
        discovery::discovery(&self.0, &mut encoder)?;
        discovery::ranges(&self.0, &mut encoder)?;
        rest::flink_rest(&self.0, &mut encoder)?;
        budget::rollups(&self.0.status, &mut encoder)?;
        budget::budget(&self.0.status.budget.state(), &mut encoder)?;
        receivers(&self.0, &mut encoder)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// The series of one family.
struct Family<'a> {
    encoder: prometheus_client::encoding::MetricEncoder<'a>,
    kind: Kind,
}

impl Family<'_> {
    /// Adds a series; a NaN adds none.
    fn add(&mut self, labels: &[(&str, &str)], value: f64) -> fmt::Result {
        if value.is_nan() {
            return Ok(());
        }
        let encoder = self.encoder.encode_family(&labels)?;
        match self.kind {
            Kind::Counter => ConstCounter::new(value).encode(encoder),
            Kind::Gauge => ConstGauge::new(value).encode(encoder),
        }
    }
}

/// Writes one family. A counter's name gets its `_total` from the encoder.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: Kind,
    series: impl FnOnce(&mut Family<'_>) -> fmt::Result,
) -> fmt::Result {
    let kind_of = match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let encoder = encoder.encode_descriptor(name, help, None, kind_of)?;
    series(&mut Family { encoder, kind })
}

/// A metric with one value per target or receiver; NaN while there is none.
type Row<T> = (&'static str, &'static str, Kind, fn(&T) -> f64);

const TARGET_ROWS: [Row<TargetState>; 14] = [
    ("target_up", "Whether the last scrape succeeded.", Kind::Gauge, |s| {
        s.last_scrape.map_or(f64::NAN, |_| f64::from(s.failure.is_none()))
    }),
    ("target_scrapes", "Scrapes, good and bad.", Kind::Counter, |s| s.scrapes as f64),
    ("target_scrape_duration_seconds", "Time that the last scrape took.", Kind::Gauge, |s| {
        s.last_scrape.map_or(f64::NAN, |(_, took)| took.as_secs_f64())
    }),
    ("target_last_scrape_timestamp_seconds", "When the last scrape began.", Kind::Gauge, |s| {
        let began = s.last_scrape.and_then(|(began, _)| began.duration_since(UNIX_EPOCH).ok());
        began.map_or(f64::NAN, |began| began.as_secs_f64())
    }),
    ("target_page_bytes", "Bytes of all good pages, decompressed.", Kind::Counter, |s| {
        s.totals.page_bytes as f64
    }),
    ("target_samples_scraped", "Samples on all good pages.", Kind::Counter, |s| {
        s.totals.scraped as f64
    }),
    (
        "target_samples_made",
        "Samples that the relay made from those of good pages.",
        Kind::Counter,
        |s| s.totals.made as f64,
    ),
    (
        "target_samples_kept",
        "Samples of both that are kept after filtering and relabelling.",
        Kind::Counter,
        |s| s.totals.kept as f64,
    ),
    ("target_series", "Series on the last good page.", Kind::Gauge, |s| s.series as f64),
    (
        "target_series_ids_kept",
        "Series that kept an id because dropping it would have made two series equal.",
        Kind::Counter,
        |s| s.totals.ids_kept as f64,
    ),
    ("target_page_faults", "Lines of the last page that cannot be read.", Kind::Gauge, |s| {
        s.faults_total as f64
    }),
    (
        "target_scrapes_pushed_down",
        "Good scrapes that asked only for the metrics that are relayed.",
        Kind::Counter,
        |s| s.scrapes_pushed as f64,
    ),
    (
        "target_page_partial",
        "Whether the last good page was asked for by name, because it does not come whole.",
        Kind::Gauge,
        |s| s.last_ok.map_or(f64::NAN, |_| f64::from(s.partial.is_some())),
    ),
    (
        "target_metrics_quarantined",
        "Metrics that are not asked for, because the page comes only without them.",
        Kind::Gauge,
        |s| {
            let missing = s.partial.as_ref().map(|p| p.quarantined.len() + p.suspected);
            s.last_ok.map_or(f64::NAN, |_| missing.unwrap_or_default() as f64)
        },
    ),
];

fn targets(relay: &Relay, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let targets: Vec<(Arc<TargetStatus>, TargetState)> = relay
        .status
        .targets()
        .into_iter()
        .map(|target| {
            let state = target.state();
            (target, state)
        })
        .collect();
    for (name, help, kind, value) in TARGET_ROWS {
        family(encoder, name, help, kind, |family| {
            targets
                .iter()
                .try_for_each(|(status, state)| family.add(&target_labels(status), value(state)))
        })?;
    }
    let help = "Whose page the target's last good one was; 1.";
    family(encoder, "target_info", help, Kind::Gauge, |family| {
        targets.iter().try_for_each(|(status, state)| {
            let [job, instance] = target_labels(status);
            family.add(&[job, instance, ("role", state.role.as_str())], 1.0)
        })
    })?;
    let help = "Samples of good pages, and made from them, that are not relayed, by reason.";
    family(encoder, "target_samples_dropped", help, Kind::Counter, |family| {
        targets.iter().try_for_each(|(status, state)| {
            state.totals.dropped.iter().try_for_each(|(reason, samples)| {
                let [job, instance] = target_labels(status);
                let labels = [job, instance, ("reason", Dropped::as_str(reason))];
                family.add(&labels, samples as f64)
            })
        })
    })?;
    let help = "Scrapes that failed, by reason.";
    family(encoder, "target_scrape_failures", help, Kind::Counter, |family| {
        targets.iter().try_for_each(|(status, state)| {
            Reason::ALL.into_iter().zip(state.failures).try_for_each(|(reason, failures)| {
                let [job, instance] = target_labels(status);
                let labels = [job, instance, ("reason", reason.as_str())];
                if failures > 0 { family.add(&labels, failures as f64) } else { Ok(()) }
            })
        })
    })
}

fn target_labels(status: &TargetStatus) -> [(&str, &str); 2] {
    [("job", status.target.job()), ("instance", status.target.instance())]
}

/// A receiver and one reading of its counts, so that `appended = delivered + dropped + pending` holds
/// on the page.
struct Account {
    receiver: Arc<Receiver>,
    counts: Counts,
    health: Health,
}

impl Account {
    fn of(receiver: &Arc<Receiver>) -> Self {
        Self { receiver: Arc::clone(receiver), counts: receiver.counts(), health: receiver.state() }
    }

    fn name(&self) -> (&str, &str) {
        ("receiver", &self.receiver.config.name)
    }
}

const RECEIVER_ROWS: [Row<Account>; 21] = [
    (
        "remote_write_samples_appended",
        "Samples handed to the receiver's spool: delivered, dropped or pending.",
        Kind::Counter,
        |r| r.counts.appended.samples as f64,
    ),
    (
        "remote_write_samples_recovered",
        "Samples of these that an earlier run had left on disk.",
        Kind::Counter,
        |r| r.counts.recovered.samples as f64,
    ),
    ("remote_write_samples", "Samples that the receiver accepted.", Kind::Counter, |r| {
        r.counts.delivered.samples as f64
    }),
    ("remote_write_samples_pending", "Samples in the spool.", Kind::Gauge, |r| {
        r.counts.queued.samples as f64
    }),
    (
        "remote_write_samples_retried",
        "Samples in requests that failed and are sent again.",
        Kind::Counter,
        |r| r.receiver.numbers.samples_retried.load(Relaxed) as f64,
    ),
    (
        "remote_write_samples_labels_cut",
        "Samples of series with a label value that was cut to what the receiver takes.",
        Kind::Counter,
        |r| r.receiver.numbers.samples_cut.load(Relaxed) as f64,
    ),
    ("remote_write_bytes", "Bytes of request bodies sent.", Kind::Counter, |r| {
        r.receiver.numbers.bytes.load(Relaxed) as f64
    }),
    ("remote_write_fragments_pending", "Fragments in the spool.", Kind::Gauge, |r| {
        r.counts.queued.fragments as f64
    }),
    ("remote_write_pending_bytes", "Bytes in the spool.", Kind::Gauge, |r| {
        r.counts.queued.bytes as f64
    }),
    (
        "remote_write_pending_bytes_limit",
        "Bytes, on disk with a data directory, above which the oldest samples are dropped.",
        Kind::Gauge,
        |r| r.receiver.config.queue.max_bytes as f64,
    ),
    (
        "remote_write_pending_age_seconds",
        "How long the oldest sample in the spool has waited; 0 when it is empty.",
        Kind::Gauge,
        |r| r.receiver.oldest_pending().unwrap_or_default().as_secs_f64(),
    ),
    (
        "remote_write_retry_after_seconds",
        "How long the receiver still wants to be left alone, by its Retry-After; else 0.",
        Kind::Gauge,
        |r| r.receiver.retry_after().unwrap_or_default().as_secs_f64(),
    ),
    ("remote_write_shards", "Requests that may be in flight now.", Kind::Gauge, |r| {
        f64::from(r.receiver.in_flight().1)
    }),
    ("remote_write_shards_min", "The least that shards falls to.", Kind::Gauge, |r| {
        f64::from(r.receiver.config.queue.min_shards)
    }),
    ("remote_write_shards_max", "The most that shards rises to.", Kind::Gauge, |r| {
        f64::from(r.receiver.config.queue.max_shards)
    }),
    ("remote_write_requests_in_flight", "Requests in flight.", Kind::Gauge, |r| {
        f64::from(r.receiver.in_flight().0)
    }),
    (
        "remote_write_last_success_timestamp_seconds",
        "When the receiver accepted a request last.",
        Kind::Gauge,
        |r| {
            let at = r.health.last_success.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            at.map_or(f64::NAN, |at| at.as_secs_f64())
        },
    ),
    (
        "remote_write_batches_parted",
        "Batches sent in parts, because of split or bisect.",
        Kind::Counter,
        |r| r.receiver.numbers.batches_parted.load(Relaxed) as f64,
    ),
    ("remote_write_max_samples_per_send", "Samples of a batch at most.", Kind::Gauge, |r| {
        f64::from(r.receiver.config.queue.max_samples_per_send)
    }),
    (
        "remote_write_queue_highest_timestamp_seconds",
        "Newest timestamp handed to the spool.",
        Kind::Gauge,
        |r| seconds(r.counts.highest_appended_ms),
    ),
    (
        "remote_write_queue_highest_sent_timestamp_seconds",
        "Newest timestamp that the receiver accepted.",
        Kind::Gauge,
        |r| seconds(r.counts.highest_delivered_ms),
    ),
];

fn seconds(timestamp_ms: Option<i64>) -> f64 {
    timestamp_ms.map_or(0.0, |ms| ms as f64 / 1000.0)
}

fn receivers(relay: &Relay, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let receivers = relay.receivers();
    let accounts: Vec<_> = receivers.iter().map(Account::of).collect();
    for (name, help, kind, value) in RECEIVER_ROWS {
        family(encoder, name, help, kind, |family| {
            accounts.iter().try_for_each(|r| family.add(&[r.name()], value(r)))
        })?;
    }
    let help = "Samples that the receiver will never get, by reason.";
    family(encoder, "remote_write_samples_dropped", help, Kind::Counter, |family| {
        accounts.iter().try_for_each(|account| {
            DropReason::ALL.into_iter().try_for_each(|reason| {
                let labels = [account.name(), ("reason", reason.as_str())];
                family.add(&labels, account.counts.dropped(reason).samples as f64)
            })
        })
    })?;
    spool::spools(&receivers, encoder)?;
    requests(&accounts, encoder)
}

/// What the receivers answer.
fn requests(accounts: &[Account], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "1 for the state that the receiver is in.";
    family(encoder, "remote_write_state", help, Kind::Gauge, |family| {
        accounts.iter().try_for_each(|account| {
            State::ALL.into_iter().try_for_each(|state| {
                let is = f64::from(account.health.state == state);
                family.add(&[account.name(), ("state", state.as_str())], is)
            })
        })
    })?;
    let help = "Which message the receiver gets; 1.";
    family(encoder, "remote_write_message_info", help, Kind::Gauge, |family| {
        accounts.iter().try_for_each(|account| {
            let message = account.receiver.message().name();
            family.add(&[account.name(), ("message", message)], 1.0)
        })
    })?;
    let help = "Requests, by class of answer; none is no answer at all.";
    family(encoder, "remote_write_requests", help, Kind::Counter, |family| {
        accounts.iter().try_for_each(|account| {
            let answers = &account.receiver.numbers.answers;
            ANSWERS.iter().zip(answers).try_for_each(|(class, count)| {
                family.add(&[account.name(), ("answer", class)], count.load(Relaxed) as f64)
            })
        })
    })?;
    let help = "Requests that were not accepted, by status and the receiver's id of the error.";
    family(encoder, "remote_write_errors", help, Kind::Counter, |family| {
        accounts.iter().try_for_each(|account| {
            account.receiver.numbers.errors().iter().try_for_each(|(key, count)| {
                let labels = [account.name(), ("status", &*key.status), ("id", &*key.id)];
                family.add(&labels, *count as f64)
            })
        })
    })?;
    let name = "remote_write_sent_batch_duration_seconds";
    let help = "Time that requests took, from the first byte to the end of the answer.";
    let mut histograms = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    accounts.iter().try_for_each(|account| {
        let seconds = &account.receiver.numbers.seconds;
        seconds.encode(histograms.encode_family(&[account.name()])?)
    })
}
