"""The dashboards that a person opens first: the cluster, and one job."""

from .model import CLUSTER, FLINK_JOB, JOB, NAMESPACE, SITE, Dashboard, Panel, Row, both, q

_BAD_FROM_1 = ((None, "green"), (1, "red"))
_SHARE = ((None, "green"), (0.8, "orange"), (0.9, "red"))


def _stat(title: str, what: str, expr: str, unit: str = "short", **more) -> Panel:
    return Panel(
        title, what, unit, (q(expr, title),), kind="stat", width=more.pop("width", 3), height=4, **more
    )


CLUSTER_OVERVIEW = Dashboard(
    "flinkrelay-cluster",
    "Flink / Cluster",
    "All jobs, TaskManagers and slots at a glance.",
    (CLUSTER, NAMESPACE),
    (
        Row(
            "Now",
            (
                _stat(
                    "Running jobs",
                    "Jobs that JobManagers count as running.",
                    f"sum(flink_jobmanager_numRunningJobs{{{SITE}}})",
                ),
                _stat(
                    "Jobs not running",
                    "Jobs that exist, but are not in state RUNNING: waiting for slots, failing or restarting.",
                    f"count(flink_jobmanager_job_uptime{{{SITE}}} <= 0) or vector(0)",
                    thresholds=_BAD_FROM_1,
                ),
                _stat(
                    "TaskManagers",
                    "TaskManagers that are registered with their JobManager.",
                    f"sum(flink_jobmanager_numRegisteredTaskManagers{{{SITE}}})",
                ),
                _stat(
                    "Slots",
                    "Task slots of all registered TaskManagers.",
                    f"sum(flink_jobmanager_taskSlotsTotal{{{SITE}}})",
                ),
                _stat(
                    "Free slots",
                    "Task slots that nobody uses. 0 is well used as long as no job waits.",
                    f"sum(flink_jobmanager_taskSlotsAvailable{{{SITE}}})",
                ),
                _stat(
                    "Restarts",
                    "Restarts of all jobs within the time range.",
                    f"sum(max by (job_id) (increase(flink_jobmanager_job_restarts_total{{{SITE}}}[$__range])))",
                    thresholds=((None, "green"), (1, "orange"), (5, "red")),
                ),
                _stat(
                    "Failed checkpoints",
                    "Checkpoints of all jobs that failed within the time range.",
                    f"sum(max by (job_id) (increase(flink_jobmanager_job_checkpoint_failures_total{{{SITE}}}[$__range])))",
                    thresholds=((None, "green"), (1, "orange"), (5, "red")),
                ),
                _stat(
                    "Pages not scraped",
                    "JobManagers and TaskManagers that the relay cannot scrape.",
                    f"count(flinkrelay_scrape_failure{{{SITE}}}) or vector(0)",
                    thresholds=_BAD_FROM_1,
                ),
            ),
        ),
        Row(
            "Jobs",
            (
                Panel(
                    "Jobs",
                    "Each job with the time it has run without interruption, restarts since its submission, and its last checkpoint: how long it took, and how long ago it completed.",
                    "short",
                    (
                        q(
                            f"max by (cluster, namespace, job_name, job_id) (flink_jobmanager_job_uptime{{{SITE}}}) / 1000",
                            "up, s",
                        ),
                        q(
                            f"max by (cluster, namespace, job_name, job_id) (flink_jobmanager_job_numRestarts{{{SITE}}})",
                            "restarts",
                        ),
                        q(
                            f"max by (cluster, namespace, job_name, job_id) (flink_jobmanager_job_lastCheckpointDuration{{{SITE}}}) / 1000",
                            "last checkpoint, s",
                        ),
                        q(
                            f"max by (cluster, namespace, job_name, job_id) (flink_jobmanager_job_last_completed_checkpoint_age_seconds{{{SITE}}})",
                            "checkpoint age, s",
                        ),
                        q(
                            f"max by (cluster, namespace, job_name, job_id) (flink_jobmanager_job_numberOfFailedCheckpoints{{{SITE}}})",
                            "failed checkpoints",
                        ),
                    ),
                    kind="table",
                    width=16,
                    minimum=None,
                ),
                Panel(
                    "Records per second",
                    "Records that all tasks of a job take in. A record counts once for each task that it passes.",
                    "recps",
                    (
                        q(
                            f"sum by (job_name) (rate(flink_taskmanager_job_task_numRecordsIn{{{SITE}}}[$__rate_interval]))",
                            "{{job_name}}",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Restarts",
                    "Restarts of each job in steps of the graph's resolution.",
                    "short",
                    (
                        q(
                            f"max by (job_name) (increase(flink_jobmanager_job_restarts_total{{{SITE}}}[$__rate_interval]))",
                            "{{job_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Most back-pressured task",
                    "For each job the share of time that its most back-pressured subtask is held back by its consumers.",
                    "percentunit",
                    (
                        q(
                            f"max by (job_name) (flink_taskmanager_job_task_backpressured_ratio{{{SITE}}})",
                            "{{job_name}}",
                        ),
                    ),
                    maximum=1,
                ),
            ),
        ),
        Row(
            "TaskManagers and slots",
            (
                Panel(
                    "TaskManagers",
                    "TaskManagers that are registered, by cluster.",
                    "short",
                    (
                        q(
                            f"sum by (cluster, namespace) (flink_jobmanager_numRegisteredTaskManagers{{{SITE}}})",
                            "{{cluster}} {{namespace}}",
                        ),
                    ),
                ),
                Panel(
                    "Slots",
                    "Slots in use and free.",
                    "short",
                    (
                        q(
                            f"sum(flink_jobmanager_task_slots_used{{{SITE}}})",
                            "in use",
                        ),
                        q(f"sum(flink_jobmanager_taskSlotsAvailable{{{SITE}}})", "free"),
                    ),
                    stack=True,
                ),
            ),
        ),
        Row(
            "JVM at a glance",
            (
                Panel(
                    "CPU load",
                    "Share of the machine's CPU that each JVM uses, as the JVM sees it. In a container of its limit.",
                    "percentunit",
                    both(f"flink_{{}}_Status_JVM_CPU_Load{{{SITE}}}", "{{instance}}"),
                    width=8,
                ),
                Panel(
                    "Heap in use",
                    "Heap in use as a share of its maximum. Up and down is normal; what counts is the bottom of the saw.",
                    "percentunit",
                    both(
                        f"flink_{{}}_memory_heap_used_ratio{{{SITE}}}",
                        "{{instance}}",
                    ),
                    width=8,
                    maximum=1,
                    thresholds=_SHARE,
                ),
                Panel(
                    "Time in garbage collection",
                    "Share of time that garbage collectors take, those that work beside the program included.",
                    "percentunit",
                    both(
                        f"rate(flink_{{}}_Status_JVM_GarbageCollector_All_Time{{{SITE}}}[$__rate_interval]) / 1000"
                        f" or sum without (gc) (rate(flink_{{}}_Status_JVM_GarbageCollector_Time{{{SITE}}}[$__rate_interval])) / 1000",
                        "{{instance}}",
                    ),
                    width=8,
                ),
                Panel(
                    "Pages not scraped",
                    "Targets that the relay cannot scrape, with the reason.",
                    "short",
                    (q(f"flinkrelay_scrape_failure{{{SITE}}}", "{{instance}} {{reason}}"),),
                    may_be_empty="every page is scraped",
                ),
                Panel(
                    "Flink's version",
                    "Version of each cluster, from its REST API.",
                    "short",
                    (
                        q(
                            f"max by (cluster, namespace, version, revision) (flink_cluster_info{{{SITE}}})",
                            "clusters",
                        ),
                    ),
                    kind="table",
                    minimum=None,
                ),
            ),
        ),
    ),
)

JOB_OVERVIEW = Dashboard(
    "flinkrelay-job",
    "Flink / Job",
    "One job: what it does, what holds it back, and what a failure would cost.",
    (CLUSTER, NAMESPACE, FLINK_JOB),
    (
        Row(
            "Now",
            (
                _stat(
                    "Up",
                    "Time that the job has run without interruption; 0 while it does not run.",
                    f"min(flink_jobmanager_job_uptime{{{JOB}}})",
                    "dtdurationms",
                    width=4,
                    thresholds=((None, "red"), (1, "green")),
                ),
                _stat(
                    "Restarts",
                    "Restarts within the time range.",
                    f"sum(max by (job_id) (increase(flink_jobmanager_job_restarts_total{{{JOB}}}[$__range])))",
                    width=4,
                    thresholds=((None, "green"), (1, "orange"), (3, "red")),
                ),
                _stat(
                    "Checkpoints",
                    "Checkpoints completed within the time range.",
                    f"sum(max by (job_id) (increase(flink_jobmanager_job_numberOfCompletedCheckpoints{{{JOB}}}[$__range])))",
                    width=4,
                ),
                _stat(
                    "Failed checkpoints",
                    "Checkpoints that failed within the time range.",
                    f"sum(max by (job_id) (increase(flink_jobmanager_job_checkpoint_failures_total{{{JOB}}}[$__range])))",
                    width=4,
                    thresholds=((None, "green"), (1, "orange"), (3, "red")),
                ),
                _stat(
                    "Subtasks back-pressured",
                    "Subtasks that are held back right now.",
                    f"sum(flink_taskmanager_job_task_isBackPressured{{{JOB}}})",
                    width=4,
                    thresholds=((None, "green"), (1, "orange")),
                ),
                _stat(
                    "Checkpoint age",
                    "Time since the last checkpoint completed: what a failure would repeat now.",
                    f"max(flink_jobmanager_job_last_completed_checkpoint_age_seconds{{{JOB}}})",
                    "s",
                    width=4,
                ),
            ),
        ),
        Row(
            "Records",
            (
                Panel(
                    "Records in",
                    "Records per second that each task takes in. Up to Flink 1.18 a source's task says 0 here (FLINK-33681).",
                    "recps",
                    (
                        q(
                            f"sum by (job_name, task_name) (rate(flink_taskmanager_job_task_numRecordsIn{{{JOB}}}[$__rate_interval]))",
                            "{{task_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Records out",
                    "Records per second that each task emits. Up to Flink 1.18 a sink's task says 0 here (FLINK-33681).",
                    "recps",
                    (
                        q(
                            f"sum by (job_name, task_name) (rate(flink_taskmanager_job_task_numRecordsOut{{{JOB}}}[$__rate_interval]))",
                            "{{task_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Late records dropped",
                    "Records per second that operators throw away because they came after their window.",
                    "recps",
                    (
                        q(
                            f"sum by (job_name, operator) (rate(flink_taskmanager_job_task_operator_numLateRecordsDropped{{{JOB}}}[$__rate_interval]))",
                            "{{operator}}",
                        ),
                    ),
                    needs="an operator with windows",
                ),
                Panel(
                    "Records that sources have yet to fetch",
                    "Lag of sources that know it, in records.",
                    "short",
                    (
                        q(
                            f"sum by (job_name, operator) (flink_taskmanager_job_task_operator_pendingRecords{{{JOB}}})",
                            "{{operator}}",
                        ),
                    ),
                    core=False,
                    needs="a source that reports it, such as Kafka's",
                    may_be_empty="the test's sources have no backlog to report",
                ),
            ),
        ),
        Row(
            "What holds it back",
            (
                Panel(
                    "Busy",
                    "Share of time that the busiest subtask of each task works. Near 1 it is the bottleneck. Sources of the old kind have no value.",
                    "percentunit",
                    (
                        q(
                            f"max by (job_name, task_name) (flink_taskmanager_job_task_busy_ratio{{{JOB}}})",
                            "{{task_name}}",
                        ),
                    ),
                    maximum=1,
                    width=8,
                ),
                Panel(
                    "Back pressure",
                    "Share of time that the worst subtask of each task is held back by its consumers. The bottleneck is the first busy task behind.",
                    "percentunit",
                    (
                        q(
                            f"max by (job_name, task_name) (flink_taskmanager_job_task_backpressured_ratio{{{JOB}}})",
                            "{{task_name}}",
                        ),
                    ),
                    maximum=1,
                    width=8,
                ),
                Panel(
                    "Watermark lag",
                    "Clock less the oldest watermark of each task: how far event time is behind. Tasks without a watermark yet, and at the end of their input, are left out.",
                    "s",
                    (
                        q(
                            f"max by (job_name, task_name) (flink_taskmanager_job_task_watermark_lag_seconds{{{JOB}}})",
                            "{{task_name}}",
                        ),
                    ),
                    needs="watermarks",
                    width=8,
                    minimum=None,
                ),
            ),
        ),
        Row(
            "Checkpoints and restarts",
            (
                Panel(
                    "Checkpoints",
                    "Checkpoints completed and failed, in steps of the graph's resolution.",
                    "short",
                    (
                        q(
                            f"max by (job_name) (increase(flink_jobmanager_job_numberOfCompletedCheckpoints{{{JOB}}}[$__rate_interval]))",
                            "{{job_name}} completed",
                        ),
                        q(
                            f"max by (job_name) (increase(flink_jobmanager_job_checkpoint_failures_total{{{JOB}}}[$__rate_interval]))",
                            "{{job_name}} failed",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Checkpoint duration",
                    "Time that the last checkpoint took from trigger to end.",
                    "ms",
                    (
                        q(
                            f"max by (job_name) (flink_jobmanager_job_lastCheckpointDuration{{{JOB}}} >= 0)",
                            "{{job_name}}",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Restarts",
                    "Restarts in steps of the graph's resolution.",
                    "short",
                    (
                        q(
                            f"max by (job_name) (increase(flink_jobmanager_job_restarts_total{{{JOB}}}[$__rate_interval]))",
                            "{{job_name}}",
                        ),
                    ),
                    width=8,
                ),
            ),
        ),
    ),
)
