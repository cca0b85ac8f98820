//! `deploy/example.yaml` and `docs/configuration.md` against the code.

use std::collections::BTreeMap;

use flinkrelay::config::SECTIONS;

use super::{good, job, read, receiver};

const EXAMPLE: &str = include_str!("../../deploy/example.yaml");
const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// The word before a line's first colon, without the marks of a list and of a comment.
fn key_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("# or ").or_else(|| line.strip_prefix('#')).unwrap_or(line);
    let line = line.strip_prefix("- ").unwrap_or(line);
    let (key, _) = line.split_once(':')?;
    key.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()).then_some(key)
}

/// Whether the line is a key with its default, commented out.
fn is_default(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('#') && line.as_bytes().get(1).is_some_and(u8::is_ascii_lowercase)
}

#[test]
fn the_example_is_valid_as_it_is() {
    let config = good(EXAMPLE);
    assert_eq!(config.scrapes.len(), 3);
    assert_eq!(config.receivers.len(), 5);
}

#[test]
fn the_example_has_every_key() {
    let present: Vec<&str> = EXAMPLE.lines().filter_map(key_of).collect();
    for section in SECTIONS {
        for key in section.keys {
            assert!(present.contains(key), "{}.{key} is not in the example", section.name);
        }
    }
}

#[test]
fn the_example_has_no_key_that_does_not_exist() {
    let known: Vec<&str> = SECTIONS.iter().flat_map(|section| section.keys).copied().collect();
    let own = ["cluster", "team"];
    for line in EXAMPLE.lines().filter(|line| is_default(line) || line.contains("# or ")) {
        if let Some(key) = key_of(line) {
            assert!(known.contains(&key) || own.contains(&key), "{line}");
        }
    }
}

#[test]
fn defaults_of_the_example_are_the_built_in_ones() {
    let mut count = 0;
    let uncommented: Vec<String> = EXAMPLE
        .lines()
        .map(|line| {
            if is_default(line) {
                count += 1;
                line.replacen('#', "", 1)
            } else {
                line.to_owned()
            }
        })
        .collect();
    assert!(count > 30, "only {count} defaults were found");
    let with_defaults = good(&uncommented.join("\n"));
    assert_eq!(format!("{with_defaults:#?}"), format!("{:#?}", good(EXAMPLE)));
}

#[test]
fn alternatives_of_the_example_are_valid_in_their_place() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let mut count = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some(alternative) = line.trim_start().strip_prefix("# or ") else { continue };
        if alternative.starts_with("key:") {
            continue;
        }
        count += 1;
        let key = key_of(alternative).unwrap();
        let indent = &line[..line.len() - line.trim_start().len()];
        // `x_file` stands for `x` and the other way round; a commented default needs no removal.
        let other = key.strip_suffix("_file").map_or_else(|| format!("{key}_file"), str::to_owned);
        let near = at.saturating_sub(2)..(at + 2).min(lines.len());
        let edited: Vec<String> = lines
            .iter()
            .enumerate()
            .filter(|(i, line)| {
                !(near.contains(i) && line.trim_start().starts_with(&format!("{other}:")))
            })
            .map(
                |(i, line)| {
                    if i == at { format!("{indent}{alternative}") } else { (*line).to_owned() }
                },
            )
            .collect();
        good(&edited.join("\n"));
    }
    assert_eq!(count, 10);
}

/// The reference's tables: section name to rows of key and default.
fn reference() -> BTreeMap<String, Vec<(String, String)>> {
    let mut tables = BTreeMap::<String, Vec<(String, String)>>::new();
    let mut section = None;
    for line in REFERENCE.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            section = match title {
                "the file" => Some(String::new()),
                title => title.strip_prefix('`').map(|t| t.trim_end_matches('`').to_owned()),
            };
        } else if line.starts_with("## ") {
            section = None;
        }
        let (Some(section), Some(row)) = (&section, line.strip_prefix("| `")) else { continue };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let key = cells[0].trim_end_matches('`');
        tables.entry(section.clone()).or_default().push((key.to_owned(), cells[1].to_owned()));
    }
    tables
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let tables = reference();
    let documented: Vec<&str> = tables.keys().map(String::as_str).collect();
    let mut sections: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    sections.sort_unstable();
    assert_eq!(documented, sections);
    for section in SECTIONS {
        let keys: Vec<&str> = section.keys.to_vec();
        let rows: Vec<&str> = tables[section.name].iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(rows, keys, "section {:?}", section.name);
    }
}

/// A map of these keys and of a line.
fn inline(line: &str, more: &str) -> String {
    match line {
        "" => format!("{{{more}}}"),
        line if more.is_empty() => format!("{{{line}}}"),
        line => format!("{{{more}, {line}}}"),
    }
}

/// The smallest file for a line of where targets are looked for.
fn around_source(section: &str, line: &str) -> Option<String> {
    Some(match section {
        "file_sd_configs" => {
            job(&format!("file_sd_configs: [{}]", inline(line, "files: [a.json]")))
        }
        "http_sd_configs" => {
            job(&format!("http_sd_configs: [{}]", inline(line, "url: 'http://a'")))
        }
        "dns_sd_configs" => job(&format!("dns_sd_configs: [{}]", inline(line, "names: [a]"))),
        "kubernetes_sd_configs" => job(&format!(
            "kubernetes_sd_configs: [{}]",
            inline(line, "role: pod, api_server: 'https://a'")
        )),
        "namespaces" => job(&format!(
            "kubernetes_sd_configs: [{{role: pod, namespaces: {}}}]",
            inline(line, "")
        )),
        "selectors" => job(&format!(
            "kubernetes_sd_configs: [{{role: pod, selectors: [{}]}}]",
            inline(line, "role: pod")
        )),
        "flink_sd_configs" => job(&format!(
            "flink_sd_configs: [{}]",
            inline(line, "source: rest, url: 'http://a:8081'")
        )),
        _ => return None,
    })
}

/// The smallest file in which a line of the section can stand.
fn around(section: &str, line: &str) -> Option<String> {
    if let Some(file) = around_source(section, line) {
        return Some(file);
    }
    Some(match section {
        "global" => format!("global: {}\n{}", inline(line, ""), job("")),
        "scrape_configs" => job(line),
        "static_configs" => job("").replace(
            "[{targets: [localhost:9249]}]",
            &format!("[{}]", inline(line, "targets: [localhost:9249]")),
        ),
        "relabel_configs" => {
            job(&format!("relabel_configs: [{}]", inline(line, "target_label: a")))
        }
        "basic_auth" => job(&format!("basic_auth: {}", inline(line, "username: a"))),
        "authorization" => job(&format!("authorization: {}", inline(line, "credentials: a"))),
        "oauth2" => {
            let required = "client_id: a, token_url: 'http://a/'";
            job(&format!("oauth2: {}", inline(line, required)))
        }
        "sigv4" => {
            receiver(&format!("sigv4: {}", inline(line, "region: a, access_key: b, secret_key: c")))
        }
        "http_headers" => job(&format!("http_headers: {{X-A: {}}}", inline(line, "secrets: [a]"))),
        "tls_config" => job(&format!("tls_config: {}", inline(line, ""))),
        "remote_write" => receiver(line),
        "queue_config" => receiver(&format!("queue_config: {}", inline(line, ""))),
        "metadata_config" => receiver(&format!("metadata_config: {}", inline(line, ""))),
        "spool" => format!("spool: {}\n{}", inline(line, ""), job("")),
        "flink" => format!("flink: {}\n{}", inline(line, ""), job("")),
        "flink.groups" => format!("flink: {{groups: {}}}\n{}", inline(line, ""), job("")),
        "flink.rest" => format!("flink: {{rest: {}}}\n{}", inline(line, ""), job("")),
        "flink.metrics" => format!("flink: {{metrics: {}}}\n{}", inline(line, ""), job("")),
        "flink.metrics.segments" => format!(
            "flink: {{metrics: {{segments: {{shop: {}}}}}}}\n{}",
            inline(line, "about: a shop"),
            job("")
        ),
        "flink.metrics.groups" => format!(
            "flink: {{metrics: {{groups: [{}]}}}}\n{}",
            inline(line, "group: shop"),
            job("")
        ),
        "flink.metrics.groups.metrics" => format!(
            "flink: {{metrics: {{groups: [{{group: shop, metrics: [{}]}}]}}}}\n{}",
            inline(line, "name: a, scopes: [jobmanager], type: gauge, unit: count, help: A."),
            job("")
        ),
        "flink.derived" => format!("flink: {{derived: {}}}\n{}", inline(line, ""), job("")),
        "flink.labels" => format!("flink: {{labels: {}}}\n{}", inline(line, ""), job("")),
        "flink.rollups" => format!("flink: {{rollups: {}}}\n{}", inline(line, ""), job("")),
        "flink.budgets" => format!("flink: {{budgets: {}}}\n{}", inline(line, ""), job("")),
        _ => return None,
    })
}

#[test]
fn defaults_of_the_reference_are_the_built_in_ones() {
    let mut count = 0;
    for (section, rows) in reference() {
        for (key, default) in rows {
            let Some(default) = default.strip_prefix('`').and_then(|d| d.strip_suffix('`')) else {
                assert!(matches!(default.as_str(), "" | "required"), "{section}.{key}: {default}");
                continue;
            };
            count += 1;
            let file = around(&section, &format!("{key}: {default}"))
                .unwrap_or_else(|| panic!("no file for {section}.{key}"));
            let without = around(&section, "").unwrap();
            assert_eq!(
                format!("{:?}", good(&file)),
                format!("{:?}", good(&without)),
                "{section}.{key}: {default} is not what leaving it out means"
            );
        }
    }
    assert!(count > 40, "only {count} defaults were found");
}

/// Guards the test above: a value other than the default does change the configuration.
#[test]
fn a_value_other_than_the_default_shows() {
    for (section, line) in [
        ("global", "scrape_interval: 16s"),
        ("scrape_configs", "forget_after: 6m"),
        ("relabel_configs", "separator: ':'"),
        ("queue_config", "max_bytes: 65MiB"),
        ("queue_config", "drain: newest_first"),
        ("spool", "fsync: always"),
        ("metadata_config", "send: false"),
        ("flink.labels", "mode: raw"),
        ("flink.metrics.segments", "stays: true"),
        ("flink.metrics.groups.metrics", "deprecated: true"),
        ("flink.rest", "mode: off"),
        ("flink.rollups", "level: task"),
        ("flink.rollups", "levels: {io: off}"),
        ("flink.rollups", "across_targets: true"),
        ("flink.budgets", "series_per_job: 1"),
        ("flink.rest", "hold: 0s"),
        ("authorization", "type: Token"),
        ("scrape_configs", "follow_redirects: false"),
        ("remote_write", "follow_redirects: true"),
        ("remote_write", "enable_http2: false"),
        ("oauth2", "scopes: [a]"),
        ("sigv4", "service_name: b"),
        ("tls_config", "max_version: TLS12"),
        ("http_headers", "values: [b]"),
    ] {
        let changed = format!("{:?}", good(&around(section, line).unwrap()));
        let default = format!("{:?}", good(&around(section, "").unwrap()));
        assert_ne!(changed, default, "{section}: {line}");
    }
}

#[test]
fn required_keys_are_required() {
    for (section, key) in
        [("job_name", "job_name: flink"), ("url", "url: http://vm:8428/api/v1/write")]
    {
        let file = job("").replace(key, "");
        assert!(read(&file).is_err(), "{section}");
    }
}
