//! Values under the wrong label names (FLINK-32649), found by the shape of ids.
//!
//! The first metric of a name decides which label names its family has, and in which order. A later one
//! with as many other keys is written under those names all the same:
//!
//! ```text
//!   numRecordsIn{job_id="24f8c615…",subtask_index="0",operator_id="530cb277…",region="eu",…}
//!   numRecordsIn{job_id="payments", subtask_index="0",operator_id="h",        region="j",…}
//! ```
//!
//! Names are free text and may look like anything, so neither a label that should hold an id and does not
//! nor an id under some other label says enough: an id must be missing in one place *and* stand in another.
//! Values that only changed places always show both, if an id changed places with a text. What changed
//! places with its like is found only where `task_attempt_id` tells: since 1.16 it repeats the task's id, the
//! subtask and the attempt.
//!
//! Nothing is put right again: that several values have one shape (three ids, two numbers, four texts)
//! leaves more than one way to read the line nearly always, and a wrong series is worse than none.
//!
//! Invariant: labels as Flink writes them are never suspicious, whatever names people have given.

use std::{fmt, ops::RangeInclusive};

/// A sample whose values stand under the wrong label names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// The first label that cannot hold its value.
    pub label: &'static str,
}

/// What a label of Flink's holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// 32 hexadecimal digits.
    Id,
    /// The id of an attempt: up to 1.15 an id, since 1.16 `GRAPH_TASK_SUBTASK_ATTEMPT`.
    Attempt,
    Number,
    Text,
}

/// The labels that do not hold text, and what they hold. No two names have the same length, so a name is
/// compared with one of them at most.
fn wanted(label: &str) -> Option<(&'static str, Shape)> {
    Some(match label {
        "job_id" => ("job_id", Shape::Id),
        "task_id" => ("task_id", Shape::Id),
        "operator_id" => ("operator_id", Shape::Id),
        "task_attempt_id" => ("task_attempt_id", Shape::Attempt),
        "subtask_index" => ("subtask_index", Shape::Number),
        "task_attempt_num" => ("task_attempt_num", Shape::Number),
        _ => return None,
    })
}

/// The labels that `task_attempt_id` repeats behind the graph's id, in its order.
const TOLD_BY_ATTEMPT: [&str; 3] = ["task_id", "subtask_index", "task_attempt_num"];

const ID_BYTES: usize = 32;
/// Of a number that an `int` may be.
const NUMBER_BYTES: RangeInclusive<usize> = 1..=10;
/// Two ids and two numbers, joined.
const ATTEMPT_BYTES: RangeInclusive<usize> = {
    let ids = 2 * (ID_BYTES + 1) + 1;
    ids + 2 * *NUMBER_BYTES.start()..=ids + 2 * *NUMBER_BYTES.end()
};

/// Scopes whose samples have such labels.
const SCOPES: [&str; 2] = ["flink_taskmanager_job_", "flink_jobmanager_job_"];

/// Looks at the labels of one sample of a page, `None` when nothing is wrong with them.
pub fn misplaced<'l, V: AsRef<str>>(
    sample_name: &str,
    labels: impl Iterator<Item = (&'l str, V)>,
) -> Option<Misplaced> {
    if !SCOPES.iter().any(|scope| sample_name.starts_with(scope)) {
        return None;
    }
    let mut seen = Seen::none();
    labels.for_each(|(name, value)| seen.label(name, value));
    seen.misplaced()
}

/// What was seen of the labels of one sample.
struct Seen<V> {
    /// The first label without its id, and without its number.
    lacks_id: Option<&'static str>,
    lacks_number: Option<&'static str>,
    /// An id, or a number, stands where text belongs or something else.
    id_elsewhere: bool,
    number_elsewhere: bool,
    /// Values of [`TOLD_BY_ATTEMPT`], and that of `task_attempt_id`.
    told: [Option<V>; TOLD_BY_ATTEMPT.len()],
    attempt_id: Option<V>,
}

impl<V: AsRef<str>> Seen<V> {
    const fn none() -> Self {
        Self {
            lacks_id: None,
            lacks_number: None,
            id_elsewhere: false,
            number_elsewhere: false,
            told: [const { None }; TOLD_BY_ATTEMPT.len()],
            attempt_id: None,
        }
    }

    fn label(&mut self, name: &str, value: V) {
        let found = shape(value.as_ref());
        let Some((label, wanted)) = wanted(name) else {
            self.id_elsewhere |= matches!(found, Shape::Id | Shape::Attempt);
            self.number_elsewhere |= found == Shape::Number;
            return;
        };
        if wanted == Shape::Attempt {
            self.attempt_id = (found == Shape::Attempt).then_some(value);
        } else {
            let told = TOLD_BY_ATTEMPT.iter().zip(&mut self.told);
            if let Some((_, place)) = told.into_iter().find(|(told, _)| **told == label) {
                *place = (found == wanted).then_some(value);
            }
        }
        match (wanted, found) {
            (wanted, found) if wanted == found => {}
            (Shape::Attempt, Shape::Id) => {}
            (Shape::Number, _) => {
                self.lacks_number.get_or_insert(label);
                self.id_elsewhere |= matches!(found, Shape::Id | Shape::Attempt);
            }
            _ => {
                self.lacks_id.get_or_insert(label);
                self.id_elsewhere |= found == Shape::Attempt;
                self.number_elsewhere |= found == Shape::Number;
            }
        }
    }

    fn misplaced(&self) -> Option<Misplaced> {
        let id = self.lacks_id.filter(|_| self.id_elsewhere);
        let number = self.lacks_number.filter(|_| self.number_elsewhere);
        let label = id.or(number).or_else(|| self.contradicts_attempt());
        label.map(|label| Misplaced { label })
    }

    /// The label that has the shape it should and says otherwise than `task_attempt_id` does.
    fn contradicts_attempt(&self) -> Option<&'static str> {
        let parts = attempt_parts(self.attempt_id.as_ref()?.as_ref())?;
        let told = TOLD_BY_ATTEMPT.into_iter().zip(parts).zip(&self.told);
        let mut told = told.filter_map(|(told, value)| Some((told, value.as_ref()?.as_ref())));
        told.find_map(|((label, part), value)| (value != part).then_some(label))
    }
}

/// Each shape has lengths of its own, so that most values are told by theirs.
fn shape(value: &str) -> Shape {
    match value.len() {
        ID_BYTES if is_id(value) => Shape::Id,
        bytes if NUMBER_BYTES.contains(&bytes) && is_number(value) => Shape::Number,
        bytes if ATTEMPT_BYTES.contains(&bytes) && is_attempt(value) => Shape::Attempt,
        _ => Shape::Text,
    }
}

fn is_number(text: &str) -> bool {
    NUMBER_BYTES.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_id(text: &str) -> bool {
    let Ok(digits) = <&[u8; ID_BYTES]>::try_from(text.as_bytes()) else { return false };
    // All of them, even after one that is none: so the compiler looks at many at once.
    let is_digit = |byte: u8| byte.is_ascii_digit() | (b'a'..=b'f').contains(&byte);
    digits.iter().fold(true, |all, byte| all & is_digit(*byte))
}

fn is_attempt(text: &str) -> bool {
    attempt_parts(text).is_some()
}

/// What the id of an attempt repeats, as [`TOLD_BY_ATTEMPT`].
fn attempt_parts(text: &str) -> Option<[&str; TOLD_BY_ATTEMPT.len()]> {
    let (graph, rest) = text.split_at_checked(ID_BYTES)?;
    let (task, rest) = rest.strip_prefix('_')?.split_at_checked(ID_BYTES)?;
    let (subtask, number) = rest.strip_prefix('_')?.split_once('_')?;
    let is_one = is_id(graph) && is_id(task) && is_number(subtask) && is_number(number);
    is_one.then_some([task, subtask, number])
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label;
        write!(f, "{label} holds the value of another label: values stand under wrong label names")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::exposition::{self, Limits};

    const JOB: &str = "24f8c61508d8a3e52095700b94f21626";
    const TASK: &str = "d61e7d376997bfbea91cbbb44b6c7348";
    const GRAPH: &str = "c8e4a54e4ffc8208f268e49b843afda2";
    const OPERATOR: &str = "530cb2773fbd9a3cab73e9f1d4ef6280";

    fn attempt(task: &str, subtask: u32, attempt: u32) -> String {
        format!("{GRAPH}_{task}_{subtask}_{attempt}")
    }

    fn look(labels: &[(&str, &str)]) -> Option<&'static str> {
        let name = "flink_taskmanager_job_task_operator_numRecordsIn";
        misplaced(name, labels.iter().copied()).map(|misplaced| misplaced.label)
    }

    #[test]
    fn an_id_must_be_missing_here_and_stand_there() {
        let check =
            |labels: &[(&str, &str)], expect| assert_eq!(look(labels), expect, "{labels:?}");
        check(&[], None);
        check(&[("job_id", JOB), ("task_id", TASK), ("operator_id", OPERATOR)], None);
        // A page of something that calls itself Flink's, and names that look like ids.
        check(&[("job_id", "j"), ("task_id", "t"), ("subtask_index", "s")], None);
        check(&[("job_id", JOB), ("job_name", TASK), ("task_name", "7"), ("host", OPERATOR)], None);
        check(&[("job_id", "payments"), ("region", JOB)], Some("job_id"));
        check(&[("job_id", "7"), ("subtask_index", JOB)], Some("job_id"));
        check(&[("job_id", &attempt(TASK, 0, 0)), ("task_attempt_id", JOB)], Some("job_id"));
        check(&[("task_attempt_id", "x"), ("host", &attempt(TASK, 0, 0))], Some("task_attempt_id"));
        check(&[("task_attempt_num", "t"), ("job_name", "0")], Some("task_attempt_num"));
        check(&[("task_attempt_num", "t"), ("job_name", "x")], None);
        check(&[("job_id", JOB), ("task_attempt_id", TASK), ("subtask_index", "x")], None);
        // Ids are lower case, and numbers have no sign.
        check(&[("job_id", "payments"), ("region", &JOB.to_uppercase())], None);
        check(&[("subtask_index", "x"), ("region", "-1")], None);
    }

    #[test]
    fn a_shape_has_its_lengths() {
        let check = |value: &str, expect: Shape| assert_eq!(shape(value), expect, "{value:?}");
        check("", Shape::Text);
        check("7", Shape::Number);
        check("1234567890", Shape::Number);
        check("12345678901", Shape::Text);
        check("12a", Shape::Text);
        check(JOB, Shape::Id);
        check(&JOB[1..], Shape::Text);
        check(&format!("{JOB}0"), Shape::Text);
        for at in 0..JOB.len() {
            for wrong in ["g", "A", "/", ":", "`", "_"] {
                check(&format!("{}{wrong}{}", &JOB[..at], &JOB[at + 1..]), Shape::Text);
            }
        }
        check(&format!("{GRAPH}_{TASK}_0_1"), Shape::Attempt);
        check(&format!("{GRAPH}_{TASK}_1234567890_1234567890"), Shape::Attempt);
        check(&format!("{GRAPH}_{TASK}_12345678901_0"), Shape::Text);
        check(&format!("{GRAPH}_{TASK}__1"), Shape::Text);
        check(&format!("{GRAPH}_{TASK}_0_"), Shape::Text);
        check(&format!("{GRAPH}_{TASK}_0_1_2"), Shape::Text);
        check(&format!("{GRAPH}_{TASK}_100"), Shape::Text);
        check(&format!("{GRAPH}-{TASK}_0_1"), Shape::Text);
    }

    #[test]
    fn an_attempt_tells_of_its_task() {
        let check = |task: &str, subtask: &str, number: &str, expect| {
            let id = attempt(TASK, 1, 2);
            let labels = [
                ("task_id", task),
                ("task_attempt_id", &id),
                ("subtask_index", subtask),
                ("task_attempt_num", number),
            ];
            assert_eq!(look(&labels), expect, "{labels:?}");
        };
        check(TASK, "1", "2", None);
        check(JOB, "1", "2", Some("task_id"));
        check(TASK, "2", "1", Some("subtask_index"));
        check(TASK, "1", "3", Some("task_attempt_num"));
        // Excluded in Flink's configuration, or rewritten.
        check("excluded", "1", "2", None);
        assert_eq!(look(&[("task_attempt_id", &attempt(TASK, 1, 2))]), None);
        assert_eq!(look(&[("task_attempt_id", JOB), ("task_id", TASK)]), None);
    }

    #[test]
    fn other_samples_may_have_any_labels() {
        let labels = || [("job_id", "payments"), ("region", JOB)].into_iter();
        for name in ["my_jobs", "flink_taskmanager_Status_JVM_CPU_Load", "flink_k8soperator_x"] {
            assert_eq!(misplaced(name, labels()), None, "{name}");
        }
        assert!(misplaced("flink_jobmanager_job_uptime", labels()).is_some());
    }

    /// No line of a real page is suspicious, but those of the page that was made to be.
    #[test]
    fn pages_of_real_clusters_are_beyond_suspicion() {
        let (mut good, mut bad) = (0, Vec::new());
        for directory in fs::read_dir("tests/pages").unwrap() {
            for file in fs::read_dir(directory.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    continue;
                }
                let text = fs::read(&path).unwrap();
                let page = exposition::page(&text, &Limits::default()).unwrap();
                for sample in page.samples() {
                    match misplaced(sample.name, sample.labels()) {
                        None => good += 1,
                        Some(_) => bad.push((path.clone(), sample.name.to_owned())),
                    }
                }
            }
        }
        assert!(good > 7_000, "{good}");
        assert_eq!(bad.len(), 8, "{bad:?}");
        let made = "tm_2.3.0_scrambled_and_duplicate_labels.txt";
        assert!(bad.iter().all(|(path, _)| path.ends_with(made)), "{bad:?}");
    }

    /// What people call things: text, and what looks like an id or a number.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z_A-Z:日 ]{0,12}",
            "[0-9]{1,12}",
            "[0-9a-f]{32}",
            "[0-9a-f]{32}_[0-9a-f]{32}_[0-9]_[0-9]",
        ]
    }

    /// The labels of an operator's sample, in Flink's shapes.
    fn labels() -> impl Strategy<Value = Vec<(&'static str, String)>> {
        let id = || "[0-9a-f]{32}";
        let names = vec(name(), 6);
        (id(), id(), id(), id(), 0..2000_u32, 0..50_u32, names, any::<bool>()).prop_map(
            |(job, task, graph, operator, subtask, number, names, is_old)| {
                let attempt = format!("{graph}_{task}_{subtask}_{number}");
                let mut labels = vec![
                    ("job_id", job),
                    ("task_id", task),
                    ("operator_id", operator),
                    ("task_attempt_id", if is_old { graph } else { attempt }),
                    ("subtask_index", subtask.to_string()),
                    ("task_attempt_num", number.to_string()),
                ];
                let texts = ["job_name", "task_name", "operator_name", "host", "tm_id", "mine"];
                labels.extend(texts.into_iter().zip(names));
                labels
            },
        )
    }

    fn check_of(labels: &[(&'static str, String)]) -> Option<&'static str> {
        let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        look(&labels)
    }

    proptest! {
        #[test]
        fn good_labels_are_never_suspicious(
            labels in labels().prop_shuffle(), excluded in vec(any::<bool>(), 12),
        ) {
            let kept = labels.iter().zip(&excluded).filter(|(_, excluded)| !**excluded);
            let kept: Vec<_> = kept.map(|(label, _)| label.clone()).collect();
            prop_assert_eq!(check_of(&kept), None);
            prop_assert_eq!(check_of(&labels), None);
        }

        /// Values in any other order are found when a shape does not fit.
        #[test]
        fn values_that_changed_places_are_found(
            labels in labels(), order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let moved: Vec<_> = labels
                .iter()
                .zip(&order)
                .map(|((name, _), from)| (*name, labels[*from].1.clone()))
                .collect();
            let fits = |(name, value): &(&str, String)| {
                let of_label = wanted(name);
                of_label.is_none_or(|(_, wanted)| {
                    shape(value) == wanted || (wanted == Shape::Attempt && shape(value) == Shape::Id)
                })
            };
            let breaks = !moved.iter().all(fits);
            prop_assume!(breaks);
            prop_assert!(check_of(&moved).is_some(), "{:?}", moved);
        }
    }
}
