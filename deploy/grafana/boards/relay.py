"""The relay itself: what it scrapes, what it delivers, what it costs."""

from .model import Dashboard, Panel, Row, Variable, q

# Labels of the relay's own page when something scrapes it: `instance` is the relay, `exported_instance` the target that a
# metric is about.
_RELAY = 'cluster=~"$cluster",namespace=~"$namespace",instance=~"$relay"'
_RECEIVER = _RELAY + ',receiver=~"$receiver"'
_WRITE = "flinkrelay_remote_write_"


def _variable(name: str, label: str, of: str, matchers: str, what: str) -> Variable:
    metric = f"{_WRITE}samples_total" if of == "receiver" else "flinkrelay_build_info"
    return Variable(name, label, of, f"{metric}{{{matchers}}}" if matchers else metric, what)


def _by_receiver(title: str, what: str, expr: str, unit: str, **more) -> Panel:
    return Panel(title, what, unit, (q(expr, "{{receiver}} {{instance}}"),), **more)


RELAY = Dashboard(
    "flinkrelay-relay",
    "Flink / Relay",
    "flinkrelay itself, from its own page.",
    (
        _variable("cluster", "Cluster", "cluster", "", "Label `cluster` of the relay's page."),
        _variable(
            "namespace",
            "Namespace",
            "namespace",
            'cluster=~"$cluster"',
            "Label `namespace` of the relay's page.",
        ),
        _variable(
            "relay",
            "Relay",
            "instance",
            'cluster=~"$cluster",namespace=~"$namespace"',
            "`host:port` of the relay's own page.",
        ),
        _variable("receiver", "Receiver", "receiver", _RELAY, "Name of the receiver."),
    ),
    (
        Row(
            "Now",
            (
                Panel(
                    "Targets up",
                    "Targets whose last scrape succeeded.",
                    "short",
                    (q(f"sum(flinkrelay_target_up{{{_RELAY}}})", "up"),),
                    kind="stat",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Targets down",
                    "Targets whose last scrape failed.",
                    "short",
                    (q(f"count(flinkrelay_target_up{{{_RELAY}}} == 0) or vector(0)", "down"),),
                    kind="stat",
                    width=4,
                    height=4,
                    thresholds=((None, "green"), (1, "red")),
                ),
                Panel(
                    "Samples per second",
                    "Samples that receivers accept.",
                    "short",
                    (q(f"sum(rate({_WRITE}samples_total{{{_RECEIVER}}}[$__rate_interval]))", "delivered"),),
                    kind="stat",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Behind",
                    "Time between the newest sample scraped and the newest accepted, the worst receiver.",
                    "s",
                    (
                        q(
                            f"max(({_WRITE}queue_highest_timestamp_seconds{{{_RECEIVER}}} > 0) - {_WRITE}queue_highest_sent_timestamp_seconds{{{_RECEIVER}}})",
                            "behind",
                        ),
                    ),
                    kind="stat",
                    width=4,
                    height=4,
                    thresholds=((None, "green"), (60, "orange"), (120, "red")),
                ),
                Panel(
                    "Samples lost",
                    "Samples that were dropped within the time range, without those that rules keep back.",
                    "short",
                    (
                        q(
                            f'sum(increase({_WRITE}samples_dropped_total{{{_RECEIVER},reason!="write_relabel"}}[$__range])) or vector(0)',
                            "lost",
                        ),
                    ),
                    kind="stat",
                    width=4,
                    height=4,
                    thresholds=((None, "green"), (1, "red")),
                ),
                Panel(
                    "Configuration refused",
                    "Relays that go on with an older configuration, because the present file is wrong.",
                    "short",
                    (
                        q(
                            f"count(flinkrelay_config_last_reload_successful{{{_RELAY}}} == 0) or vector(0)",
                            "refused",
                        ),
                    ),
                    kind="stat",
                    width=4,
                    height=4,
                    thresholds=((None, "green"), (1, "red")),
                ),
            ),
        ),
        Row(
            "Scraping",
            (
                Panel(
                    "Samples of pages",
                    "Samples on pages, and those that are kept after filters and rules.",
                    "short",
                    (
                        q(
                            f"sum(rate(flinkrelay_target_samples_scraped_total{{{_RELAY}}}[$__rate_interval]))",
                            "scraped",
                        ),
                        q(
                            f"sum(rate(flinkrelay_target_samples_kept_total{{{_RELAY}}}[$__rate_interval]))",
                            "kept",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Samples of pages that are dropped",
                    "By reason: filters and rules as configured, `former_name` for values that Flink exports twice.",
                    "short",
                    (
                        q(
                            f"sum by (reason) (rate(flinkrelay_target_samples_dropped_total{{{_RELAY}}}[$__rate_interval]))",
                            "{{reason}}",
                        ),
                    ),
                    width=8,
                    stack=True,
                ),
                Panel(
                    "Time of a scrape",
                    "From the request to the end of the page. Near the time-out: the process is in trouble, or its page too large.",
                    "s",
                    (q(f"flinkrelay_target_scrape_duration_seconds{{{_RELAY}}}", "{{exported_instance}}"),),
                    width=8,
                ),
                Panel(
                    "Failed scrapes",
                    "Scrapes per second that failed, by reason.",
                    "ops",
                    (
                        q(
                            f"sum by (reason) (rate(flinkrelay_target_scrape_failures_total{{{_RELAY}}}[$__rate_interval]))",
                            "{{reason}}",
                        ),
                    ),
                    width=8,
                    may_be_empty="every scrape succeeds",
                ),
                Panel(
                    "Series of pages",
                    "Series on each page. What a target costs in memory grows with it.",
                    "short",
                    (q(f"flinkrelay_target_series{{{_RELAY}}}", "{{exported_instance}}"),),
                    width=8,
                ),
                Panel(
                    "Ports of ranges",
                    "Ports of each range by what answers there.",
                    "short",
                    (
                        q(
                            f"sum by (range, state) (flinkrelay_range_ports{{{_RELAY}}})",
                            "{{range}} {{state}}",
                        ),
                    ),
                    width=8,
                    needs="a port range as target",
                ),
            ),
        ),
        Row(
            "Delivery",
            (
                _by_receiver(
                    "Samples accepted",
                    "Samples per second that each receiver accepts.",
                    f"rate({_WRITE}samples_total{{{_RECEIVER}}}[$__rate_interval])",
                    "short",
                    width=8,
                ),
                _by_receiver(
                    "Samples lost",
                    "Samples per second that are dropped, by reason. 0 is the only good value, but for what rules keep back.",
                    f"rate({_WRITE}samples_dropped_total{{{_RECEIVER}}}[$__rate_interval])",
                    "short",
                    width=8,
                    may_be_empty="nothing is dropped",
                ),
                _by_receiver(
                    "Samples sent again",
                    "Samples per second in requests that failed and are sent again.",
                    f"rate({_WRITE}samples_retried_total{{{_RECEIVER}}}[$__rate_interval])",
                    "short",
                    width=8,
                ),
                _by_receiver(
                    "Behind",
                    "Time between the newest sample scraped and the newest accepted.",
                    f"({_WRITE}queue_highest_timestamp_seconds{{{_RECEIVER}}} > 0) - {_WRITE}queue_highest_sent_timestamp_seconds{{{_RECEIVER}}}",
                    "s",
                    width=8,
                    thresholds=((None, "green"), (120, "red")),
                ),
                _by_receiver(
                    "Spool in use",
                    "Bytes that wait as a share of `max_bytes`. At 1 the oldest samples are dropped.",
                    f"{_WRITE}pending_bytes{{{_RECEIVER}}} / {_WRITE}pending_bytes_limit{{{_RECEIVER}}}",
                    "percentunit",
                    width=8,
                    maximum=1,
                    thresholds=((None, "green"), (0.5, "orange"), (0.9, "red")),
                ),
                _by_receiver(
                    "Samples that wait",
                    "Samples in the spool, those in flight included.",
                    f"{_WRITE}samples_pending{{{_RECEIVER}}}",
                    "short",
                    width=8,
                ),
                Panel(
                    "State of receivers",
                    "1 for the state that each receiver is in.",
                    "short",
                    (
                        q(
                            f"sum by (receiver, state) ({_WRITE}state{{{_RECEIVER}}}) > 0",
                            "{{receiver}} {{state}}",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Answers",
                    "Requests per second by the class of their answer; `none` is no answer at all.",
                    "reqps",
                    (
                        q(
                            f"sum by (receiver, answer) (rate({_WRITE}requests_total{{{_RECEIVER}}}[$__rate_interval]))",
                            "{{receiver}} {{answer}}",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Errors",
                    "Requests that were not accepted, by status and by Mimir's error id.",
                    "reqps",
                    (
                        q(
                            f"sum by (receiver, status, id) (rate({_WRITE}errors_total{{{_RECEIVER}}}[$__rate_interval]))",
                            "{{receiver}} {{status}} {{id}}",
                        ),
                    ),
                    width=8,
                    may_be_empty="receivers accept everything",
                ),
                Panel(
                    "Time of a request",
                    "99th percentile of the time that requests take.",
                    "s",
                    (
                        q(
                            f"histogram_quantile(0.99, sum by (le, receiver) (rate({_WRITE}sent_batch_duration_seconds_bucket{{{_RECEIVER}}}[$__rate_interval])))",
                            "{{receiver}}",
                        ),
                    ),
                    width=8,
                ),
                _by_receiver(
                    "Requests in flight",
                    "Requests that may be in flight now; at its maximum while behind: raise `max_shards`.",
                    f"{_WRITE}shards{{{_RECEIVER}}}",
                    "short",
                    width=8,
                ),
                _by_receiver(
                    "Bytes sent",
                    "Bytes per second of request bodies.",
                    f"rate({_WRITE}bytes_total{{{_RECEIVER}}}[$__rate_interval])",
                    "Bps",
                    width=8,
                ),
            ),
        ),
        Row(
            "Spool on disk",
            (
                _by_receiver(
                    "Disk",
                    "Bytes of the spool's files.",
                    f"flinkrelay_spool_disk_bytes{{{_RECEIVER}}}",
                    "bytes",
                    width=8,
                    needs="a data directory",
                ),
                _by_receiver(
                    "Writable",
                    "1 while the disk takes samples; 0: they wait in memory.",
                    f"flinkrelay_spool_writable{{{_RECEIVER}}}",
                    "short",
                    width=8,
                    needs="a data directory",
                ),
                Panel(
                    "Time of a sync",
                    "99th percentile of the time that syncs of the disk take.",
                    "s",
                    (
                        q(
                            f"histogram_quantile(0.99, sum by (le, receiver) (rate(flinkrelay_spool_fsync_duration_seconds_bucket{{{_RECEIVER}}}[$__rate_interval])))",
                            "{{receiver}}",
                        ),
                    ),
                    width=8,
                    needs="a data directory",
                ),
            ),
        ),
        Row(
            "The process",
            (
                Panel(
                    "CPU",
                    "Cores in use.",
                    "none",
                    (q(f"rate(process_cpu_seconds_total{{{_RELAY}}}[$__rate_interval])", "{{instance}}"),),
                    width=6,
                ),
                Panel(
                    "Memory",
                    "Memory in RAM.",
                    "bytes",
                    (q(f"process_resident_memory_bytes{{{_RELAY}}}", "{{instance}}"),),
                    width=6,
                ),
                Panel(
                    "Open files",
                    "Open file descriptors as a share of their limit.",
                    "percentunit",
                    (q(f"process_open_fds{{{_RELAY}}} / process_max_fds{{{_RELAY}}}", "{{instance}}"),),
                    width=6,
                ),
                Panel(
                    "Requests to Flink's REST API",
                    "Requests per second that names cost the JobManager.",
                    "reqps",
                    (
                        q(
                            f"sum by (instance, url) (rate(flinkrelay_flink_rest_requests_total{{{_RELAY}}}[$__rate_interval]))",
                            "{{url}}",
                        ),
                    ),
                    width=6,
                ),
            ),
        ),
    ),
)
