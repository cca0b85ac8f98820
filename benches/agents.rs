//! Scraping agents side by side, as whole processes under the same load.
//!
//! Serves synthetic Flink TaskManagers (a real page, grown to the wanted number of samples, whose
//! values move at each scrape), counts what arrives by remote write, and reads each agent's CPU time
//! and peak memory from /proc. One agent at a time; everything is on loopback and ends by itself.
//!
//! flinkrelay runs as its users run it: with the durable spool, in a data directory that is empty at the start and lies where
//! the others have theirs, and with what is on by default, all groups, normalised labels and canonical names included.
//!
//! ```text
//! cargo bench --bench agents -- [--targets 20] [--samples 5000] [--interval 2] [--seconds 20] [AGENT…]
//! ```
//!
//! `AGENT` is `flinkrelay` or `flinkrelay2`, which sends remote write 1.0 or 2.0, the path of a file of one of these names,
//! that of a `vmagent` or a `prometheus`, or `floor`, which reads the pages and throws them away; by default the first two, those of the
//! next two that are installed, and the floor. Compare figures of one run only: they move with the machine.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement that cannot go on ends with the reason"
)]

use std::{
    convert::Infallible,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    routing,
};
use tokio::net::TcpListener;

#[path = "agents/cost.rs"]
mod cost;
#[path = "agents/floor.rs"]
mod floor;
#[path = "agents/page.rs"]
mod page;

use self::{
    cost::{Cpu, peak_mib},
    page::Page,
};

/// The agent of this checkout, whose message is that of remote write 1.0 …
const OURS: &str = "flinkrelay";

/// … and the same with that of 2.0.
const V2: &str = "flinkrelay2";

/// The file of a Prometheus, which runs as an agent.
const PROMETHEUS: &str = "prometheus";

/// What reads pages and delivers nothing. Its samples are those that were read.
const FLOOR: &str = "floor";

/// The hidden argument by which the bench becomes that: the interval's seconds follow, then the ports.
const AS_FLOOR: &str = "--as-floor";

/// Above the pages of any load; by default vmagent refuses those of more than 16 MiB.
const VMAGENT_PAGE_MAX: &str = "-promscrape.maxScrapeSize=256MB";

struct Load {
    targets: usize,
    samples: usize,
    interval_s: u64,
    seconds: u64,
    /// From the start of an agent to what is measured.
    warm_s: u64,
    /// The same for Prometheus, which begins with one connection, reads its WAL seconds behind, and decides every ten seconds
    /// how many connections it needs: what it sends before is late, and dearer.
    warm_prometheus_s: u64,
    agents: Vec<String>,
}

/// What arrived, and what was read.
#[derive(Default)]
struct Received {
    /// Samples of the pages that targets were asked for.
    read: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
    bad: AtomicU64,
}

struct Row {
    agent: String,
    samples_per_s: f64,
    cpu_us: f64,
    wire_bytes: f64,
    peak_mib: f64,
}

fn main() {
    let args: Vec<_> = env::args().skip(1).collect();
    if let [first, interval_s, ports @ ..] = &*args
        && first == AS_FLOOR
    {
        let ports: Vec<_> = ports.iter().map(|port| port.parse().unwrap()).collect();
        return floor::run(Duration::from_secs(interval_s.parse().unwrap()), &ports).unwrap();
    }
    let load = Load::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let received = Arc::new(Received::default());
    let (ports, sink) = runtime.block_on(serve(&load, Arc::clone(&received)));
    let dir = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    for agent in &load.agents {
        let config = write_config(dir.path(), &load, &ports, sink, agent);
        let mut command = match agent.as_str() {
            FLOOR => as_floor(&load, &ports),
            _ => command(agent, dir.path(), &config, sink),
        };
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let row = measure(agent, &mut child, &load, &received);
        child.kill().unwrap();
        child.wait().unwrap();
        rows.push(row);
    }
    print(&load, &rows);
    assert_eq!(received.bad.load(Relaxed), 0, "an agent sent a body that cannot be read");
    assert!(rows.iter().all(|row| row.samples_per_s > 0.0), "an agent delivered nothing");
}

impl Load {
    fn from_args() -> Self {
        let mut load = Self {
            targets: 20,
            samples: 5000,
            interval_s: 2,
            seconds: 20,
            warm_s: 8,
            warm_prometheus_s: 12,
            agents: Vec::new(),
        };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number");
            match &*arg {
                "--targets" => load.targets = number() as usize,
                "--samples" => load.samples = number() as usize,
                "--interval" => load.interval_s = number(),
                "--seconds" => load.seconds = number(),
                "--warm" => load.warm_s = number(),
                "--warm-prometheus" => load.warm_prometheus_s = number(),
                // `cargo bench` passes --bench; --test asks only whether the bench still runs.
                "--bench" => {}
                "--test" => {
                    load = Self { targets: 2, interval_s: 1, seconds: 2, warm_s: 2, ..load };
                    load.agents = [OURS, V2, FLOOR].map(str::to_owned).to_vec();
                }
                agent => load.agents.push(agent.to_owned()),
            }
        }
        if load.agents.is_empty() {
            load.agents.extend([OURS, V2].map(str::to_owned));
            let path = env::var_os("PATH").unwrap_or_default();
            let found = |name| env::split_paths(&path).map(|d| d.join(name)).find(|p| p.is_file());
            let peers = ["vmagent", PROMETHEUS].into_iter().filter_map(found);
            load.agents.extend(peers.map(|path| path.display().to_string()));
            load.agents.push(FLOOR.to_owned());
        }
        load
    }
}

/// Serves the targets and the receiver; returns their ports.
async fn serve(load: &Load, received: Arc<Received>) -> (Vec<u16>, u16) {
    let mut ports = Vec::new();
    for target in 0..load.targets {
        let page = Arc::new(Page::new(target, load.samples));
        let received = Arc::clone(&received);
        let read = move || {
            let (page, received) = (Arc::clone(&page), Arc::clone(&received));
            async move {
                received.read.fetch_add(page.samples, Relaxed);
                let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
                Ok::<_, Infallible>((kind, page.text()))
            }
        };
        ports.push(spawn(Router::new().route("/metrics", routing::get(read))).await);
    }
    let write = move |body: Bytes| {
        let received = Arc::clone(&received);
        async move {
            let written = received.take(&body);
            // Who sends 2.0 wants to hear how much was written.
            let header = ("X-Prometheus-Remote-Write-Samples-Written", written.to_string());
            (StatusCode::NO_CONTENT, [header])
        }
    };
    let sink = Router::new().route("/api/v1/write", routing::post(write));
    (ports, spawn(sink.layer(DefaultBodyLimit::disable())).await)
}

async fn spawn(router: Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

impl Received {
    fn take(&self, body: &[u8]) -> u64 {
        let raw = snap::raw::Decoder::new().decompress_vec(body);
        match raw.ok().as_deref().and_then(samples) {
            Some(samples) => {
                self.samples.fetch_add(samples, Relaxed);
                self.bytes.fetch_add(body.len() as u64, Relaxed);
                samples
            }
            None => {
                self.bad.fetch_add(1, Relaxed);
                0
            }
        }
    }
}

/// Samples of a request: fields 2 of its fields 1, or 5 in remote write 2.0. Counting must be cheap, for it takes CPU
/// from the agent under test.
fn samples(request: &[u8]) -> Option<u64> {
    let mut count = 0;
    fields(request, |field, series| {
        if matches!(field, 1 | 5) {
            fields(series, |field, _| count += u64::from(field == 2));
        }
    })?;
    Some(count)
}

fn fields<'a>(mut bytes: &'a [u8], mut on_field: impl FnMut(u64, &'a [u8])) -> Option<()> {
    while !bytes.is_empty() {
        let key = prost::encoding::decode_varint(&mut bytes).ok()?;
        match key & 7 {
            0 => on_field(
                key >> 3,
                prost::encoding::decode_varint(&mut bytes).map(|_| &[][..]).ok()?,
            ),
            1 => on_field(key >> 3, bytes.split_off(..8)?),
            2 => {
                let len = prost::encoding::decode_varint(&mut bytes).ok()?;
                on_field(key >> 3, bytes.split_off(..usize::try_from(len).ok()?)?);
            }
            _ => return None,
        }
    }
    Some(())
}

/// A Prometheus config that all agents read.
fn write_config(dir: &Path, load: &Load, ports: &[u16], sink: u16, agent: &str) -> PathBuf {
    let targets: Vec<_> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    let interval = load.interval_s;
    let scrape = format!(
        "global: {{scrape_interval: {interval}s, scrape_timeout: {interval}s}}\nscrape_configs:\n\
         - job_name: flink\n  static_configs:\n  - targets: [{}]\n",
        targets.join(", ")
    );
    // Others do not know the key, or know it by another name.
    let name = name(agent);
    let message = match name {
        V2 => "  protobuf_message: io.prometheus.write.v2.Request\n",
        _ if name.starts_with(OURS) => "  protobuf_message: prometheus.WriteRequest\n",
        _ => "",
    };
    let write = format!("remote_write:\n- url: http://127.0.0.1:{sink}/api/v1/write\n{message}");
    fs::write(dir.join("scrape.yaml"), &scrape).unwrap();
    let path = dir.join("config.yaml");
    fs::write(&path, scrape + &write).unwrap();
    path
}

/// An agent's file, by whose name it is known: its directory may be called after another.
fn name(agent: &str) -> &str {
    Path::new(agent).file_name().and_then(|name| name.to_str()).unwrap_or(agent)
}

/// This bench as the floor.
fn as_floor(load: &Load, ports: &[u16]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.arg(AS_FLOOR).arg(load.interval_s.to_string());
    command.args(ports.iter().map(u16::to_string));
    command
}

fn command(agent: &str, dir: &Path, config: &Path, sink: u16) -> Command {
    let data = dir.join("data");
    // What an earlier agent left there is not the next one's to read.
    let _absent = fs::remove_dir_all(&data);
    if name(agent).starts_with(OURS) {
        let built = env!("CARGO_BIN_EXE_flinkrelay");
        let mut command = Command::new(if agent.contains('/') { agent } else { built });
        command.args(["run", "--listen", "127.0.0.1:0", "-c"]).arg(config);
        command.arg("--data-dir").arg(data);
        return command;
    }
    let mut command = Command::new(agent);
    if name(agent).starts_with("vmagent") {
        command
            .arg(format!("-promscrape.config={}", dir.join("scrape.yaml").display()))
            .arg(format!("-remoteWrite.url=http://127.0.0.1:{sink}/api/v1/write"))
            .arg(format!("-remoteWrite.tmpDataPath={}", data.display()))
            .args(["-httpListenAddr=127.0.0.1:0", VMAGENT_PAGE_MAX]);
    } else {
        command
            .args(["--enable-feature=agent", "--web.listen-address=127.0.0.1:0"])
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.agent.path={}", data.display()));
    }
    command
}

fn measure(agent: &str, child: &mut Child, load: &Load, received: &Received) -> Row {
    let pid = child.id();
    let warm_s = match name(agent) {
        // It has nothing to learn.
        FLOOR => load.warm_s.min(1),
        PROMETHEUS => load.warm_s.max(load.warm_prometheus_s),
        _ => load.warm_s,
    };
    thread::sleep(Duration::from_secs(warm_s));
    let samples = if agent == FLOOR { &received.read } else { &received.samples };
    let now = || {
        await_change(samples, Duration::from_secs(load.interval_s));
        let counts = (samples.load(Relaxed), received.bytes.load(Relaxed));
        (counts, Cpu::of(pid), Instant::now())
    };
    let ((samples0, bytes0), cpu0, began) = now();
    thread::sleep(Duration::from_secs(load.seconds));
    let ((samples1, bytes1), cpu1, ended) = now();
    let samples = (samples1 - samples0) as f64;
    Row {
        agent: name(agent).to_owned(),
        samples_per_s: samples / (ended - began).as_secs_f64(),
        cpu_us: cpu1.since(cpu0) / samples * 1e6,
        wire_bytes: (bytes1 - bytes0) as f64 / samples,
        peak_mib: peak_mib(pid),
    }
}

/// Waits until samples arrive, for so long at most, and then for what comes with them: what begins and ends at one moment of a
/// scrape has whole scrapes in it, of which a target alone has but a few.
fn await_change(samples: &AtomicU64, most: Duration) {
    const POLL: Duration = Duration::from_millis(5);
    let (before, until) = (samples.load(Relaxed), Instant::now() + most);
    while samples.load(Relaxed) == before && Instant::now() < until {
        thread::sleep(POLL);
    }
    thread::sleep(20 * POLL);
}

fn print(load: &Load, rows: &[Row]) {
    let Load { targets, samples, interval_s, .. } = load;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{targets} targets x {samples} samples every {interval_s} s\n").unwrap();
    writeln!(out, "| agent | samples/s | CPU us per sample | bytes per sample | peak MiB |")
        .unwrap();
    writeln!(out, "| --- | --: | --: | --: | --: |").unwrap();
    for Row { agent, samples_per_s, cpu_us, wire_bytes, peak_mib } in rows {
        writeln!(
            out,
            "| {agent} | {samples_per_s:.0} | {cpu_us:.3} | {wire_bytes:.1} | {peak_mib:.0} |"
        )
        .unwrap();
    }
}
