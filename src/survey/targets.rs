//! Each port of each target: does anybody listen, is it Flink, can its page be scraped?

use std::{collections::BTreeSet, net::IpAddr};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, Uri, body::Incoming, header};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::{ANSWER_MAX, CONNECT_MAX, LOOKS_IN_FLIGHT, PAGE_MAX, trouble, unreached};
use crate::{
    config::TargetSpec,
    discovery::{Group, probe::with_names},
    doctor::evidence::{
        Head, LabelSizes, LongValue, Page, PageFailure, PageFailureKind, PortAnswer, PortLook,
        Samples, TargetLook, Trouble, TroubleKind, VALUE_STEPS, ViewLook,
    },
    exposition::{Entry, Limits, Lines},
    flink::Role,
    http::{self, Client},
    relay::{JobLook, now_ms},
    remote_write::v1,
    scrape::{Reason, Scraped, Scraper},
    series::{Dropped, Tally},
    target::{Address, Seed, Target},
};

/// A port to look at.
struct Port<'j> {
    /// Held while its page is scraped.
    pages: &'j Semaphore,
    /// The number of its target among all.
    of: usize,
    job: &'j JobLook,
    group: &'j Group,
    seed: &'j Seed,
    host: String,
    port: u16,
}

/// The hosts of all targets.
pub(super) fn hosts(jobs: &[JobLook]) -> BTreeSet<String> {
    let seeds = jobs.iter().flat_map(|job| {
        let groups = job.groups().iter();
        groups.flat_map(|group| &group.seeds).filter_map(|seed| Some(spec(job, seed, None)?.host))
    });
    seeds.collect()
}

/// The hosts of those that show a JobManager's page.
pub(super) fn job_managers(looks: &[TargetLook]) -> BTreeSet<String> {
    let shows = |port: &PortLook| match &port.answer {
        PortAnswer::Flink(page) => matches!(page.role, Role::JobManager | Role::Both),
        _ => false,
    };
    let looks = looks.iter().filter(|look| look.ports.iter().any(shows));
    looks.map(|look| look.spec.host.clone()).collect()
}

/// Looks at all targets, and names those that were not finished by `until`.
pub(super) async fn look(jobs: &[JobLook], until: Instant) -> (Vec<TargetLook>, Vec<String>) {
    let (mut looks, mut ports) = (Vec::new(), Vec::new());
    let pages = &Semaphore::new(PAGES_IN_FLIGHT);
    for job in jobs {
        for group in job.groups() {
            for seed in &group.seeds {
                let of = looks.len();
                let own = seed.ports().filter(|&port| job.owns(seed, port));
                // What relabelling drops is no target.
                let own =
                    own.filter_map(|port| Some((port, target(job, group, seed, port, None)?)));
                let own: Vec<_> = own.collect();
                let Some((_, first)) = own.first() else { continue };
                let Some(spec) = spec(job, seed, Some(first)) else { continue };
                let host = || spec.host.clone();
                ports.extend(own.iter().map(|&(port, _)| Port {
                    pages,
                    of,
                    job,
                    group,
                    seed,
                    host: host(),
                    port,
                }));
                looks.push(empty(job, spec));
            }
        }
    }
    let numbered = ports.iter().map(async |port| (port, timeout_at(until, of_port(port)).await));
    let mut answers = stream::iter(numbered).buffer_unordered(LOOKS_IN_FLIGHT);
    let mut unfinished = BTreeSet::new();
    while let Some((port, answer)) = answers.next().await {
        let Some(look) = looks.get_mut(port.of) else { continue };
        match answer {
            Ok(Some((answer, on_loopback))) => {
                look.ports.push(answer);
                look.on_loopback.extend(on_loopback.then_some(port.port));
            }
            Ok(None) => {}
            Err(_) => _ = unfinished.insert(look.spec.to_string()),
        }
    }
    drop(answers);
    for look in &mut looks {
        look.ports.sort_by_key(|port| port.port);
        look.on_loopback.sort_unstable();
    }
    (looks, unfinished.into_iter().collect())
}

/// Where a seed is: as it is written, or, where only `relabel_configs` make it an address, what they make.
fn spec(job: &JobLook, seed: &Seed, target: Option<&Target>) -> Option<TargetSpec> {
    match (&seed.address, target) {
        (Address::Spec(spec), _) => Some(spec.clone()),
        (Address::Text(_), Some(target)) => target.url.to_string().parse().ok(),
        (Address::Text(_), None) => {
            let group = job.groups().iter().find(|group| group.seeds.contains(seed))?;
            let target = self::target(job, group, seed, 0, None)?;
            target.url.to_string().parse().ok()
        }
    }
}

fn empty(job: &JobLook, spec: TargetSpec) -> TargetLook {
    let url: Option<Uri> = format!("http://{}/", spec.address(*spec.ports.start())).parse().ok();
    let proxy = url.and_then(|url| job.client().proxy_for(&url));
    TargetLook {
        spec,
        job: job.scrape().job_name.clone(),
        timeout: job.scrape().timeout,
        proxy: proxy.map(|proxy| proxy.to_string()),
        ports: Vec::new(),
        on_loopback: Vec::new(),
    }
}

fn target(
    job: &JobLook,
    group: &Group,
    seed: &Seed,
    port: u16,
    role: Option<Role>,
) -> Option<Target> {
    Target::resolve(job.scrape(), &group.labels, seed, port, role).ok()?
}

/// The port's answer, and whether the same port on 127.0.0.1 is Flink's although this one is nobody's.
async fn of_port(port: &Port<'_>) -> Option<(PortLook, bool)> {
    let Port { pages, job, group, seed, port, ref host, .. } = *port;
    let url = target(job, group, seed, port, None)?.url;
    let (client, proxy) = (job.client(), job.client().proxy_for(&url));
    let reached = match proxy {
        Some(_) => None,
        None => unreached(http::reach(&url, CONNECT_MAX).await, CONNECT_MAX),
    };
    let answer = match reached {
        Some(trouble) => PortAnswer::None(trouble),
        None => match first_answer(client, &url).await {
            Ok(Ok(role)) => {
                let role_of_range = seed.is_range().then_some(role);
                let target = target(job, group, seed, port, role_of_range)?;
                let _place = pages.acquire().await;
                PortAnswer::Flink(Box::new(page(job, target, role).await))
            }
            Ok(Err(head)) => PortAnswer::Foreign(head),
            Err(error) => PortAnswer::None(trouble(&error, proxy.as_ref())),
        },
    };
    let nobody = matches!(&answer, PortAnswer::None(Trouble { kind: TroubleKind::Refused, .. }));
    // Credentials are for the target's host, and not for whoever has that port here.
    let http = &job.scrape().http;
    let is_open = http.auth.is_none() && http.headers.is_empty();
    let on_loopback = nobody && is_open && is_elsewhere(host) && on_loopback(client, port).await;
    Some((PortLook { port, url: url.to_string(), answer }, on_loopback))
}

/// Whether the host is another than 127.0.0.1, by its spelling.
fn is_elsewhere(host: &str) -> bool {
    let here = [IpAddr::from([127, 0, 0, 1])];
    host != "localhost" && !host.parse().is_ok_and(|address| here.contains(&address))
}

async fn on_loopback(client: &Client, port: u16) -> bool {
    let Ok(url) = format!("http://127.0.0.1:{port}/metrics").parse() else { return false };
    matches!(timeout(ANSWER_MAX, first_answer(client, &url)).await, Ok(Ok(Ok(_))))
}

/// Whose page it is; or, when it is none of Flink's, how the answer begins.
type First = Result<Role, Head>;

/// Asks for a few names first, as probes of ranges do: that costs Flink nothing. What has none of them is
/// asked for its page, of which the beginning is read.
async fn first_answer(client: &Client, url: &Uri) -> Result<First, http::Error> {
    let head = match ask(client, &with_names(url)).await? {
        Err(head) if head.status == 200 => head,
        answered => return Ok(answered),
    };
    // A page that is gone when it is asked for as a whole was there a moment ago: that is news.
    match ask(client, url).await {
        Ok(answered) => Ok(answered),
        Err(_) if !head.names.is_empty() => Ok(Err(head)),
        Err(error) => Err(error),
    }
}

async fn ask(client: &Client, url: &Uri) -> Result<First, http::Error> {
    let until = Instant::now() + ANSWER_MAX;
    let request = || {
        Request::get(url.clone())
            .header(header::ACCEPT, "text/plain;version=0.0.4")
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Full::new(Bytes::new()))
            .expect("a target's URL and constant headers make a request")
    };
    let late = || Err(http::Error::late());
    let sent = timeout_at(until, client.send(request())).await;
    let answer = match sent.unwrap_or_else(|_| late()) {
        Err(error) if error.is_closed_early() => {
            timeout_at(until, client.send(request())).await.unwrap_or_else(|_| late())?
        }
        answer => answer?,
    };
    Ok(begin(answer, until).await)
}

async fn begin(answer: Response<Incoming>, until: Instant) -> First {
    let (parts, mut body) = answer.into_parts();
    let text = |name| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut head = Head {
        status: parts.status.as_u16(),
        content_type: text(header::CONTENT_TYPE),
        server: text(header::SERVER),
        location: text(header::LOCATION),
        ..Head::default()
    };
    let (mut role, mut bytes, mut beginning) = (Role::default(), 0, Vec::new());
    let mut lines = Lines::new(Limits::default());
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        let Ok(chunk) = frame.into_data() else { continue };
        bytes += chunk.len();
        let room = BEGINNING_BYTES_MAX.saturating_sub(beginning.len()).min(chunk.len());
        beginning.extend_from_slice(chunk.get(..room).unwrap_or_default());
        // A page above the limit is left at that here.
        let _too_large = lines.feed(&chunk, |line| {
            if let Ok(Ok(Entry::Sample(sample))) = line.map(|line| line.parse(&Limits::default())) {
                role.observe(sample.name);
                if head.names.len() < NAMES_MAX {
                    head.names.push(sample.name.to_owned());
                }
            }
        });
        if head.status == 200 && role.is_flink() {
            return Ok(role);
        }
        if bytes > FOREIGN_BYTES_MAX {
            break;
        }
    }
    head.beginning = String::from_utf8_lossy(&beginning).into_owned();
    Err(head)
}

/// Scrapes a page as a relay would.
async fn page(job: &JobLook, target: Target, role: Role) -> Page {
    let mut scraper = job.scraper(target, PAGE_MAX);
    let scraped = scraper.scrape(now_ms()).await;
    let first_fault = scraped.faults.first().map(ToString::to_string);
    let samples = match &scraped.result {
        Ok(tally) => Ok(samples(&scraper, &scraped, tally)),
        Err(failure) => {
            let words = failure.to_string();
            let kind = match failure.reason {
                // A few metrics came well a moment ago.
                Reason::Connect | Reason::Truncated | Reason::NotPrometheus
                    if scraped.page_bytes == 0 =>
                {
                    PageFailureKind::Closed
                }
                Reason::Truncated => PageFailureKind::Cut,
                Reason::Timeout => PageFailureKind::Timeout,
                Reason::BodyLimit | Reason::SampleLimit | Reason::LabelLimit => {
                    PageFailureKind::Limit
                }
                Reason::Parse | Reason::NotPrometheus => PageFailureKind::Empty,
                Reason::Connect | Reason::Dns | Reason::HttpStatus | Reason::Secret => {
                    PageFailureKind::Other
                }
            };
            Err(PageFailure { kind, words })
        }
    };
    let role = if scraped.role.is_flink() { scraped.role } else { role };
    Page {
        role,
        scraped: samples,
        took: scraped.duration,
        bytes: scraped.page_bytes,
        throws: scraped
            .partial
            .as_ref()
            .map(|partial| partial.quarantined.iter().map(ToString::to_string).collect()),
        faults: scraped.faults_total,
        first_fault,
    }
}

fn samples(scraper: &Scraper, scraped: &Scraped, tally: &Tally) -> Samples {
    let dropped = |wanted| tally.dropped.iter().find(|(reason, _)| *reason == wanted);
    let dropped = |wanted| dropped(wanted).map_or(0, |(_, samples)| samples);
    let groups = tally.groups.iter().map(|(group, samples)| (group, samples.scraped));
    let views = scraped.staged.iter().enumerate().map(|(view, staged)| {
        let sizes = sizes(scraper, view);
        ViewLook {
            series: sizes.labels.values().sum(),
            kept_back: staged.unfit.label_limit,
            first_kept_back: staged.unfit.named.first().cloned(),
            sizes,
        }
    });
    Samples {
        scraped: tally.scraped,
        kept: tally.kept,
        dropped_by_groups: dropped(Dropped::Group),
        dropped_by_rules: dropped(Dropped::Relabel),
        groups: groups.filter(|(_, samples)| *samples > 0).collect(),
        views: views.collect(),
    }
}

fn sizes(scraper: &Scraper, view: usize) -> LabelSizes {
    let mut sizes = LabelSizes::default();
    for (block, ..) in scraper.samples(view) {
        let Ok(labels) = v1::decode_labels(block) else { continue };
        let (metric, count) = (labels.metric_name(), labels.iter().count());
        *sizes.labels.entry(count).or_default() += 1;
        if sizes.most.as_ref().is_none_or(|(_, most)| count > *most) {
            sizes.most = Some((metric.to_owned(), count));
        }
        for (name, value) in labels.iter() {
            if sizes.longest_name.as_ref().is_none_or(|(.., bytes)| name.len() > *bytes) {
                sizes.longest_name = Some((metric.to_owned(), name.to_owned(), name.len()));
            }
            // What no receiver minds is not kept.
            if value.len() > VALUE_STEPS[0] {
                note(sizes.values.entry(name.to_owned()).or_default(), metric, value.len());
            }
        }
    }
    sizes
}

fn note(longest: &mut LongValue, metric: &str, bytes: usize) {
    if bytes > longest.bytes {
        (longest.bytes, longest.metric) = (bytes, metric.to_owned());
    }
    for (above, step) in longest.above.iter_mut().zip(VALUE_STEPS) {
        *above += u64::from(bytes > step);
    }
}

/// Pages that are scraped at once: the series of a large one take some ten MiB while they are looked at.
const PAGES_IN_FLIGHT: usize = 16;

/// Bytes of a foreign answer that are kept: a title or the first words.
const BEGINNING_BYTES_MAX: usize = 4 << 10;

/// Bytes of a page that are read in search of a name of Flink's.
const FOREIGN_BYTES_MAX: usize = 1 << 20;

/// Names of a foreign page that are kept: who it is stands among the first.
const NAMES_MAX: usize = 500;
