//! The file as it was typed: every key, nothing checked.
//!
//! Each struct is one section. `Option` everywhere, because a key that is missing and a key that is
//! there with a bad value must be told apart to say where the fault is; defaults are `check`'s.

use serde::Deserialize;

use super::value::{At, Form, Pairs, Scalar, given};

/// A section's name and its keys, for the tests that keep example and reference complete.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Path of the section, such as `remote_write.queue_config`; empty for the file itself.
    pub name: &'static str,
    /// Its keys in the order of the reference.
    pub keys: &'static [&'static str],
}

macro_rules! section {
    ($type:ident = $name:literal { $($(#[$attribute:meta])* $key:ident: $value:ty,)* }) => {
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $type {
            $($(#[$attribute])* pub(super) $key: Option<$value>,)*
        }

        impl $type {
            const SECTION: Section = Section { name: $name, keys: &[$(plain(stringify!($key))),*] };
        }
    };
}

section!(RawConfig = "" {
    global: At<RawGlobal>,
    scrape_configs: At<Vec<At<RawScrape>>>,
    remote_write: At<Vec<At<RawReceiver>>>,
    spool: At<RawSpool>,
    flink: At<RawFlink>,
});

section!(RawGlobal = "global" {
    scrape_interval: Scalar,
    scrape_timeout: Scalar,
    external_labels: Pairs<Scalar>,
    shard: Scalar,
    final_scrape: Scalar,
    page_series_limit: Scalar,
});

section!(RawScrape = "scrape_configs" {
    job_name: Scalar,
    scrape_interval: Scalar,
    scrape_timeout: Scalar,
    scheme: Scalar,
    metrics_path: Scalar,
    params: Pairs<Vec<Scalar>>,
    honor_labels: Scalar,
    honor_timestamps: Scalar,
    compression: Scalar,
    enable_compression: Scalar,
    body_size_limit: Scalar,
    sample_limit: Scalar,
    label_limit: Scalar,
    label_name_length_limit: Scalar,
    label_value_length_limit: Scalar,
    probe_interval: Scalar,
    forget_after: Scalar,
    static_configs: At<Vec<At<RawStatic>>>,
    file_sd_configs: Vec<At<RawFileSd>>,
    http_sd_configs: Vec<At<RawHttpSd>>,
    dns_sd_configs: Vec<At<RawDnsSd>>,
    kubernetes_sd_configs: Vec<At<RawKubernetesSd>>,
    flink_sd_configs: Vec<At<RawFlinkSd>>,
    relabel_configs: Vec<At<RawRelabel>>,
    metric_relabel_configs: Vec<At<RawRelabel>>,
    basic_auth: At<RawBasicAuth>,
    authorization: At<RawAuthorization>,
    bearer_token: Scalar,
    bearer_token_file: Scalar,
    oauth2: At<RawOAuth2>,
    tls_config: RawTls,
    proxy_url: Scalar,
    no_proxy: Scalar,
    proxy_from_environment: Scalar,
    proxy_connect_header: Pairs<Vec<Scalar>>,
    follow_redirects: Scalar,
    enable_http2: Scalar,
    headers: Pairs<Scalar>,
    http_headers: Pairs<RawHeader>,
});

section!(RawStatic = "static_configs" {
    targets: At<Vec<Scalar>>,
    labels: Pairs<Scalar>,
});

section!(RawFileSd = "file_sd_configs" {
    files: At<Vec<Scalar>>,
    refresh_interval: Scalar,
});

section!(RawHttpSd = "http_sd_configs" {
    url: Scalar,
    refresh_interval: Scalar,
    basic_auth: At<RawBasicAuth>,
    authorization: At<RawAuthorization>,
    bearer_token: Scalar,
    bearer_token_file: Scalar,
    oauth2: At<RawOAuth2>,
    tls_config: RawTls,
    proxy_url: Scalar,
    no_proxy: Scalar,
    proxy_from_environment: Scalar,
    proxy_connect_header: Pairs<Vec<Scalar>>,
    follow_redirects: Scalar,
    enable_http2: Scalar,
    headers: Pairs<Scalar>,
    http_headers: Pairs<RawHeader>,
});

section!(RawDnsSd = "dns_sd_configs" {
    names: At<Vec<Scalar>>,
    r#type: Scalar,
    port: Scalar,
    refresh_interval: Scalar,
});

section!(RawKubernetesSd = "kubernetes_sd_configs" {
    role: Scalar,
    api_server: Scalar,
    kubeconfig_file: Scalar,
    namespaces: RawNamespaces,
    selectors: Vec<At<RawSelector>>,
    attach_metadata: Pairs<Scalar>,
    basic_auth: At<RawBasicAuth>,
    authorization: At<RawAuthorization>,
    bearer_token: Scalar,
    bearer_token_file: Scalar,
    oauth2: At<RawOAuth2>,
    tls_config: RawTls,
    proxy_url: Scalar,
    no_proxy: Scalar,
    proxy_from_environment: Scalar,
    proxy_connect_header: Pairs<Vec<Scalar>>,
    follow_redirects: Scalar,
    enable_http2: Scalar,
    headers: Pairs<Scalar>,
    http_headers: Pairs<RawHeader>,
});

section!(RawNamespaces = "namespaces" {
    own_namespace: Scalar,
    names: Vec<Scalar>,
});

section!(RawSelector = "selectors" {
    role: Scalar,
    label: Scalar,
    field: Scalar,
});

section!(RawFlinkSd = "flink_sd_configs" {
    source: Scalar,
    url: Scalar,
    ports: Scalar,
    job_manager: Scalar,
    refresh_interval: Scalar,
    namespaces: RawNamespaces,
    selector: Scalar,
    with_sidecar: Scalar,
    api_server: Scalar,
    kubeconfig_file: Scalar,
    basic_auth: At<RawBasicAuth>,
    authorization: At<RawAuthorization>,
    bearer_token: Scalar,
    bearer_token_file: Scalar,
    oauth2: At<RawOAuth2>,
    tls_config: RawTls,
    proxy_url: Scalar,
    no_proxy: Scalar,
    proxy_from_environment: Scalar,
    proxy_connect_header: Pairs<Vec<Scalar>>,
    follow_redirects: Scalar,
    enable_http2: Scalar,
    headers: Pairs<Scalar>,
    http_headers: Pairs<RawHeader>,
});

section!(RawRelabel = "relabel_configs" {
    source_labels: At<Vec<Scalar>>,
    #[serde(default, deserialize_with = "given")]
    separator: Option<Scalar>,
    #[serde(default, deserialize_with = "given")]
    regex: Option<Scalar>,
    modulus: Scalar,
    target_label: Scalar,
    #[serde(default, deserialize_with = "given")]
    replacement: Option<Scalar>,
    action: Scalar,
});

section!(RawBasicAuth = "basic_auth" {
    username: Scalar,
    username_file: Scalar,
    password: Scalar,
    password_file: Scalar,
});

section!(RawAuthorization = "authorization" {
    r#type: Scalar,
    credentials: Scalar,
    credentials_file: Scalar,
});

section!(RawOAuth2 = "oauth2" {
    client_id: Scalar,
    client_secret: Scalar,
    client_secret_file: Scalar,
    token_url: Scalar,
    scopes: Vec<Scalar>,
    endpoint_params: Pairs<Scalar>,
    tls_config: RawTls,
    proxy_url: Scalar,
    no_proxy: Scalar,
    proxy_from_environment: Scalar,
    proxy_connect_header: Pairs<Vec<Scalar>>,
});

section!(RawSigv4 = "sigv4" {
    region: Scalar,
    service_name: Scalar,
    access_key: Scalar,
    secret_key: Scalar,
    profile: Scalar,
    role_arn: Scalar,
    external_id: Scalar,
    use_fips_sts_endpoint: Scalar,
});

section!(RawTls = "tls_config" {
    ca: Scalar,
    ca_file: Scalar,
    cert: Scalar,
    cert_file: Scalar,
    key: Scalar,
    key_file: Scalar,
    server_name: Scalar,
    insecure_skip_verify: Scalar,
    min_version: Scalar,
    max_version: Scalar,
});

section!(RawHeader = "http_headers" {
    values: Vec<Scalar>,
    secrets: Vec<Scalar>,
    files: Vec<Scalar>,
});

section!(RawReceiver = "remote_write" {
    name: Scalar,
    url: Scalar,
    remote_timeout: Scalar,
    protobuf_message: Scalar,
    compression: Scalar,
    headers: Pairs<Scalar>,
    tenant: Scalar,
    basic_auth: At<RawBasicAuth>,
    authorization: At<RawAuthorization>,
    bearer_token: Scalar,
    bearer_token_file: Scalar,
    oauth2: At<RawOAuth2>,
    sigv4: At<RawSigv4>,
    tls_config: RawTls,
    proxy_url: Scalar,
    no_proxy: Scalar,
    proxy_from_environment: Scalar,
    proxy_connect_header: Pairs<Vec<Scalar>>,
    follow_redirects: Scalar,
    enable_http2: Scalar,
    http_headers: Pairs<RawHeader>,
    write_relabel_configs: Vec<At<RawRelabel>>,
    label_limit: Scalar,
    label_name_length_limit: Scalar,
    label_value_length_limit: Scalar,
    long_label_values: Scalar,
    on_status: Pairs<Scalar>,
    queue_config: RawQueue,
    metadata_config: RawMetadata,
});

section!(RawQueue = "queue_config" {
    max_samples_per_send: Scalar,
    batch_send_deadline: Scalar,
    min_shards: Scalar,
    max_shards: Scalar,
    capacity: Scalar,
    max_bytes: Scalar,
    sample_age_limit: Scalar,
    drain: Scalar,
    max_backlog_samples_per_second: Scalar,
    min_backoff: Scalar,
    max_backoff: Scalar,
    retry_on_http_429: Scalar,
});

section!(RawMetadata = "metadata_config" {
    send: Scalar,
    send_interval: Scalar,
});

section!(RawSpool = "spool" {
    directory: Scalar,
    fsync: Scalar,
    fsync_interval: Scalar,
});

section!(RawFlink = "flink" {
    groups: At<Form<RawGroups>>,
    metrics: At<RawMetrics>,
    names: Scalar,
    labels: At<Form<RawLabels>>,
    sentinels: Scalar,
    derived: At<Form<RawDerived>>,
    rollups: At<Form<RawRollups>>,
    budgets: RawBudgets,
    pushdown: Scalar,
    rest: At<Form<RawRest>>,
});

section!(RawGroups = "flink.groups" {
    include: Vec<Scalar>,
    exclude: Vec<Scalar>,
});

section!(RawMetrics = "flink.metrics" {
    segments: Pairs<At<RawSegment>>,
    keys: Pairs<Scalar>,
    groups: Vec<At<RawOwnGroup>>,
});

section!(RawSegment = "flink.metrics.segments" {
    matches: Scalar,
    label: Scalar,
    stays: Scalar,
    about: Scalar,
});

section!(RawOwnGroup = "flink.metrics.groups" {
    group: Scalar,
    about: Scalar,
    metrics: Vec<At<RawMetric>>,
});

section!(RawMetric = "flink.metrics.groups.metrics" {
    name: Scalar,
    also: Vec<Scalar>,
    scopes: At<Vec<Scalar>>,
    canonical: Scalar,
    canonical_scope: Scalar,
    former_name: Scalar,
    r#type: Scalar,
    kind: Scalar,
    unit: Scalar,
    rollup: Vec<Scalar>,
    help: Scalar,
    since: Scalar,
    until: Scalar,
    no_value: Vec<Scalar>,
    shared_with: Vec<Scalar>,
    deprecated: Scalar,
    replaced_by: Scalar,
    opt_in: Scalar,
    note: Scalar,
});

section!(RawLabels = "flink.labels" {
    mode: Scalar,
    keep: Vec<Scalar>,
});

section!(RawDerived = "flink.derived" {
    watermark_lag: Scalar,
    checkpoint_age: Scalar,
    checkpoint_failures: Scalar,
    restarts: Scalar,
    time_ratios: Scalar,
    memory_ratios: Scalar,
    rocksdb_memory: Scalar,
    slots_used: Scalar,
});

section!(RawRollups = "flink.rollups" {
    level: Scalar,
    levels: Pairs<Scalar>,
    keep_raw: Scalar,
    across_targets: Scalar,
});

section!(RawBudgets = "flink.budgets" {
    series_total: Scalar,
    series_per_job: Scalar,
});

section!(RawRest = "flink.rest" {
    mode: Scalar,
    urls: At<Vec<Scalar>>,
    poll_interval: Scalar,
    timeout: Scalar,
    hold: Scalar,
    basic_auth: At<RawBasicAuth>,
    authorization: At<RawAuthorization>,
    bearer_token: Scalar,
    bearer_token_file: Scalar,
    oauth2: At<RawOAuth2>,
    tls_config: RawTls,
    proxy_url: Scalar,
    no_proxy: Scalar,
    proxy_from_environment: Scalar,
    proxy_connect_header: Pairs<Vec<Scalar>>,
    follow_redirects: Scalar,
    enable_http2: Scalar,
    headers: Pairs<Scalar>,
    http_headers: Pairs<RawHeader>,
});

/// A field's name without the `r#` of one that is a word of the language.
const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// Every section of the file with its keys.
pub const SECTIONS: &[Section] = &[
    RawConfig::SECTION,
    RawGlobal::SECTION,
    RawScrape::SECTION,
    RawStatic::SECTION,
    RawFileSd::SECTION,
    RawHttpSd::SECTION,
    RawDnsSd::SECTION,
    RawKubernetesSd::SECTION,
    RawNamespaces::SECTION,
    RawSelector::SECTION,
    RawFlinkSd::SECTION,
    RawRelabel::SECTION,
    RawBasicAuth::SECTION,
    RawAuthorization::SECTION,
    RawOAuth2::SECTION,
    RawSigv4::SECTION,
    RawTls::SECTION,
    RawHeader::SECTION,
    RawReceiver::SECTION,
    RawQueue::SECTION,
    RawMetadata::SECTION,
    RawSpool::SECTION,
    RawFlink::SECTION,
    RawGroups::SECTION,
    RawMetrics::SECTION,
    RawSegment::SECTION,
    RawOwnGroup::SECTION,
    RawMetric::SECTION,
    RawLabels::SECTION,
    RawDerived::SECTION,
    RawRollups::SECTION,
    RawBudgets::SECTION,
    RawRest::SECTION,
];
