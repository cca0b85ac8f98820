//! Metrics of the user's own, from `flink.metrics`: rows as in `catalogue.yaml`, in a table of their
//! own that goes before Flink's.
//!
//! A name is looked up in the user's table first, so a row of the user's wins wherever it fits, over a
//! row of Flink's too: that is how a user corrects one. A new release of the relay may know a metric that the
//! user has described; then the user's row goes on to count.

use std::collections::HashSet;

use super::{
    Catalogue, CatalogueError, Metric, Table,
    file::{self, Row, Varying, Words},
    spelling::{Piece, Spelling},
};
use crate::flink::Group;

/// What `flink.metrics` holds, each value checked by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnMetrics {
    /// Segments in addition to Flink's.
    pub(crate) segments: Vec<(String, Varying)>,
    /// Labels of keys in addition to Flink's.
    pub(crate) keys: Vec<(String, String)>,
    /// The user's groups, by their numbers.
    pub(crate) groups: Vec<Group>,
    /// The metrics, each with its group, which may be one of Flink's.
    pub(crate) rows: Vec<(Group, Row)>,
}

/// Why the user's metrics cannot be used together.
#[derive(Debug)]
pub(crate) struct OwnFault {
    /// Position of the row.
    pub(crate) row: usize,
    /// The name in the row that is at fault, as written, where it is one.
    pub(crate) name: Option<String>,
    /// What is wrong.
    pub(crate) message: String,
}

/// The user's table, and what it was made of.
pub(super) struct Own {
    pub(super) table: Table,
    /// The rows as text, to compare: NaN is unequal to itself.
    pub(super) source: String,
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Catalogue {
    /// This catalogue with metrics of the user's.
    ///
    /// # Errors
    /// The first row that cannot be used.
    pub(crate) fn with_own(&self, own: OwnMetrics) -> Result<Self, OwnFault> {
        let source = format!("{own:?}");
        let OwnMetrics { segments, keys, groups, rows } = own;
        let mut words = self.flink.words.clone();
        words.segments.extend(segments);
        words.keys.extend(keys);
        for (at, (_, row)) in rows.iter().enumerate() {
            check_texts(row, &words).map_err(|(name, message)| OwnFault {
                row: at,
                name: Some(name),
                message,
            })?;
        }
        let names: Vec<String> = rows.iter().map(|(_, row)| row.name.clone()).collect();
        let contents = file::contents(rows.into_iter(), words)
            .map_err(|(row, error)| OwnFault::new(row, &error))?;
        let spelled: Vec<String> = contents.metrics.iter().map(|m| m.name.clone()).collect();
        let table = Table::build(contents).map_err(|error| {
            let later = match &error {
                CatalogueError::Claimed { second, .. }
                | CatalogueError::SameCanonical { second, .. } => {
                    spelled.iter().rposition(|name| name == second)
                }
                _ => None,
            };
            OwnFault::new(later.unwrap_or_default(), &error)
        })?;
        for (row, metric) in table.metrics.iter().enumerate() {
            self.check_canonical(metric).map_err(|message| OwnFault {
                row,
                name: names.get(row).cloned(),
                message,
            })?;
        }
        Ok(Self {
            groups: self.groups.iter().copied().chain(groups).collect(),
            flink: self.flink.clone(),
            own: Some(Own { table, source }),
        })
    }

    /// Metrics of the user's and what each takes of Flink's: names that would be another metric
    /// without the user's row.
    pub fn taken(&self) -> impl Iterator<Item = (&Metric, &str)> {
        self.flink.metrics.iter().flat_map(|metric| &metric.exported).filter_map(|exported| {
            let own = &self.own.as_ref()?.table;
            Some((own.find(self, &self.filled(exported))?.metric, exported.as_str()))
        })
    }

    /// An exported name with something in the place of each `<segment>`.
    fn filled(&self, exported: &str) -> String {
        self.segments().fold(exported.to_owned(), |name, segment| {
            let part = if segment.is_number { "0" } else { "x" };
            name.replace(&format!("<{}>", segment.name), part)
        })
    }

    /// Refuses a canonical name that is another metric's of Flink's: two metrics would be one.
    fn check_canonical(&self, own: &Metric) -> Result<(), String> {
        let exported: HashSet<&String> = own.exported.iter().collect();
        for canonical in &own.canonical {
            let Some(metric) = self.flink.lookup_canonical(canonical) else { continue };
            let takes_it = metric.exported.iter().any(|name| exported.contains(name));
            if !takes_it {
                return Err(format!(
                    "would be sent as `{canonical}`, which is the name of Flink's own `{}`; give it another \
                     one with `canonical`",
                    metric.name
                ));
            }
        }
        Ok(())
    }
}

impl OwnFault {
    fn new(row: usize, error: &CatalogueError) -> Self {
        match error {
            CatalogueError::Name { name, reason } => {
                Self { row, name: Some(name.clone()), message: format!("`{name}`: {reason}") }
            }
            error => Self { row, name: None, message: error.to_string() },
        }
    }
}

/// Refuses a name without text of its own: it would take each name of its scope.
fn check_texts(row: &Row, words: &Words) -> Result<(), (String, String)> {
    for name in std::iter::once(&row.name).chain(&row.also) {
        let spelling = Spelling::parse(name, &words.segments)
            .map_err(|reason| (name.clone(), format!("`{name}`: {reason}")))?;
        let has_text = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Own(text) | Piece::Key(text) => {
                text.bytes().any(|b| b.is_ascii_alphanumeric())
            }
            Piece::Word { .. } => true,
            Piece::Free { .. } => false,
        };
        if !spelling.pieces().iter().any(has_text) {
            let message = format!("`{name}` has no letter or digit that is always there");
            return Err((name.clone(), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flink::{
        catalogue,
        catalogue::{Kind, Matches, Registered, Scope, Unit},
        groups::OwnGroup,
    };

    fn row(name: &str) -> Row {
        Row {
            name: name.to_owned(),
            also: Vec::new(),
            scopes: vec![Scope::Operator],
            canonical: None,
            canonical_scope: None,
            former_name: false,
            r#type: Registered::Counter,
            kind: None,
            unit: Unit::Count,
            rollup: None,
            help: "Ours.".to_owned(),
            since: None,
            until: None,
            no_value: vec![f64::NAN],
            derived_from: Vec::new(),
            shared_with: Vec::new(),
            deprecated: false,
            replaced_by: None,
            opt_in: None,
            note: None,
        }
    }

    fn own(rows: Vec<Row>) -> OwnMetrics {
        let shop = Group::from(OwnGroup::try_new(0, "shop", "Ours.").unwrap());
        let about = "a shop".to_owned();
        let segment = Varying { matches: Matches::Text, label: None, stays: false, about };
        OwnMetrics {
            segments: vec![("shop".to_owned(), segment)],
            keys: vec![("topic_name".to_owned(), "topic".to_owned())],
            groups: vec![shop],
            rows: rows.into_iter().map(|row| (shop, row)).collect(),
        }
    }

    const OPERATOR: &str = "flink_taskmanager_job_task_operator";

    #[test]
    fn a_name_becomes_what_the_users_row_says() {
        let rows = vec![
            row("orders.placed"),
            row("orders.<shop>.refused"),
            row("read.{topic_name}.records"),
            Row { r#type: Registered::Histogram, ..row("basket") },
            Row { canonical: Some("sold".to_owned()), ..row("orders.gate<gate>.sold") },
        ];
        let catalogue = catalogue().with_own(own(rows)).unwrap();
        let check = |name: &str, help: &str, expect: &str| {
            let name = format!("{OPERATOR}_{name}");
            let help = (!help.is_empty()).then(|| help.replace("OPERATOR", &OPERATOR[6..]));
            let found = catalogue.find_described(&name, help.as_deref());
            let shown = found.map(|found| {
                let labels: Vec<_> = found.name_labels().map(|(k, v)| format!("{k}={v}")).collect();
                let renamed: Vec<_> =
                    found.renamed_labels().map(|(k, l)| format!("{k}>{l}")).collect();
                let name = found.canonical_name();
                let name = name.strip_prefix("flink_taskmanager_job_task_operator_").unwrap();
                let group = found.metric.group;
                [vec![group.to_string(), name.to_owned()], labels, renamed].concat().join(" ")
            });
            assert_eq!(shown.as_deref().unwrap_or("-"), expect, "{name}");
        };
        check("orders_placed", "", "shop orders_placed");
        check("orders_placed", "placed (scope: OPERATOR_orders)", "shop orders_placed");
        check("orders_placed", "orders-placed (scope: OPERATOR)", "-");
        check("orders_berlin_mitte_refused", "", "shop orders_refused shop=berlin_mitte");
        check(
            "orders_x_refused",
            "refused (scope: OPERATOR_orders_x)",
            "shop orders_refused shop=x",
        );
        check("orders_refused", "", "shop orders_refused");
        check("read_topic_name_records", "", "shop read_records topic_name>topic");
        check("basket", "", "shop basket");
        check("basket_count", "", "shop basket_count");
        check("orders_gate7_sold", "", "shop sold gate=7");
        check("orders_sold", "", "-");
        // Flink's own go on to be Flink's.
        check("numRecordsIn", "", "io numRecordsIn");
        check("s_rocksdb_estimate_num_keys", "", "rocksdb rocksdb_estimate_num_keys state=s");
        assert_eq!(catalogue.groups().len(), Group::ALL.len() + 1);
        assert_eq!(catalogue.groups().iter().position(|g| g.as_str() == "shop"), Some(31));
        assert_eq!(catalogue.taken().count(), 0);
        assert_eq!(catalogue.own_metrics().count(), 5);
    }

    #[test]
    fn a_row_of_the_users_goes_before_flinks() {
        let gauge = Row { r#type: Registered::Gauge, ..row("numRecordsIn") };
        let wide = Row { kind: Some(Kind::Gauge), ..row("<shop>Ratio") };
        let changed = catalogue().with_own(own(vec![gauge, wide])).unwrap();
        let found = |name: &str| {
            let metric = changed.lookup(&format!("{OPERATOR}_{name}")).unwrap();
            (metric.group.as_str(), metric.kind)
        };
        assert_eq!(found("numRecordsIn"), ("shop", Kind::Gauge));
        assert_eq!(found("numRecordsOut"), ("io", Kind::Counter));
        assert_eq!(found("bundleRatio"), ("shop", Kind::Gauge));
        // In another scope it is Flink's.
        let task = changed.lookup("flink_taskmanager_job_task_numRecordsIn").unwrap();
        assert_eq!(task.group, Group::Io);
        let taken: Vec<_> =
            changed.taken().map(|(own, name)| format!("{}: {name}", own.name)).collect();
        assert_eq!(
            taken,
            [
                format!("numRecordsIn: {OPERATOR}_numRecordsIn"),
                format!("<shop>Ratio: {OPERATOR}_bundleRatio")
            ]
        );
    }

    #[test]
    fn equal_rows_are_the_same_catalogue() {
        let made = |rows: &[&str]| {
            catalogue().with_own(own(rows.iter().map(|name| row(name)).collect())).unwrap()
        };
        assert!(made(&["a", "b"]) == made(&["a", "b"]));
        assert!(made(&["a", "b"]) != made(&["a", "c"]));
        assert!(made(&["a"]) != **catalogue());
        assert!(**catalogue() == **catalogue());
    }
}
