//! Pages of Flink's that are scraped badly, or of which nothing is left.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Finding, Id,
    Severity::{Problem, Warning},
    evidence::{
        Evidence, Page, PageFailure, PageFailureKind, PortAnswer, PortLook, Samples, TargetLook,
    },
    flink::{config_file, version_of},
    settings::Version,
};
use crate::{
    config::{Config, PromDuration},
    flink::{Group, catalogue},
};

/// All findings about pages.
pub(super) fn findings(evidence: &Evidence, config: &Config) -> Vec<Finding> {
    let mut findings: Vec<_> = pages(evidence)
        .flat_map(|(target, port, page)| match &page.scraped {
            Err(failure) => vec![failed(evidence, target, port, failure)],
            Ok(samples) => scraped(evidence, target, port, page, samples),
        })
        .collect();
    findings.extend(rules_that_drop_all(evidence));
    findings.extend(absent(evidence, config));
    findings
}

/// All pages of Flink's, with where they were found.
pub(super) fn pages(evidence: &Evidence) -> impl Iterator<Item = (&TargetLook, &PortLook, &Page)> {
    let ports =
        evidence.targets.iter().flat_map(|target| target.ports.iter().map(move |p| (target, p)));
    ports.filter_map(|(target, port)| match &port.answer {
        PortAnswer::Flink(page) => Some((target, port, &**page)),
        _ => None,
    })
}

fn failed(
    evidence: &Evidence,
    target: &TargetLook,
    port: &PortLook,
    failure: &PageFailure,
) -> Finding {
    let finding = |id, why: &str| Finding::new(id, Problem, &port.url, &failure.words, why);
    let file = config_file(evidence, &target.spec.host);
    match failure.kind {
        PageFailureKind::Closed => throwing(
            finding(
                Id::PageThrows,
                "single metrics of this process can be had and its whole page cannot: a gauge throws an \
                 exception while it is read, and the reporter gives up the whole page",
            ),
            evidence,
            target,
            &[],
        ),
        PageFailureKind::Timeout => finding(
            Id::PageSlow,
            "a page that is not complete in time is no page: up is 0 and all its series end",
        )
        .fix("the relay's scrape_configs, or --timeout", format!("scrape_timeout: {}", longer(target.timeout)))
        .fix("or make the page smaller in Flink's configuration", "metrics.reporter.prom.filter.excludes: 'SCOPE:NAME'"),
        PageFailureKind::Cut => finding(
            Id::PageCut,
            "a page that breaks off is no page: the process died while it wrote, or a proxy between has a limit",
        )
        .fix("the relay's machine: does it break off at the same place each time?", format!("curl -s {} | wc -c", port.url)),
        PageFailureKind::Limit => finding(
            Id::PageLimit,
            "the page grew beyond what the configuration allows, and then nothing of it is sent",
        )
        .fix("the relay's scrape_configs: raise the limit that is named above, or", "flinkrelay scrape --target HOST:PORT   # what has grown?"),
        PageFailureKind::Empty => finding(
            Id::PageEmpty,
            "the reporter's filters let nothing through, or a URL parameter asks for names that are not there",
        )
        .fix(format!("to have all metrics: {}", file), "# metrics.reporter.prom.filter.includes: …   (and filter.excludes)"),
        PageFailureKind::Other => finding(
            Id::TargetStatus,
            "a part of the page could be had and the whole page could not: something in front of the reporter decides that",
        )
        .fix("the relay's machine: what is answered", format!("curl -sv {} | head", port.url)),
    }
}

fn scraped(
    evidence: &Evidence,
    target: &TargetLook,
    port: &PortLook,
    page: &Page,
    samples: &Samples,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if samples.kept == 0 && samples.scraped > 0 {
        findings.push(nothing_kept(port, samples));
    }
    if page.took * 2 > target.timeout {
        let took = page.took.as_secs_f64();
        let seen = format!(
            "{} bytes in {took:.1} s; scrape_timeout is {}",
            page.bytes,
            PromDuration(target.timeout)
        );
        let why = "when the process is busier, or the page grows, scrapes begin to fail";
        let line = format!("scrape_timeout: {}", longer(target.timeout));
        findings.push(
            Finding::new(Id::PageSlow, Warning, &port.url, seen, why)
                .fix("the relay's scrape_configs, or --timeout", line)
                .fix(
                    "or make the page smaller in Flink's configuration",
                    "metrics.reporter.prom.filter.excludes: 'SCOPE:NAME'",
                ),
        );
    }
    if let Some(names) = &page.throws {
        let seen = match names.as_slice() {
            [] => "the page does not come whole; which metric throws is not found yet".to_owned(),
            names => {
                format!("the page does not come whole: {} throw(s) when read", names.join(", "))
            }
        };
        let why = "the reporter gives up the whole page, so the relay asks around these metrics, in many \
                   small requests; their own values are lost";
        let finding = Finding::new(Id::PageThrows, Warning, &port.url, seen, why);
        findings.push(throwing(finding, evidence, target, names));
    }
    if page.faults > 0 {
        let first = page.first_fault.as_deref().unwrap_or_default();
        let seen = format!("{} line(s) cannot be read; the first: {first}", page.faults);
        let why = "each costs the samples of that line; the reporter writes such lines for metrics of users \
                   whose label names become equal";
        findings.push(
            Finding::new(Id::PageLines, Warning, &port.url, seen, why)
                .fix("the job's code: a key of addGroup(key, value) that differs from the others in letters, not in `-` or `.`", "flinkrelay scrape --target HOST:PORT   # all of them"),
        );
    }
    findings
}

/// What is done about metrics that throw.
fn throwing(
    finding: Finding,
    evidence: &Evidence,
    target: &TargetLook,
    names: &[String],
) -> Finding {
    let version = version_of(evidence, &target.spec.host);
    let filters: Vec<_> = names.iter().map(|name| filter_of(name)).collect();
    let filter = match filters.as_slice() {
        [] => "*:NAME_OF_THE_GAUGE".to_owned(),
        filters => filters.join(";"),
    };
    // In the older file quotes belong to the value; in YAML an asterisk without them is an alias.
    let quote = if version < Version(1, 19) { "" } else { "'" };
    finding
        .fix(
            "the process's log, or the code that registers the gauge: what it throws",
            "grep -h -A3 Exception log/flink-*.log",
        )
        .fix(
            format!("until that is repaired, from 1.16 on: {}", version.config_file()),
            format!("metrics.reporter.prom.filter.excludes: {quote}{filter}{quote}"),
        )
}

/// What Flink's filters call a metric family of a page. Of a name that the catalogue does not know only the
/// end is certain.
fn filter_of(family: &str) -> String {
    let known = catalogue().lookup(family).map_or(family, |metric| metric.name.as_str());
    match known.rsplit_once('.') {
        Some((scope, leaf)) if known.starts_with("Status.") => format!("*{scope}:{leaf}"),
        Some((_, leaf)) => format!("*:*{leaf}"),
        None => format!("*:*{}", known.rsplit('_').next().unwrap_or(known)),
    }
}

fn nothing_kept(port: &PortLook, samples: &Samples) -> Finding {
    let (groups, rules) = (samples.dropped_by_groups, samples.dropped_by_rules);
    let total = samples.scraped;
    if groups >= rules {
        let on_page: Vec<_> = samples.groups.keys().map(|group| group.as_str()).collect();
        let seen = format!(
            "of {total} samples flink.groups lets none through; the page has the groups {}",
            on_page.join(", ")
        );
        let why = "the filter keeps only groups that this page does not have";
        return Finding::new(Id::GroupsDropAll, Problem, &port.url, seen, why)
            .fix("the relay's command line", format!("--groups {}", on_page.join(",")))
            .fix("or its configuration, for all groups", "flink: {groups: {include: []}}");
    }
    let seen =
        format!("of {total} samples metric_relabel_configs drop {rules}, and nothing is left");
    let why = "rules see names and labels as they are sent: canonical names, `operator` and not `operator_name`";
    Finding::new(Id::RelabelDropsAll, Problem, &port.url, seen, why).fix(
        "the relay's scrape_configs: the rule with `action: keep` or `drop`",
        "metric_relabel_configs: []",
    )
}

/// Receivers whose own rules leave nothing of what all pages have.
fn rules_that_drop_all(evidence: &Evidence) -> Vec<Finding> {
    let good = || pages(evidence).filter_map(|(.., page)| page.scraped.as_ref().ok());
    let kept: u64 = good().map(|samples| samples.kept).sum();
    let none = evidence.receivers.iter().filter(|receiver| {
        let views = good().filter_map(|samples| samples.views.get(receiver.view));
        kept > 0 && views.map(|view| view.series + view.kept_back).sum::<u64>() == 0
    });
    none.map(|receiver| {
        let seen = format!("of {kept} samples its write_relabel_configs leave none");
        let why = "nothing but `up` and the like is sent to this receiver";
        Finding::new(Id::RelabelDropsAll, Problem, &receiver.config.name, seen, why).fix(
            "the relay's remote_write: the rule with `action: keep` or `drop`",
            "write_relabel_configs: []",
        )
    })
    .collect()
}

/// Groups that were asked for by name, that no page has, and that Flink has to be told to export.
fn absent(evidence: &Evidence, config: &Config) -> Vec<Finding> {
    let filter = config.flink.groups;
    let all = Group::ALL.into_iter().all(|group| filter.allows(group));
    let good: Vec<_> =
        pages(evidence).filter_map(|(.., page)| page.scraped.as_ref().ok()).collect();
    if all || good.is_empty() {
        return Vec::new();
    }
    let on_pages: BTreeSet<Group> =
        good.iter().flat_map(|samples| samples.groups.keys().copied()).collect();
    let switched = filter.groups().filter(|group| !on_pages.contains(group));
    let switched = switched.filter_map(|group| Some((group, option(group)?)));
    switched
        .map(|(group, option)| {
            let seen = format!("the group `{group}` is asked for and is on no page");
            let why = "Flink exports its metrics only when it is told to";
            let line = match option.contains(':') {
                true => option.to_owned(),
                false => format!("{option}: true"),
            };
            Finding::new(Id::GroupAbsent, Warning, "flink.groups", seen, why)
                .fix(config_file(evidence, ""), line)
        })
        .collect()
}

/// The option that switches a group on, when none of its metrics is there without one.
fn option(group: Group) -> Option<&'static str> {
    let mut options = catalogue().metrics_of(group).map(|metric| metric.opt_in.as_deref());
    let first = options.next()??;
    options.all(|option| option.is_some()).then_some(first)
}

/// Twice the time, for a line to be copied.
fn longer(timeout: Duration) -> String {
    PromDuration(timeout * 2).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_as_filters_call_them() {
        let check = |family: &str, filter: &str| assert_eq!(filter_of(family), filter);
        let managed = "flink_taskmanager_Status_Flink_Memory_Managed_Used";
        check(managed, "*Status.Flink.Memory.Managed:Used");
        check("flink_taskmanager_job_task_numRecordsIn", "*:*numRecordsIn");
        check("flink_taskmanager_job_task_operator_my_group_queueSize", "*:*queueSize");
    }
}
