//! Metric families by name, as `name[]` asks for them.
//!
//! Flink's reporter limits its answer to the *sample* names in the query, so a summary is asked for by all
//! the names that its samples may have. A name that the process does not have costs nothing there.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use crate::{
    exposition::Kind,
    flink::{self, Role, catalogue::Metric},
};

/// A metric family that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::scrape) struct Family {
    pub(in crate::scrape) name: Arc<str>,
    suffixes: &'static [&'static str],
}

/// The families of a page, in one text: a process has some hundred, each page names them again, and
/// a relay may have a thousand targets.
///
/// ```text
///   gflink_taskmanager_Status_JVM_CPU_Load\nsflink_taskmanager_job_task_operator_latency\n…
/// ```
///
/// The first letter of a line is that of the family's type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::scrape) struct Present(String);

const GAUGE: &[&str] = &[""];
/// Flink writes no `_sum` by now.
const SUMMARY: &[&str] = &["", "_count", "_sum"];
const HISTOGRAM: &[&str] = &["", "_count", "_sum", "_bucket"];

impl Present {
    pub(in crate::scrape) fn clear(&mut self) {
        self.0.clear();
    }

    /// Gives back the room that was left to grow into: a target's families are kept for as long as it is.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Adds a family of the page.
    pub(in crate::scrape) fn push(&mut self, name: &str, kind: Kind) {
        self.0.push(match kind {
            Kind::Summary => 's',
            Kind::Histogram => 'h',
            Kind::Counter | Kind::Gauge | Kind::Untyped => 'g',
        });
        self.0.push_str(name);
        self.0.push('\n');
    }

    /// The names of the families, in the order of the page.
    pub(in crate::scrape) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.lines().filter_map(|line| line.get(1..))
    }

    /// Each family once, by name.
    pub(super) fn families(&self) -> BTreeSet<Family> {
        self.0.lines().filter_map(Family::from_line).collect()
    }
}

impl Family {
    pub(in crate::scrape) fn new(name: &str, kind: Kind) -> Self {
        let suffixes = match kind {
            Kind::Summary => SUMMARY,
            Kind::Histogram => HISTOGRAM,
            Kind::Counter | Kind::Gauge | Kind::Untyped => GAUGE,
        };
        Self { name: name.into(), suffixes }
    }

    fn from_line(line: &str) -> Option<Self> {
        let kind = match line.as_bytes().first()? {
            b's' => Kind::Summary,
            b'h' => Kind::Histogram,
            _ => Kind::Gauge,
        };
        Some(Self::new(line.get(1..)?, kind))
    }

    /// Whether a sample of this name belongs to it.
    pub(in crate::scrape) fn has(&self, sample_name: &str) -> bool {
        sample_name.strip_prefix(&*self.name).is_some_and(|suffix| self.suffixes.contains(&suffix))
    }

    /// Adds what asks for the family to a query.
    pub(in crate::scrape) fn write(&self, query: &mut String) {
        for suffix in self.suffixes {
            let and = if query.is_empty() { "" } else { "&" };
            write!(query, "{and}name%5B%5D={}{suffix}", self.name).expect("a string takes it all");
        }
    }

    /// Bytes that it adds to a query.
    pub(in crate::scrape) fn bytes(&self) -> usize {
        let of = |suffix: &&str| "&name%5B%5D=".len() + self.name.len() + suffix.len();
        self.suffixes.iter().map(of).sum()
    }
}

/// The families that the catalogue knows for a process of this role, by name. Where a part of a name
/// varies, nobody can tell what it is.
pub(in crate::scrape) fn of_catalogue(role: Role) -> BTreeSet<Family> {
    let wanted = |name: &&String| !name.contains(['<', '{']) && is_of(role, name);
    let families = |metric: &'static Metric| {
        let names = metric.exported.iter().filter(wanted);
        let suffixes = if metric.kind == flink::Kind::Summary { SUMMARY } else { GAUGE };
        names.map(move |name| Family { name: name.as_str().into(), suffixes })
    };
    flink::catalogue().metrics().flat_map(families).collect()
}

fn is_of(role: Role, name: &str) -> bool {
    let mut of_name = Role::default();
    of_name.observe(name);
    role == of_name
        || match role {
            Role::Unknown => true,
            Role::Both => matches!(of_name, Role::JobManager | Role::TaskManager),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_asked_for_by_all_names_of_their_samples() {
        let mut present = Present::default();
        present.push("b", Kind::Summary);
        present.push("a", Kind::Gauge);
        present.push("a", Kind::Gauge);
        present.push("h", Kind::Histogram);
        let families: Vec<_> = present.families().into_iter().collect();
        let names: Vec<_> = families.iter().map(|family| &*family.name).collect();
        assert_eq!(names, ["a", "b", "h"]);
        let mut query = String::new();
        let mut bytes = 0;
        for family in &families {
            family.write(&mut query);
            bytes += family.bytes();
        }
        let expect = ["a", "b", "b_count", "b_sum", "h", "h_count", "h_sum", "h_bucket"];
        let expect: Vec<_> = expect.iter().map(|name| format!("name%5B%5D={name}")).collect();
        assert_eq!(query, expect.join("&"));
        assert_eq!(bytes, query.len() + 1, "the first one has no &");
    }

    #[test]
    fn the_catalogue_tells_what_a_process_may_have() {
        let has = |role: Role, name: &str| of_catalogue(role).iter().any(|f| &*f.name == name);
        let (task, job) =
            ("flink_taskmanager_job_task_numRecordsIn", "flink_jobmanager_job_uptime");
        assert!(has(Role::TaskManager, task) && !has(Role::TaskManager, job));
        assert!(has(Role::JobManager, job) && !has(Role::JobManager, task));
        assert!(has(Role::Both, job) && has(Role::Both, task));
        assert!(has(Role::Unknown, job) && has(Role::Unknown, task));
        assert!(of_catalogue(Role::TaskManager).len() > 100);
        let all = of_catalogue(Role::Unknown);
        assert!(all.iter().all(|family| flink::catalogue().lookup(&family.name).is_some()));
    }
}
