//! The pages that the agents of this bench read: a real one, grown.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PAGE: &str = include_str!("../../tests/pages/2.3.0/taskmanager-2.prom");

/// A page whose values have eight digits, which each read replaces in place.
pub(crate) struct Page {
    text: Vec<u8>,
    values: Vec<usize>,
    pub(crate) samples: u64,
    reads: AtomicU64,
}

impl Page {
    /// Copies the recorded page's job series under other job ids until there are `samples` of them.
    pub(crate) fn new(target: usize, samples: usize) -> Self {
        let mut page =
            Self { text: Vec::new(), values: Vec::new(), samples: 0, reads: AtomicU64::new(0) };
        let is_job = |line: &&str| !line.starts_with('#') && line.contains("job_id=\"");
        let per_copy = PAGE.lines().filter(is_job).count();
        let plain = PAGE.lines().filter(|line| !line.starts_with('#') && !is_job(line)).count();
        let copies = samples.saturating_sub(plain).div_ceil(per_copy).max(1);
        let mut written = 0;
        let mut family = Vec::new();
        for line in PAGE.lines().chain(["# HELP"]) {
            if !line.starts_with("# HELP") {
                family.push(line);
                continue;
            }
            for copy in 0..copies {
                for line in &family {
                    let fits = !is_job(line) || written < samples;
                    if (copy == 0 || is_job(line)) && fits {
                        written += usize::from(!line.starts_with('#'));
                        page.push(line, target, copy);
                    }
                }
            }
            family = vec![line];
        }
        page.samples = written as u64;
        page
    }

    fn push(&mut self, line: &str, target: usize, copy: usize) {
        if line.starts_with('#') {
            return self.text.extend_from_slice(format!("{line}\n").as_bytes());
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let mut series = series.to_owned();
        for (label, id) in
            [("job_id=\"", target), ("tm_id=\"", target), ("task_attempt_id=\"", copy)]
        {
            if let Some(at) = series.find(label) {
                let at = at + label.len();
                let end =
                    if label == "tm_id=\"" { at + series[at..].find('"').unwrap() } else { at + 8 };
                series.replace_range(at..end, &format!("{id:04x}{copy:04x}")[..8]);
            }
        }
        self.text.extend_from_slice(series.as_bytes());
        self.text.push(b' ');
        // NaN, sentinels and small numbers stay what they are.
        if value == "NaN" || value.starts_with('-') || value.len() < 4 {
            self.text.extend_from_slice(value.as_bytes());
        } else {
            self.values.push(self.text.len());
            self.text.extend_from_slice(b"10000000.0");
        }
        self.text.push(b'\n');
    }

    /// The page of one read.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = self.text.clone();
        let reads = self.reads.fetch_add(1, Relaxed);
        for (i, &at) in (0_u64..).zip(&self.values) {
            let mut value = 10_000_000 + (reads * 137 + (i % 971) * 13) % 80_000_000;
            for digit in text[at..at + 8].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        text
    }
}
