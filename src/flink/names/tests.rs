//! Names of pages, and what becomes of them.

use proptest::prelude::*;

use super::*;
use crate::flink::catalogue;

/// What becomes of a sample, written as `name{label="value",…}`; `help` as on a page, or empty.
fn canonical(sample: &str, help: &str) -> String {
    let limits = crate::exposition::Limits::default();
    let line = format!("{sample} 1");
    let Ok(crate::exposition::Entry::Sample(sample)) =
        crate::exposition::parse(line.as_bytes(), &limits)
    else {
        panic!("{sample} is no sample");
    };
    let mut labels: Labels<'_> = sample.labels().collect();
    labels.set(METRIC_NAME, sample.name);
    let help = (!help.is_empty()).then_some(help);
    let known = catalogue().find_described(sample.name, help);
    NameMode::Canonical.apply(known.as_ref(), &mut labels);
    labels.sort();
    labels.to_string()
}

fn check(sample: &str, expect: &str) {
    assert_eq!(canonical(sample, ""), expect, "{sample}");
}

#[test]
fn what_varies_becomes_a_label() {
    let tm = |sample: &str, expect: &str| {
        check(&format!("flink_taskmanager_{sample}"), &format!("flink_taskmanager_{expect}"));
    };
    tm("Status_JVM_CPU_Load", "Status_JVM_CPU_Load");
    tm(
        "Status_JVM_GarbageCollector_G1_Young_Generation_Count",
        r#"Status_JVM_GarbageCollector_Count{gc="G1_Young_Generation"}"#,
    );
    // The sum over all collectors is a metric of its own: a sum over `gc` must not count it again.
    tm("Status_JVM_GarbageCollector_All_Time", "Status_JVM_GarbageCollector_All_Time");
    tm("System_CPU_UsageCPU11", r#"System_CPU_UsageCPU{cpu="11"}"#);
    tm("System_Network_br_lan0_SendRate", r#"System_Network_SendRate{nic="br_lan0"}"#);
    tm(
        "job_task_Shuffle_Netty_Input_0_totalQueueLen",
        r#"job_task_Shuffle_Netty_totalQueueLen{direction="input",gate="0"}"#,
    );
    tm(
        "job_task_Shuffle_Netty_Output_2_avgQueueLen",
        r#"job_task_Shuffle_Netty_avgQueueLen{direction="output",partition="2"}"#,
    );
    let operator = |sample: &str, expect: &str| {
        tm(&format!("job_task_operator_{sample}"), &format!("job_task_operator_{expect}"));
    };
    // The lowest of all inputs, and that of one input, are two metrics.
    operator("currentInputWatermark", "currentInputWatermark");
    operator("currentInput2Watermark", r#"currentInputNWatermark{input="2"}"#);
    operator(
        "window_aggs_rocksdb_estimate_num_keys",
        r#"rocksdb_estimate_num_keys{state="window_aggs"}"#,
    );
    operator(
        "window_aggs_rocksdb_num_files_at_level3",
        r#"rocksdb_num_files_at_level{level="3",state="window_aggs"}"#,
    );
    operator("rocksdb_bytes_read", "rocksdb_bytes_read");
    operator(
        "my_state_valueStateGetLatency_count",
        r#"valueStateGetLatency_count{state="my_state"}"#,
    );
    operator(
        r#"KafkaSourceReader_topic_partition_currentOffset{topic="a_b",partition="3"}"#,
        r#"KafkaSourceReader_currentOffset{partition="3",topic="a_b"}"#,
    );
    // What Kafka calls its metrics is no dimension.
    operator("KafkaProducer_txn_init_time_ns_total", "KafkaProducer_txn_init_time_ns_total");
    operator("KafkaConsumer_records_lag_max", "KafkaSourceReader_KafkaConsumer_records_lag_max");
    operator(
        "KafkaConsumer_assigned_partitions",
        "KafkaSourceReader_KafkaConsumer_assigned_partitions",
    );
    let k8s = |sample: &str, expect: &str| {
        check(&format!("flink_k8soperator_{sample}"), &format!("flink_k8soperator_{expect}"));
    };
    k8s(
        "FlinkDeployment_Lifecycle_State_STABLE_TimeSeconds_count",
        r#"Lifecycle_State_TimeSeconds_count{resource_kind="FlinkDeployment",resource_state="STABLE"}"#,
    );
    k8s("KubeClient_HttpRequest_Count", "KubeClient_HttpRequest_Count");
    k8s(
        "KubeClient_HttpRequest_GET_Count",
        r#"KubeClient_HttpRequest_Method_Count{http_method="GET"}"#,
    );
    k8s("FlinkDeployment_JOSDK_x_y", r#"JOSDK_x_y{resource_kind="FlinkDeployment"}"#);
    let load = r#"namespace_resource_AutoScaler_LOAD_Current{jobVertexID="cbc3"}"#;
    k8s(r#"namespace_resource_AutoScaler_jobVertexID_LOAD_Current{jobVertexID="cbc3"}"#, load);
    k8s("namespace_resource_AutoScaler_jobVertexID_cbc3_LOAD_Current", load);
}

#[test]
fn a_metric_that_was_renamed_has_one_name() {
    let task = |sample: &str, expect: &str| {
        let expect = format!("flink_taskmanager_job_task_{expect}");
        check(&format!("flink_taskmanager_job_task_{sample}"), &expect);
    };
    task("buffers_inputQueueLength", "Shuffle_Netty_Input_Buffers_inputQueueLength");
    task("buffers_outPoolUsage", "Shuffle_Netty_Output_Buffers_outPoolUsage");
    task("numBytesInRemotePerSecond", "Shuffle_Netty_Input_numBytesInRemotePerSecond");
    task(
        "Network_Output_1_maxQueueLen",
        r#"Shuffle_Netty_maxQueueLen{direction="output",partition="1"}"#,
    );
    task("debloatedBufferSize", "Shuffle_Netty_Input_debloatedBufferSize");
    task(
        "Shuffle_Netty_Input_1_debloatedBufferSize",
        r#"Shuffle_Netty_Input_debloatedBufferSize{gate="1"}"#,
    );
    for spelling in ["maxSoftBackPressureTimeMs", "maxSoftBackPressuredTimeMs"] {
        task(spelling, "maxSoftBackPressureTimeMs");
    }
    let latency = r#"latency{operator_id="o",operator_subtask_index="0",source_id="s"}"#;
    let ids = r#"{source_id="s",operator_id="o",operator_subtask_index="0"}"#;
    task(&format!("latency_source_id_operator_id_operator_subtask_index_latency{ids}"), latency);
    check(
        &format!(
            "flink_taskmanager_job_latency_source_id_operator_id_operator_subtask_index_latency{ids}"
        ),
        &format!("flink_taskmanager_job_task_{latency}"),
    );
    check(
        "flink_taskmanager_Status_Network_TotalMemorySegments",
        "flink_taskmanager_Status_Shuffle_Netty_TotalMemorySegments",
    );
    check("flink_jobmanager_job_fullRestarts", "flink_jobmanager_job_numRestarts");
    check(
        "flink_taskmanager_job_task_operator_KafkaConsumer_current_offsets_clicks_eu_12",
        r#"flink_taskmanager_job_task_operator_KafkaConsumer_currentOffsets{partition="12",topic="clicks_eu"}"#,
    );
}

#[test]
fn the_name_of_a_state_is_one_label_however_flink_writes_it() {
    let operator = "flink_taskmanager_job_task_operator_";
    let expect = format!(r#"{operator}rocksdb_block_cache_usage{{state="accState"}}"#);
    check(&format!("{operator}accState_rocksdb_block_cache_usage"), &expect);
    let as_label = r#"column_family_rocksdb_block_cache_usage{column_family="accState"}"#;
    check(&format!("{operator}{as_label}"), &expect);
    let expect = format!(r#"{operator}mapStateGetLatency{{quantile="0.5",state="accState"}}"#);
    check(&format!(r#"{operator}accState_mapStateGetLatency{{quantile="0.5"}}"#), &expect);
    let as_label = r#"state_name_mapStateGetLatency{state_name="accState",quantile="0.5"}"#;
    check(&format!("{operator}{as_label}"), &expect);
    // A state may be called as the key is.
    check(
        &format!("{operator}column_family_rocksdb_block_cache_usage"),
        &format!(r#"{operator}rocksdb_block_cache_usage{{state="column_family"}}"#),
    );
}

#[test]
fn hostile_states_come_out_whole() {
    let operator = "flink_taskmanager_job_task_operator_";
    for state in [
        "numRecordsIn",
        "rocksdb",
        "_rocksdb_",
        "a_rocksdb_estimate_num_keys",
        "x_rocksdb_num_files_at_level3",
        "valueStateGetLatency",
        "column_family",
        "KafkaConsumer_records_lag_max",
        "operator",
        "Shuffle_Netty_Input_0_totalQueueLen",
        "a:b",
        "_",
        "0",
    ] {
        let scope = format!("taskmanager_job_task_operator_{state}");
        for (own, level) in [("estimate-num-keys", ""), ("num-files-at-level", "0")] {
            let below = own.replace('-', "_");
            let name = format!("{operator}{state}_rocksdb_{below}{level}");
            let shown = if level.is_empty() { "" } else { "level=\"0\"," };
            let expect = format!("{operator}rocksdb_{below}{{{shown}state=\"{state}\"}}");
            let help = format!("rocksdb.{own}{level} (scope: {scope})");
            assert_eq!(canonical(&name, &help), expect, "{name}");
            assert_eq!(canonical(&name, ""), expect, "{name}, no HELP");
        }
        let name = format!("{operator}{state}_listStateAddLatency");
        let help = format!("listStateAddLatency (scope: {scope})");
        let expect = format!("{operator}listStateAddLatency{{state=\"{state}\"}}");
        assert_eq!(canonical(&name, &help), expect);
    }
}

#[test]
fn help_tells_a_users_metric_from_flinks() {
    let operator = "flink_taskmanager_job_task_operator_";
    let check = |name: &str, help: &str, expect: &str| {
        let name = format!("{operator}{name}");
        let help = format!("{help} (scope: taskmanager_job_task_operator");
        let expect = format!("{operator}{expect}");
        assert_eq!(canonical(&name, &format!("{help})")), expect, "{name}: {help}");
    };
    // A metric of the user's own, whose name ends like that of a state's.
    check("my_stateClearLatency", "my_stateClearLatency", "my_stateClearLatency");
    check("my_stateClearLatency", "my.stateClearLatency", "my_stateClearLatency");
    check("a_rocksdb_bytes_x_Latency", "a.rocksdb.bytes-x.Latency", "a_rocksdb_bytes_x_Latency");
    let keys = "a_rocksdb_estimate_num_keys";
    check(keys, "a_rocksdb_estimate_num_keys", keys);
    check(keys, "a.rocksdb.estimate-num-keys", keys);
    let in_group = "flink_taskmanager_job_task_operator_a_rocksdb_estimate_num_keys";
    let users = "estimate-num-keys (scope: taskmanager_job_task_operator_a_rocksdb)";
    assert_eq!(canonical(in_group, users), in_group, "the user's group `a.rocksdb`");
    let flinks = "rocksdb.estimate-num-keys (scope: taskmanager_job_task_operator_a)";
    assert_ne!(canonical(in_group, flinks), in_group);
    // What is not the reporter's text says nothing.
    assert_ne!(canonical(in_group, "Keys, about."), in_group);
    check("rocksdb_bytes_read", "rocksdb_bytes_read", "rocksdb_bytes_read");
    check("cache_hitCount", "cache_hitCount", "cache_hitCount");
}

#[test]
fn a_label_in_the_way_moves() {
    check(
        r#"flink_taskmanager_job_task_operator_a_rocksdb_estimate_num_keys{state="prod",exported_state="x"}"#,
        r#"flink_taskmanager_job_task_operator_rocksdb_estimate_num_keys{exported_exported_state="prod",exported_state="x",state="a"}"#,
    );
    check(
        r#"flink_taskmanager_Status_JVM_GarbageCollector_G1_Count{gc="mine"}"#,
        r#"flink_taskmanager_Status_JVM_GarbageCollector_Count{exported_gc="mine",gc="G1"}"#,
    );
}

#[test]
fn what_is_unknown_or_raw_stays() {
    check(
        "flink_taskmanager_job_task_operator_mine_0_x",
        "flink_taskmanager_job_task_operator_mine_0_x",
    );
    check("node_cpu_seconds_total", "node_cpu_seconds_total");
    let name = "flink_taskmanager_Status_JVM_GarbageCollector_G1_Count";
    let known = catalogue().find(name);
    let mut labels: Labels<'_> = [(METRIC_NAME, name)].into_iter().collect();
    NameMode::Raw.apply(known.as_ref(), &mut labels);
    assert_eq!(labels.to_string(), name);
    assert_eq!(NameMode::Raw.family(known.as_ref(), name), name);
    let former = catalogue().find("flink_jobmanager_job_fullRestarts");
    assert!(NameMode::Canonical.stands_back(former.as_ref()));
    let described = |mode: NameMode| &*mode.metric(former.as_ref().unwrap()).name;
    assert_eq!(described(NameMode::Canonical), "numRestarts");
    assert_eq!(described(NameMode::Raw), "fullRestarts");
    assert!(!NameMode::Raw.stands_back(former.as_ref()));
    assert!(!NameMode::Canonical.stands_back(known.as_ref()));
}

proptest! {
    /// Nothing of a name is lost: the same canonical name and labels come from the same name only.
    #[test]
    fn two_names_of_a_row_differ_in_a_label(
        row in 0..1_000_usize,
        texts in proptest::array::uniform2("[a-z_0-9]{1,12}"),
        numbers in proptest::array::uniform2(0..20_u8),
    ) {
        let metrics: Vec<_> = catalogue().metrics().collect();
        let metric = metrics[row % metrics.len()];
        for exported in &metric.exported {
            let names = [0, 1].map(|which| {
                catalogue().segments().fold(exported.clone(), |name, segment| {
                    let number = numbers[which].to_string();
                    let value = if segment.is_number { &number } else { &texts[which] };
                    name.replace(&format!("<{}>", segment.name), value)
                })
            });
            let [one, other] = names.each_ref().map(|name| canonical(name, ""));
            prop_assert_eq!(one == other, names[0] == names[1], "{} {}", one, other);
        }
    }
}
