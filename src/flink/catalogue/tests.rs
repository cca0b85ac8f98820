//! The compiled-in catalogue against itself, hostile names, and files that are refused.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::flink::NAME_PREFIX;

/// An exported name with every `<segment>` replaced: a number's by `number`, others by `text`.
fn filled(exported: &str, text: &str, number: &str) -> String {
    let mut name = String::new();
    let mut rest = exported;
    while let Some((front, behind)) = rest.split_once('<') {
        let (segment, behind) = behind.split_once('>').unwrap();
        let mut segments = catalogue().segments();
        let is_number = segments.find(|s| s.name == segment).unwrap().is_number;
        name.extend([front, if is_number { number } else { text }]);
        rest = behind;
    }
    name + rest
}

#[test]
fn every_exported_name_leads_to_its_own_metric() {
    let mut claimed = HashMap::new();
    for metric in catalogue().metrics() {
        assert_eq!(
            metric.exported.len() % metric.scopes.len(),
            0,
            "{}: each name under each scope",
            metric.name
        );
        for exported in &metric.exported {
            let other = claimed.insert(exported, &metric.name);
            assert_eq!(other, None, "{exported} is claimed twice");
            let name = filled(exported, "some_Thing", "7");
            let found = catalogue().find(&name).unwrap_or_else(|| panic!("{name} is unknown"));
            assert!(std::ptr::eq(found.metric, metric), "{name} found as {}", found.metric.name);
            assert_eq!(found.family, name);

            let count = name.clone() + "_count";
            let twin = catalogue().find(&count);
            if metric.kind == Kind::Summary {
                let twin = twin.unwrap_or_else(|| panic!("{count} is unknown"));
                assert!(std::ptr::eq(twin.metric, metric), "{count}");
                assert_eq!(twin.family, name);
            } else {
                // What a library calls its metrics is open, and may end in `_count`.
                let is_open = |found: Found<'_, '_>| found.metric.name.ends_with("<metric>");
                assert!(twin.is_none_or(is_open), "{count} is no summary's");
            }
        }
    }
}

#[test]
fn every_metric_has_a_canonical_name_of_its_own() {
    let mut owners = HashMap::new();
    for metric in catalogue().metrics() {
        assert!(!metric.canonical.is_empty(), "{}", metric.name);
        for name in &metric.canonical {
            assert!(name.starts_with(NAME_PREFIX), "{name}");
            assert!(!name.contains("__") && !name.ends_with('_'), "{name}: an odd joint");
            // What is no dimension stays; everything else has left.
            let staying = name.replace("<metric>", "m");
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            assert!(staying.bytes().all(is_name), "{name}: a part varies");
            if metric.is_former_name {
                continue;
            }
            let other = owners.insert(name, metric);
            assert!(other.is_none(), "{name}: of {} and {:?}", metric.name, other.map(|m| &m.name));
            let found = catalogue().lookup_canonical(&staying);
            assert!(found.is_some_and(|m| std::ptr::eq(m, metric)), "{name}: {found:?}");
            let count = catalogue().lookup_canonical(&format!("{staying}_count"));
            assert!(
                (metric.kind == Kind::Summary) == count.is_some_and(|m| std::ptr::eq(m, metric))
                    || name.ends_with("<metric>"),
                "{name}_count: {count:?}"
            );
        }
        for exported in &metric.exported {
            let name = filled(exported, "some_Thing", "7");
            let found = catalogue().find(&name).unwrap();
            let sent = found.canonical_name().replace("some_Thing", "<metric>");
            assert!(metric.canonical.contains(&sent), "{name} is sent as {sent}");
            let labels = found.name_labels().map(|(label, _)| label);
            let labels = labels.chain(found.renamed_labels().map(|(_, label)| label));
            for label in labels {
                assert!(metric.canonical_labels.iter().any(|l| l == label), "{name}: {label}");
            }
        }
    }
    assert!(owners.len() > 500, "{}", owners.len());
}

#[test]
fn a_former_name_is_the_same_metric() {
    let mut former = 0;
    for metric in catalogue().metrics().filter(|metric| metric.is_former_name) {
        let name = &metric.name;
        let heir = metric.replaced_by.as_ref().unwrap();
        let heir = catalogue().metrics().find(|m| m.exported.contains(heir)).unwrap();
        assert!(!heir.is_former_name, "{name}: {} is former too", heir.name);
        assert_eq!(metric.canonical, heir.canonical, "{name}");
        assert_eq!(metric.canonical_labels, heir.canonical_labels, "{name}");
        assert_eq!((metric.kind, metric.unit), (heir.kind, heir.unit), "{name}");
        assert_eq!(metric.no_value.is_empty(), heir.no_value.is_empty(), "{name}");
        former += 1;
    }
    // 14 of the group network, 8 at task level, 2 of Kafka, fullRestarts, deltaJoinAsyncIoTime.
    assert_eq!(former, 26);
}

#[test]
fn every_row_is_fit_to_print() {
    for metric in catalogue().metrics() {
        let name = &metric.name;
        assert!(!metric.scopes.is_empty(), "{name}: no scope");
        let scopes: HashSet<_> = metric.scopes.iter().collect();
        assert_eq!(scopes.len(), metric.scopes.len(), "{name}: a scope twice");
        for text in [Some(&metric.help), metric.note.as_ref()].into_iter().flatten() {
            assert!(text.ends_with('.') && !text.contains('\n'), "{name}: {text}");
            assert!(text.starts_with(|c: char| !c.is_lowercase()), "{name}: {text}");
        }
        assert!(metric.help.len() <= 160, "{name}: help is a sentence or two, not an essay");
        let oldest = match metric.product() {
            Product::Flink => Version { major: 1, minor: 13 },
            Product::KubernetesOperator => Version { major: 1, minor: 1 },
        };
        let since = metric.since.unwrap();
        assert!(since >= oldest, "{name}: nothing before {oldest} was examined");
        assert!(metric.until.is_none_or(|until| until >= since), "{name}: until < since");
        assert_eq!(
            metric.kind == Kind::Summary,
            metric.registered == Registered::Histogram,
            "{name}: histograms and nothing else are exported as summaries"
        );
        if let Some(heir) = &metric.replaced_by {
            let mut exported = catalogue().metrics().flat_map(|m| &m.exported);
            assert!(exported.any(|name| name == heir), "{name}: replaced by unknown {heir}");
            assert!(metric.deprecated || metric.until.is_some(), "{name}: replaced, yet in use");
        }
        assert!(!metric.shared_with.contains(&metric.group), "{name}: shared with its own group");
    }
}

#[test]
fn every_metric_of_a_subtask_says_how_it_is_rolled_up() {
    use Function::{Avg, Max, Min, Skew, Sum};
    let mut rows = 0;
    for metric in catalogue().metrics() {
        let (name, rollup) = (&metric.name, &*metric.rollup);
        if !metric.scopes.iter().any(|scope| scope.is_of_subtask()) {
            assert!(rollup.is_empty(), "{name} is not a subtask's");
            continue;
        }
        rows += 1;
        let fits = match (metric.kind, metric.registered, metric.unit) {
            (Kind::Counter, ..) => rollup == [Sum],
            (Kind::Summary, ..) => rollup == [Max],
            // A rate of bytes or records; a share of time or a frequency is none.
            (_, Registered::Meter, Unit::PerSecond | Unit::BytesPerSecond) => rollup.contains(&Sum),
            (_, _, Unit::TimestampMs) => rollup == [Min],
            (_, _, Unit::Ratio | Unit::MillisecondsPerSecond) => {
                rollup.starts_with(&[Avg, Max]) || rollup == [Avg, Min]
            }
            (_, _, Unit::Offset | Unit::Id) => rollup == [Max],
            _ => !rollup.is_empty(),
        };
        assert!(fits, "{name}: {rollup:?}");
        assert!(rollup.is_sorted_by(|a, b| a < b), "{name}: {rollup:?} is in order, each once");
        assert!(!rollup.contains(&Skew) || rollup.len() > 1, "{name}: skew says nothing alone");
    }
    let written = include_str!("../catalogue.yaml").matches("\n        rollup: [").count();
    assert_eq!(written, rows, "each row says it, none leaves it to what is usual");
    for metric in catalogue().metrics().filter(|metric| metric.is_former_name) {
        let heir = metric.replaced_by.as_ref().unwrap();
        let heir = catalogue().metrics().find(|m| m.exported.contains(heir)).unwrap();
        assert_eq!(metric.rollup, heir.rollup, "{} and its former name", heir.name);
    }
}

#[test]
fn every_group_but_custom_has_metrics_and_they_come_in_order() {
    for group in Group::ALL {
        let count = catalogue().metrics_of(group).count();
        assert_eq!(count == 0, group == Group::Custom, "{group}: {count}");
    }
    assert!(catalogue().metrics().is_sorted_by_key(|metric| metric.group));
}

#[test]
fn every_segment_is_explained_and_used() {
    for Segment { name, about, .. } in catalogue().segments() {
        assert!(!about.is_empty() && !about.ends_with('.'), "{name}: {about}");
        let part = format!("<{name}>");
        let mut exported = catalogue().metrics().flat_map(|m| &m.exported);
        assert!(exported.any(|name| name.contains(&part)), "{part} is in no name");
    }
}

#[test]
fn the_closest_of_several_fitting_names_wins() {
    let check = |name: &str, expect: &str| {
        let found = catalogue().lookup(name).unwrap_or_else(|| panic!("{name} is unknown"));
        assert_eq!(found.name, expect, "{name}");
    };
    let operator = |name: &str, expect: &str| check(&format!("{OPERATOR}{name}"), expect);
    operator("KafkaConsumer_commitsFailed", "KafkaConsumer.commitsFailed");
    operator("KafkaConsumer_records_lag_max", "KafkaSourceReader.KafkaConsumer.records-lag-max");
    operator("KafkaConsumer_commit_total", "KafkaSourceReader.KafkaConsumer.<metric>-total");
    operator("KafkaConsumer_commit_rate", "KafkaSourceReader.KafkaConsumer.<metric>");
    operator(
        "KafkaConsumer_topic_partition_currentOffsets",
        "KafkaConsumer.{topic}.{partition}.currentOffsets",
    );
    let legacy = "-offsets.<topic>-<kafka_partition>";
    let of = |which: &str| format!("KafkaConsumer.{which}{legacy}");
    operator("KafkaConsumer_current_offsets_clicks_eu_12", &of("current"));
    operator("KafkaConsumer_committed_offsets_clicks_0", &of("committed"));
    operator("KafkaProducer_outgoing_byte_total", "KafkaProducer.outgoing-byte-total");
    operator("KafkaProducer_txn_init_time_ns_total", "KafkaProducer.<metric>-total");
    operator("state_name_valueStateGetLatency_count", "{state_name}.valueStateGetLatency");
    operator("my_state_valueStateGetLatency", "{state_name}.valueStateGetLatency");
    let k8s = |name: &str, expect: &str| check(&format!("flink_k8soperator_{name}"), expect);
    k8s("Status_JVM_Memory_Heap_Used", "Status.JVM.Memory.Heap.Used");
    k8s(
        "Status_JVM_GarbageCollector_G1_Old_Generation_Time",
        "Status.JVM.GarbageCollector.<gc>.Time",
    );
    k8s("Status_JVM_Uptime", "Status.JVM.<metric>");
    k8s(
        "namespace_Lifecycle_State_STABLE_TimeSeconds",
        "Lifecycle.State.<resource_state>.TimeSeconds",
    );
    k8s(
        "FlinkDeployment_Lifecycle_State_STABLE_TimeSeconds_count",
        "<resource_kind>.Lifecycle.State.<resource_state>.TimeSeconds",
    );
    k8s("namespace_Lifecycle_State_STABLE_Count", "Lifecycle.State.STABLE.Count");
    k8s("KubeClient_HttpRequest_Failed_Count", "KubeClient.HttpRequest.Failed.Count");
    k8s("KubeClient_HttpRequest_GET_Count", "KubeClient.HttpRequest.<http_method>.Count");
    k8s("FlinkDeployment_JOSDK_Controller_Reconcile_Count", "JOSDK.<metric>");
    let load = "AutoScaler.{jobVertexID}.LOAD.Current";
    k8s("namespace_resource_AutoScaler_jobVertexID_LOAD_Current", load);
    k8s(
        "namespace_resource_AutoScaler_jobVertexID_cbc357ccb763df2852fee8c4fc7d55f2_LOAD_Current",
        load,
    );
    check("flink_jobmanager_System_CPU_UsageCPU11", "System.CPU.UsageCPU<cpu>");
    check("flink_taskmanager_System_Network_br_lan0_SendRate", "System.Network.<nic>.SendRate");
}

const OPERATOR: &str = "flink_taskmanager_job_task_operator_";

#[test]
fn a_state_may_be_called_anything() {
    for state in [
        "window_aggs",
        "_timer_state_event_user_timers",
        "rocksdb",
        "_rocksdb_",
        "a_rocksdb_estimate_num_keys",
        "rocksdb_bytes_read",
        "numRecordsIn",
        "num_files_at_level3",
        "column_family",
        "x_count",
        "_",
        "0",
        "a:b",
    ] {
        for metric in catalogue().metrics_of(Group::RocksDb).filter(|m| m.name.contains("<state>"))
        {
            let name = filled(&metric.exported[0], state, "3");
            assert!(name.starts_with(&format!("{OPERATOR}{state}_rocksdb_")), "{name}");
            let found = catalogue().lookup(&name).map(|m| m.name.as_str());
            assert_eq!(found, Some(metric.name.as_str()), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn varying_parts_may_hold_all_that_a_name_may_hold(
        text in "[a-zA-Z0-9_:]{1,60}",
        number in "[0-9]{1,4}",
    ) {
        // `All` is a row of its own; no collector has that name.
        prop_assume!(text != "All");
        for metric in catalogue().metrics() {
            for exported in &metric.exported {
                let name = filled(exported, &text, &number);
                let found = catalogue().lookup(&name).map(|m| &m.name);
                prop_assert_eq!(found, Some(&metric.name), "{}", name);
            }
        }
    }

    #[test]
    fn no_name_makes_it_stumble(name in "(flink_(taskmanager_job_task_operator_|jobmanager_)?)?\\PC{0,60}") {
        if let Some(found) = catalogue().find(&name) {
            prop_assert!(name.starts_with(found.family));
        }
    }
}

#[test]
fn what_only_looks_like_flinks_own_is_unknown() {
    for name in [
        "",
        "flink_",
        "numRecordsIn",
        "flink_numRecordsIn",
        "xflink_taskmanager_job_task_numRecordsIn",
        // Under a user's group, in another scope, with more before or behind.
        "flink_taskmanager_job_task_operator_myRecords_numRecordsIn",
        "flink_taskmanager_job_task_operator_numRecordsIn_total",
        "flink_taskmanager_job_task_operator_xnumRecordsIn",
        "flink_taskmanager_job_numRecordsIn",
        "flink_jobmanager_job_task_numRecordsIn",
        "flink_taskmanager_job_task_operator_numBuffersOut",
        "flink_taskmanager_job_task_operator_uptime",
        "flink_taskmanager_job_task_operator_Status_JVM_CPU_Load",
        "flink_jobmanager_Status_Flink_Memory_Managed_Used",
        // A varying part that is empty, or no number.
        "flink_taskmanager_Status_JVM_GarbageCollector__Count",
        "flink_taskmanager_job_task_operator_currentInputsWatermark",
        "flink_taskmanager_job_task_operator_currentInputxWatermark",
        "flink_taskmanager_job_task_operator_currentInput1xWatermark",
        "flink_taskmanager_job_task_Shuffle_Netty_Input_all_totalQueueLen",
        "flink_taskmanager_job_task_Shuffle_Netty_Input_1_2_totalQueueLen",
        "flink_taskmanager_job_task_Shuffle_Netty_Input_Buffers_totalQueueLen",
        "flink_taskmanager_job_task_operator_s_rocksdb_num_files_at_levelx",
        // RocksDB's properties belong to a state, its tickers do not.
        "flink_taskmanager_job_task_operator_s_rocksdb_bytes_read",
        "flink_taskmanager_job_task_operator_s_rocksdb_unheard_of",
        // No summary, hence no count.
        "flink_taskmanager_job_task_numRecordsIn_count",
        "flink_taskmanager_job_task_mailboxLatencyMs_sum",
        "flink_taskmanager_job_task_mailboxLatencyMs_count_count",
        // Open names that are empty, and those of the Kubernetes operator in other scopes.
        "flink_taskmanager_job_task_operator_KafkaProducer",
        "flink_taskmanager_job_task_operator_KafkaProducer_",
        "flink_taskmanager_System_CPU_UsageCPUx",
        "flink_jobmanager_JOSDK_x",
        "flink_k8soperator_scalings",
        "flink_k8soperator_Status_Flink_Memory_Managed_Used",
    ] {
        assert_eq!(catalogue().lookup(name).map(|m| &m.name), None, "{name}");
        assert_eq!(catalogue().group(name), Group::Custom, "{name}");
    }
}

#[test]
fn versions_are_ordered_as_releases_are() {
    let version = |text: &str| text.parse::<Version>().unwrap();
    assert!(version("1.9") < version("1.13"));
    assert!(version("1.20") < version("2.0"));
    assert_eq!(version("1.20").to_string(), "1.20");
    for bad in ["", "1", "1.x", "1.2.3", "-1.2", "1."] {
        assert!(bad.parse::<Version>().is_err(), "{bad}");
    }
}

/// A catalogue file with these rows in the group `io`.
fn file(rows: &str) -> String {
    let segments = "segments:\n  n: { matches: number, about: a number }\n  t: { matches: text, about: a text }\n  open: { matches: text, stays: true, about: a name }\n";
    format!("{segments}groups:\n  - group: io\n    metrics:\n{rows}")
}

fn row(name: &str, more: &str) -> String {
    format!(
        "      - {{ name: \"{name}\", scopes: [jobmanager], type: gauge, unit: count, help: H., since: \"1.13\"{more} }}\n"
    )
}

#[test]
fn names_with_several_varying_parts() {
    let rows =
        row("a<t>.b<t>.c", "") + &row("x.<n>-<t>", "") + &row("y<n>z", "") + &row("<t>.q", "");
    let rows = rows + &row("long.<t>.q.q", "") + &row("h<t>", ", kind: summary");
    let catalogue = Catalogue::parse(&file(&rows)).unwrap();
    let check = |name: &str, expect: Option<&str>| {
        let found = catalogue.find(&format!("flink_jobmanager_{name}")).map(|f| &*f.metric.name);
        assert_eq!(found, expect, "{name}");
    };
    check("a1_b2_c", Some("a<t>.b<t>.c"));
    check("a_b_b_c_b_c_c", Some("a<t>.b<t>.c"));
    check("a_b_b_d", None);
    check("a1_b_c", None);
    check("x_12_rest_1", Some("x.<n>-<t>"));
    check("x_12_", None);
    check("x__rest", None);
    check("y007z", Some("y<n>z"));
    check("any_q", Some("<t>.q"));
    check("long_any_q_q", Some("long.<t>.q.q"));
    check("h_anything", Some("h<t>"));
    check("h_anything_count", Some("h<t>"));
    // Their canonical names.
    check("a_b_c", Some("a<t>.b<t>.c"));
    check("yz", Some("y<n>z"));
    check("h", Some("h<t>"));
}

#[test]
fn a_canonical_name_is_known_and_stays() {
    let mut beyond_exported = 0;
    for metric in catalogue().metrics().filter(|metric| !metric.is_former_name) {
        for canonical in &metric.canonical {
            let name = canonical.replace("<metric>", "m");
            let counts = [(name.clone(), &name)];
            let count = (metric.kind == Kind::Summary).then(|| (format!("{name}_count"), &name));
            for (sample, family) in counts.into_iter().chain(count) {
                let found = catalogue().find(&sample).unwrap_or_else(|| panic!("{sample}"));
                assert!(std::ptr::eq(found.metric, metric), "{sample}: {}", found.metric.name);
                assert_eq!(
                    (found.canonical_name(), found.family),
                    (sample.as_str().into(), &**family)
                );
                assert_eq!((found.name_labels().count(), found.is_former_name()), (0, false));
            }
            if metric.exported.contains(canonical) {
                continue;
            }
            beyond_exported += 1;
            // The reporter exports no such name: what it describes so is a user's.
            let scope = metric.scopes[0].as_str();
            if let Some(own) = name.strip_prefix(&format!("flink_{scope}_")) {
                let help = format!("{own} (scope: {scope})");
                let found = catalogue().find_described(&name, Some(&help));
                assert!(found.is_none(), "{name}: {:?}", found.map(|found| found.metric));
                assert!(catalogue().find_described(&name, Some(&metric.help)).is_some());
            }
        }
    }
    assert!(beyond_exported > 50, "{beyond_exported}");
}

#[test]
fn labels_come_from_key_value_groups() {
    let rows = row("a.{topic}.{part_ition}.x", ", also: [\"b.{topic}.x\"]");
    let catalogue = Catalogue::parse(&file(&rows)).unwrap();
    let metric = catalogue.lookup("flink_jobmanager_a_topic_part_ition_x").unwrap();
    assert_eq!(metric.labels, ["topic", "part_ition"]);
    assert_eq!(
        metric.exported,
        ["flink_jobmanager_a_topic_part_ition_x", "flink_jobmanager_b_topic_x"]
    );
}

#[test]
fn files_that_are_refused() {
    let refused = [
        row("a.b", "").replace("gauge", "guage"),
        row("a.b", "") + &row("a_b", ""),
        row("a.<t>.b", "") + &row("a-<t>-b", ""),
        row("h", ", kind: summary") + &row("h.count", ""),
        row("a.<gate>", ""),
        row("a.<t", ""),
        row("a.{}", ""),
        row("<t><n>", ""),
        row("a<n>0", ""),
        row("", ""),
        row("a(b).c", ""),
        row("a.(B|b).c", ""),
        row("a.[b", ""),
        row("a.<t>.b", "") + &row("a.b", ""),
        row("a.<t>.b", "") + &row("a.b.<t>", ""),
        row("a", ", canonical: \"a.<x>\""),
        row("o.<o>", ", canonical: o").replace("<o>", "<open>"),
        row("o.<open>", ", also: [o]"),
        row("a", ", former_name: true"),
        row("a", "") + &row("b", ", former_name: true, replaced_by: a"),
        row("a.<t>", "") + &row("b", ", former_name: true, replaced_by: flink_jobmanager_a_<t>"),
        row("a", "")
            + &row("b", ", former_name: true, replaced_by: flink_jobmanager_a")
                .replace("[jobmanager]", "[taskmanager]"),
        row("<t>.<t>.<t>.<t>.<t>", ""),
    ]
    .map(|rows| Catalogue::parse(&file(&rows)).unwrap_err().to_string());
    insta::assert_snapshot!(refused.join("\n"));
    let group = Catalogue::parse(&file(&row("a", "")).replace("group: io", "group: oi"));
    assert!(matches!(group, Err(CatalogueError::Group(_))));
    let shared = Catalogue::parse(&file(&row("a", ", shared_with: [oi]")));
    assert!(matches!(shared, Err(CatalogueError::Group(_))));
    for broken in [
        row("a", ", sinse: \"1.1\""),
        row("a", ", until: soon"),
        row("a", ", kind: histogram"),
        row("a", "").replace("count", "furlongs"),
        row("a", "").replace("[jobmanager]", "[jobmaster]"),
        row("a", "").replace("help: H., ", ""),
        "      - [".to_owned(),
    ] {
        let error = Catalogue::parse(&file(&broken)).unwrap_err();
        assert!(matches!(error, CatalogueError::Format(_)), "{broken}: {error}");
    }
}
