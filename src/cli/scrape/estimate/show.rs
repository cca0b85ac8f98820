//! The estimate for people.

use std::io;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{Amount, Cost, Estimate};

/// Writes the estimate.
pub(in crate::cli::scrape) fn write(
    estimate: &Estimate,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for (role, targets) in &estimate.targets {
        let (count, series) = (targets.count, targets.series);
        let mean = series as f64 / count as f64;
        writeln!(
            out,
            "{count} {role} page(s): {series} series, {mean:.0} a page, {} on the largest",
            targets.series_max
        )?;
    }
    writeln!(out)?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "GROUP",
        "JOB",
        "SERIES",
        "SAMPLES/S",
        "1.0 A DAY",
        "2.0 A DAY",
        "AT LEVEL TASK",
        "AT LEVEL JOB",
    ]);
    for row in &estimate.rows {
        let job = row.job_name.as_deref().or(row.job_id.as_deref()).unwrap_or("-");
        add(&mut table, &row.group, job, &row.cost);
    }
    add(&mut table, "together", "", &estimate.total);
    if let Some(scaled) = &estimate.scaled {
        let managers = format!("{} TaskManagers", scaled.task_managers);
        add(&mut table, "together", &managers, &scaled.cost);
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    let metadata = bytes(estimate.metadata_bytes_per_day);
    writeln!(
        out,
        "\nBodies as they are compressed on the wire. Rows share texts, so together they are smaller than their sum.\n\
         Metadata in 1.0: {metadata} a day more. Levels are within each target."
    )?;
    write_events(estimate, out)?;
    write_limits(estimate, out)
}

fn add(table: &mut Table, group: &str, job: &str, cost: &Cost) {
    let Cost { now, at_level_task, at_level_job } = cost;
    let numbers = [
        now.series.to_string(),
        format!("{:.1}", now.samples_per_second),
        bytes(now.bytes_per_day_v1),
        bytes(now.bytes_per_day_v2),
        saved(*now, *at_level_task),
        saved(*now, *at_level_job),
    ];
    let numbers = numbers.map(|text| Cell::new(text).set_alignment(CellAlignment::Right));
    table.add_row([Cell::new(group), Cell::new(job)].into_iter().chain(numbers));
}

/// The series that are left, and what part of them is saved.
fn saved(now: Amount, then: Amount) -> String {
    let less = 100.0 * (1.0 - then.series as f64 / now.series.max(1) as f64);
    let less = if less.abs() < 0.5 { 0.0 } else { -less };
    format!("{} ({less:+.0} %)", then.series)
}

/// Bytes in units of ten, as discs and invoices count.
fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut left = bytes / 1000.0;
    for (at, unit) in UNITS.iter().enumerate() {
        if left < 1000.0 || at + 1 == UNITS.len() {
            return format!("{left:.1} {unit}");
        }
        left /= 1000.0;
    }
    String::new()
}

fn write_events(estimate: &Estimate, out: &mut dyn io::Write) -> io::Result<()> {
    let new = &estimate.new_series;
    writeln!(
        out,
        "\nNew series when something is started again, while the receiver keeps the old ones for hours:"
    )?;
    writeln!(out, "  {} when all jobs are restarted", new.attempts)?;
    writeln!(out, "  {} when all jobs are submitted again, with other ids", new.jobs)?;
    writeln!(out, "  {} when all TaskManagers are replaced, with other ids", new.task_managers)
}

fn write_limits(estimate: &Estimate, out: &mut dyn io::Write) -> io::Result<()> {
    let of = estimate
        .scaled
        .as_ref()
        .map_or_else(String::new, |scaled| format!(" with {} TaskManagers", scaled.task_managers));
    writeln!(out, "\nMimir's default limits for a tenant{of}:")?;
    for limit in &estimate.mimir {
        let verdict = if limit.is_hit { "HIT" } else { "ok" };
        let series = match limit.series.as_str() {
            "" => String::new(),
            series => format!(", {series}"),
        };
        let (name, found, limit) = (limit.name, limit.found, limit.limit);
        writeln!(out, "  {verdict:<3} {name:<27} {found} of {limit}{series}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        let check = |number: f64, expect: &str| assert_eq!(bytes(number), expect);
        check(0.0, "0.0 kB");
        check(999_940.0, "999.9 kB");
        check(1_000_000.0, "1.0 MB");
        check(2.5e9, "2.5 GB");
        check(1e16, "10000.0 TB");
    }

    #[test]
    fn what_is_saved_is_a_part() {
        let series = |series| Amount { series, ..Amount::default() };
        let check = |now, then, expect: &str| assert_eq!(saved(series(now), series(then)), expect);
        check(100, 25, "25 (-75 %)");
        check(100, 100, "100 (+0 %)");
        check(4, 8, "8 (+100 %)");
        check(0, 0, "0 (-100 %)");
    }
}
