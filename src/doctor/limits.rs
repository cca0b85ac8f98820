//! Label limits: what the pages have against what a receiver is known to take.
//!
//! | receiver | labels | name | value | what it does |
//! |---|---|---|---|---|
//! | as configured (`label_limit` …) | | | | the relay keeps the series back |
//! | Mimir, Cortex, by their path | 30 | 1,024 bytes | 2,048 bytes | refuses the series with 400 |
//! | VictoriaMetrics, by its header | 40 | 256 bytes | 4,096 bytes | drops or cuts it without a word |

use super::{
    Finding, Fix, Id,
    Severity::{Problem, Warning},
    evidence::{Evidence, LabelSizes, ReceiverLook, VALUE_STEPS, ViewLook},
    pages::pages,
    receivers::subject,
};

/// What a product takes unless it is told otherwise.
struct Product {
    name: &'static str,
    labels: usize,
    name_bytes: usize,
    value_bytes: usize,
    does: &'static str,
    /// How each limit is raised there: labels, name, value.
    raise: [&'static str; 3],
}

const MIMIR: Product = Product {
    name: "Mimir's and Cortex' default",
    labels: 30,
    name_bytes: 1024,
    value_bytes: VALUE_STEPS[0],
    does: "refuses the series with 400 unless the limit was raised, and the relay counts the whole batch as rejected",
    raise: ["max_label_names_per_series", "max_label_name_length", "max_label_value_length"],
};

const VICTORIA: Product = Product {
    name: "VictoriaMetrics' default",
    labels: 40,
    name_bytes: 256,
    value_bytes: VALUE_STEPS[1],
    does: "drops or cuts it without an error unless the limit was raised",
    raise: ["-maxLabelsPerTimeseries", "-maxLabelNameLen", "-maxLabelValueLen"],
};

/// All findings about labels that are too many or too long.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    evidence.receivers.iter().filter_map(|receiver| of_receiver(evidence, receiver)).collect()
}

fn of_receiver(evidence: &Evidence, receiver: &ReceiverLook) -> Option<Finding> {
    let views = pages(evidence)
        .filter_map(|(.., page)| page.scraped.as_ref().ok()?.views.get(receiver.view));
    let views: Vec<&ViewLook> = views.collect();
    let kept_back: u64 = views.iter().map(|view| view.kept_back).sum();
    if kept_back > 0 {
        let first =
            views.iter().find_map(|view| view.first_kept_back.as_deref()).unwrap_or_default();
        let seen = format!("{kept_back} series exceed the label limits configured for it; {first}");
        let why = "the relay keeps them from this receiver, which would refuse them: their samples are lost to it";
        let finding = Finding::new(Id::LabelLimit, Warning, subject(receiver), seen, why);
        let config = &receiver.config;
        let limits = [
            ("label_limit", config.label_limit),
            ("label_name_length_limit", config.label_name_length_limit),
            ("label_value_length_limit", config.label_value_length_limit),
        ];
        let raise = limits.into_iter().filter(|(_, limit)| *limit > 0).map(|(key, limit)| {
            let place = "the relay's remote_write, if the receiver takes more";
            Fix::new(place, format!("{key}: {}", limit.saturating_mul(2)))
        });
        return Some(finding.fixes(raise));
    }
    let product = product(receiver)?;
    let (seen, raise) = views.iter().find_map(|view| exceeded(&view.sizes, &product))?;
    let why = format!("{} {}", product.name, product.does);
    let finding = Finding::new(Id::LabelLimit, Problem, subject(receiver), seen, why);
    Some(finding.fixes(raise))
}

/// Only what can be known: a configuration of its own stands above guesses.
fn product(receiver: &ReceiverLook) -> Option<Product> {
    let config = &receiver.config;
    if config.label_limit + config.label_name_length_limit + config.label_value_length_limit > 0 {
        return None;
    }
    let is_victoria = matches!(&receiver.answer, Some(Ok(answer)) if answer.is_victoria);
    match config.url.path() {
        "/api/v1/push" | "/api/prom/push" => Some(MIMIR),
        path if is_victoria || path.starts_with("/insert/") => Some(VICTORIA),
        _ => None,
    }
}

/// The first limit that is exceeded, with who exceeds it, and what to do.
fn exceeded(sizes: &LabelSizes, product: &Product) -> Option<(String, Vec<Fix>)> {
    let raise = |at: usize, to: usize| {
        let option = product.raise.get(at).copied().unwrap_or_default();
        let mark = if option.starts_with('-') { "=" } else { ": " };
        Fix::new("the receiver's limits", format!("{option}{mark}{to}"))
    };
    let step = VALUE_STEPS.iter().position(|step| *step == product.value_bytes)?;
    let longest = sizes.values.iter().filter(|(_, value)| value.bytes > product.value_bytes);
    if let Some((label, value)) = longest.max_by_key(|(_, value)| value.bytes) {
        let series = value.above.get(step).copied().unwrap_or_default();
        let (limit, bytes, metric) = (product.value_bytes, value.bytes, &value.metric);
        let seen = format!(
            "{series} series have a label `{label}` of more than {limit} bytes, the longest {bytes} ({metric})"
        );
        let cut = Fix::new(
            "the relay's remote_write: longer values are cut, with a hash of the whole",
            format!("label_value_length_limit: {limit}"),
        );
        return Some((seen, vec![cut, raise(2, bytes.next_power_of_two())]));
    }
    let too_many: u64 = sizes.labels.range(product.labels + 1..).map(|(_, series)| series).sum();
    if let (Some((metric, labels)), 1..) = (&sizes.most, too_many) {
        let seen = format!(
            "{too_many} series have more than {} labels, {metric} {labels}",
            product.labels
        );
        let drop = Fix::new(
            "or the relay's scrape_configs",
            "metric_relabel_configs: [{action: labeldrop, regex: NAME}]",
        );
        return Some((seen, vec![raise(0, *labels), drop]));
    }
    let (metric, label, bytes) =
        sizes.longest_name.as_ref().filter(|(.., bytes)| *bytes > product.name_bytes)?;
    let seen = format!(
        "the label name {label} of {metric} has {bytes} bytes, more than {}",
        product.name_bytes
    );
    Some((seen, vec![raise(1, *bytes)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::evidence::LongValue;

    #[test]
    fn limits_are_met_exactly_and_exceeded_by_one() {
        let sizes = |labels: usize, value: usize| LabelSizes {
            labels: [(labels, 3)].into(),
            most: Some(("m".to_owned(), labels)),
            longest_name: Some(("m".to_owned(), "a".to_owned(), 1)),
            values: [(
                "task_name".to_owned(),
                LongValue {
                    bytes: value,
                    metric: "m".to_owned(),
                    above: VALUE_STEPS.map(|step| u64::from(value > step)),
                },
            )]
            .into(),
        };
        let check = |labels, value, product: &Product, expect: &str| {
            let seen =
                exceeded(&sizes(labels, value), product).map_or_else(String::new, |(seen, _)| seen);
            assert!(seen.contains(expect) && seen.is_empty() == expect.is_empty(), "{seen}");
        };
        check(30, 2048, &MIMIR, "");
        check(31, 2048, &MIMIR, "3 series have more than 30 labels, m 31");
        check(
            30,
            2049,
            &MIMIR,
            "1 series have a label `task_name` of more than 2048 bytes, the longest 2049 (m)",
        );
        check(40, 4096, &VICTORIA, "");
        check(30, 4097, &VICTORIA, "more than 4096 bytes");
        let long_name =
            LabelSizes { longest_name: Some(("m".into(), "x".into(), 257)), ..sizes(1, 1) };
        assert!(exceeded(&long_name, &VICTORIA).is_some_and(|(seen, _)| seen.contains("257")));
        assert!(exceeded(&long_name, &MIMIR).is_none());
        let (_, fixes) = exceeded(&sizes(30, 2049), &MIMIR).unwrap();
        assert_eq!(fixes[0].line, "label_value_length_limit: 2048");
        assert_eq!(fixes[1].line, "max_label_value_length: 4096");
        let (_, fixes) = exceeded(&sizes(41, 1), &VICTORIA).unwrap();
        assert_eq!(fixes[0].line, "-maxLabelsPerTimeseries=41");
    }
}
