//! The whole path of a page: bytes in, compressed fragments out, everything between included: lines,
//! series cache, group filter, normalised labels, target labels, encoding, snappy.
//!
//! - `cold`: every line is new, as in the first scrape of a target and after a job restart.
//! - `warm`: the same lines as on the page before, as in every other scrape; also in remote write 2.0, without
//!   what is made from them, and with sentinels kept as well: what these cost.
//! - `by name`: the part of the page that is left when a filtered target is asked by name.
//! - `churn`: a part of the job's series is new on each page, and as many are gone.
//!
//! Read the figures as ratios of one run: `cargo bench --bench pipeline`.

#![expect(clippy::indexing_slicing, reason = "the page's lines are known")]

#[path = "common/path.rs"]
mod path;

use std::{hint::black_box, sync::Arc, time::Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flinkrelay::{
    flink::{Derivations, Sentinels},
    remote_write::Message,
    series::Shaper,
};

use self::path::{PAGE, Path, is_sample, samples, shaper};

/// A group that is a small part of the page.
const FEW: [&str; 1] = ["checkpointing"];

fn warm(c: &mut Criterion, name: &str, page: &[u8], message: Message, shaper: &Arc<Shaper>) {
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(samples(PAGE)));
    group.bench_function(BenchmarkId::new("warm", name), |b| {
        let mut path = Path::new(shaper, message, Instant::now());
        // A request of 2.0 is kept when it comes again.
        (0..2).for_each(|_| drop(path.scrape(page)));
        b.iter(|| black_box(path.scrape(page)));
    });
    group.finish();
}

fn pipeline(c: &mut Criterion) {
    for (name, groups) in [("all groups", &[][..]), ("checkpointing only", &FEW)] {
        let shaper = shaper(groups, Sentinels::Drop, Derivations::default());
        let mut group = c.benchmark_group("pipeline");
        group.throughput(Throughput::Elements(samples(PAGE)));
        group.bench_function(BenchmarkId::new("cold", name), |b| {
            b.iter(|| black_box(Path::new(&shaper, Message::V1, Instant::now()).scrape(PAGE)));
        });
        group.finish();
        warm(c, name, PAGE, Message::V1, &shaper);
    }
    let all = shaper(&[], Sentinels::Drop, Derivations::default());
    warm(c, "all groups, 2.0", PAGE, Message::V2, &all);
    for (name, sentinels) in
        [("nothing derived", Sentinels::Drop), ("nothing derived, sentinels kept", Sentinels::Keep)]
    {
        warm(c, name, PAGE, Message::V1, &shaper(&[], sentinels, Derivations::NONE));
    }
    let few = shaper(&FEW, Sentinels::Drop, Derivations::default());
    warm(c, "checkpointing only, by name", &by_name(&few), Message::V1, &few);
}

/// The lines of the page that a request by name brings.
fn by_name(shaper: &Shaper) -> Vec<u8> {
    let name = |line: &[u8]| {
        let line =
            line.strip_prefix(b"# HELP ").or_else(|| line.strip_prefix(b"# TYPE ")).unwrap_or(line);
        let end = line.iter().position(|b| matches!(b, b' ' | b'{')).unwrap_or(line.len());
        String::from_utf8_lossy(&line[..end]).into_owned()
    };
    // What tells which tasks run there is asked for too.
    let is_asked = |name: &str| {
        name == "flink_taskmanager_job_task_numRecordsIn" || !shaper.leaves_out(name, None)
    };
    let lines = PAGE.split_inclusive(|&b| b == b'\n');
    lines.filter(|line| is_asked(&name(line))).flatten().copied().collect()
}

/// The page with places in it at which a series' name can be changed.
struct Churning {
    page: Vec<u8>,
    places: Vec<usize>,
    /// Of a hundred lines.
    percent: usize,
    pages: u64,
}

impl Churning {
    fn new(percent: usize) -> Self {
        const ID: &[u8] = b"job_id=\"";
        let mut places = Vec::new();
        let mut offset = 0;
        for line in PAGE.split_inclusive(|&b| b == b'\n') {
            let at = line.windows(ID.len()).position(|window| window == ID);
            places.extend(at.filter(|_| is_sample(line)).map(|at| offset + at + ID.len()));
            offset += line.len();
        }
        Self { page: PAGE.to_vec(), places, percent, pages: 0 }
    }

    /// The next page.
    fn next(&mut self) -> &[u8] {
        self.pages += 1;
        let id = format!("{:08x}", self.pages);
        for (i, &at) in self.places.iter().enumerate() {
            if i * 37 % 100 < self.percent {
                self.page[at..at + id.len()].copy_from_slice(id.as_bytes());
            }
        }
        &self.page
    }
}

fn churn(c: &mut Criterion) {
    let shaper = shaper(&[], Sentinels::Drop, Derivations::default());
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(samples(PAGE)));
    for percent in [0, 10, 50, 100] {
        group.bench_function(BenchmarkId::new("churn", format!("{percent} %")), |b| {
            let mut path = Path::new(&shaper, Message::V1, Instant::now());
            let mut churning = Churning::new(percent);
            path.scrape(churning.next());
            b.iter(|| black_box(path.scrape(churning.next())));
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline, churn);
criterion_main!(benches);
