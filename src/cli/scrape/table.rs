//! `-o table`: what a person at a terminal wants to see: per target whether it answers and why not,
//! samples by group, what was dropped and why; then the series.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::{Report, TargetReport, custom, number};
use crate::{
    flink::budget::JobBudget,
    labels::Labels,
    scrape::{BudgetState, PartialPage, PushdownState, Pushed},
    series::Tally,
};

/// Writes all targets, then all series.
pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let paint = Paint { colour: io::stdout().is_terminal() };
    for (spec, state) in &report.ranges {
        let found: Vec<_> =
            state.instances.iter().map(|(port, role)| format!("{port} {role}")).collect();
        writeln!(out, "{} {spec}", paint.bold("range"))?;
        let closed = state.closed;
        match found.len() {
            0 => writeln!(out, "  no port answers with a Flink page; on {closed} nobody listens")?,
            _ => writeln!(out, "  found {}; on {closed} nobody listens", found.join(", "))?,
        }
        for (port, what) in &state.ignored {
            writeln!(out, "  {} {port}: {what}", paint.yellow("ignored"))?;
        }
        writeln!(out)?;
    }
    for target in &report.targets {
        write_target(target, &paint, out)?;
    }
    write_budget(&report.budget, &paint, out)?;
    write_unknown(report, &paint, out)?;
    write_series(report, &paint, out)
}

/// Names that no row describes, and how to change that.
fn write_unknown(report: &Report, paint: &Paint, out: &mut dyn io::Write) -> io::Result<()> {
    let unknown = custom::unknown(report);
    if unknown.is_empty() {
        return Ok(());
    }
    writeln!(out, "{} {} metric(s) that no row describes", paint.bold("custom"), unknown.len())?;
    for metric in &unknown {
        writeln!(out, "  {} {}, {} samples", metric.name, metric.kind, metric.samples)?;
    }
    let mut rows = unknown.iter().filter_map(|metric| metric.row.as_ref()).peekable();
    if rows.peek().is_some() {
        writeln!(out, "  rows to complete, for type, unit, help and a group of their own:")?;
        writeln!(out, "    flink:\n      metrics:\n        groups:\n          - group: my_group")?;
        writeln!(out, "            metrics:")?;
        for row in rows {
            writeln!(out, "              - {row}")?;
        }
    }
    writeln!(out)
}

fn write_target(report: &TargetReport, paint: &Paint, out: &mut dyn io::Write) -> io::Result<()> {
    let scraped = &report.scraped;
    let url = &report.target.url;
    let tally = match &scraped.result {
        Ok(tally) => tally,
        Err(failure) => {
            let reason = failure.reason.as_str();
            writeln!(
                out,
                "{} {url}\n  {} {reason}: {failure}",
                paint.bold("target"),
                paint.red("down")
            )?;
            write_faults(report, paint, out)?;
            return writeln!(out);
        }
    };
    writeln!(out, "{} {url}", paint.bold("target"))?;
    writeln!(
        out,
        "  {} {}, {} samples on {} bytes in {:.3} s, {} made from them, {} would be sent",
        paint.green("up"),
        scraped.role,
        tally.scraped,
        scraped.page_bytes,
        scraped.duration.as_secs_f64(),
        tally.made,
        tally.kept,
    )?;
    if let Some(partial) = &scraped.partial {
        write_partial(partial, paint, out)?;
    }
    write_pushdown(scraped.pushdown, out)?;
    write_dropped(tally, paint, out)?;
    write_faults(report, paint, out)?;
    let mut table = table();
    table.set_header(["group", "on the page", "made", "sent"].map(|name| paint.header(name)));
    for (group, samples) in tally.groups.iter() {
        if samples.scraped + samples.made > 0 {
            let numbers = [samples.scraped, samples.made, samples.kept];
            let cells = numbers.map(|n| Cell::new(n).set_alignment(CellAlignment::Right));
            let row: Vec<_> = [Cell::new(group)].into_iter().chain(cells).collect();
            table.add_row(row);
        }
    }
    for line in table.lines() {
        writeln!(out, "  {}", line.trim_end())?;
    }
    writeln!(out)
}

fn write_partial(page: &PartialPage, paint: &Paint, out: &mut dyn io::Write) -> io::Result<()> {
    let partial = paint.yellow("partial");
    if page.quarantined.is_empty() && page.suspected == 0 {
        return writeln!(
            out,
            "  {partial} the page does not come whole: some metric throws, whose name is not known"
        );
    }
    writeln!(out, "  {partial} the page comes only without metrics that throw when they are read")?;
    for metric in &page.quarantined {
        writeln!(out, "  {} {metric}", paint.red("throws"))?;
    }
    if page.suspected > 0 {
        let suspected = page.suspected;
        writeln!(out, "  {} one or more of {suspected} further metrics", paint.red("throws"))?;
    }
    Ok(())
}

/// How the pages that follow this one would be asked for.
fn write_pushdown(state: PushdownState, out: &mut dyn io::Write) -> io::Result<()> {
    match state {
        PushdownState::Off => Ok(()),
        PushdownState::Whole(why) => writeln!(out, "  whole pages would follow: {}", why.about()),
        PushdownState::Pushed(Pushed { families, left_out, whole_bytes, pushed_bytes, .. }) => {
            let percent = pushed_bytes.saturating_mul(100) / whole_bytes.max(1);
            writeln!(
                out,
                "  by name would follow: {families} families, without the {left_out} that are left out; \
                 {percent} % of the page's bytes"
            )
        }
    }
}

fn write_budget(budget: &BudgetState, paint: &Paint, out: &mut dyn io::Write) -> io::Result<()> {
    if !budget.budgets.is_on() {
        return Ok(());
    }
    writeln!(out, "{} {} series as they are rolled up", paint.bold("budget"), budget.series)?;
    for JobBudget { job, name, level, series, saved } in &budget.degraded {
        let what = format!("job {job} {name} is rolled up to the level {level}");
        writeln!(out, "  {} {what}: {series} series, {saved} saved", paint.yellow("degraded"))?;
    }
    for job in &budget.short {
        let of = if job.is_empty() { "all jobs".to_owned() } else { format!("job {job}") };
        writeln!(out, "  {} new series of {of} are left out", paint.red("exceeded"))?;
    }
    writeln!(out)
}

fn write_dropped(tally: &Tally, paint: &Paint, out: &mut dyn io::Write) -> io::Result<()> {
    let dropped = tally.dropped.iter().filter(|(_, samples)| *samples > 0);
    let dropped: Vec<_> =
        dropped.map(|(reason, samples)| format!("{samples} {}", reason.as_str())).collect();
    if !dropped.is_empty() {
        writeln!(out, "  {} {}", paint.yellow("dropped"), dropped.join(", "))?;
    }
    if tally.ids_kept > 0 {
        let ids = tally.ids_kept;
        writeln!(out, "  {ids} series keep an id that tells them from another of the same labels")?;
    }
    Ok(())
}

fn write_faults(report: &TargetReport, paint: &Paint, out: &mut dyn io::Write) -> io::Result<()> {
    let scraped = &report.scraped;
    for fault in &scraped.faults {
        writeln!(out, "  {} {fault}", paint.red("bad"))?;
    }
    let more = scraped.faults_total.saturating_sub(scraped.faults.len() as u64);
    if more > 0 {
        writeln!(out, "  {} and {more} more lines", paint.red("bad"))?;
    }
    Ok(())
}

/// The series, by name; labels on lines of their own, so that long Flink names stay readable.
fn write_series(report: &Report, paint: &Paint, out: &mut dyn io::Write) -> io::Result<()> {
    let mut by_name = BTreeMap::<&str, Vec<(&Labels<'_>, f64)>>::new();
    for series in report.targets.iter().flat_map(|target| &target.series) {
        by_name.entry(series.name()).or_default().push((&series.labels, series.value));
    }
    for (name, series) in by_name {
        for (labels, value) in series {
            let text = labels.to_string();
            let braces = text.strip_prefix(name).unwrap_or(&text);
            writeln!(out, "{}{braces} {}", paint.cyan(name), paint.bold(&number(value)))?;
        }
    }
    Ok(())
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Colours, on a terminal only.
struct Paint {
    colour: bool,
}

impl Paint {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    fn cyan(&self, text: &str) -> String {
        self.paint("36", text)
    }

    fn header(&self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.colour { cell.add_attribute(Attribute::Bold).fg(Color::Reset) } else { cell }
    }
}
