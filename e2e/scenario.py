"""The story of one run, in its order."""

import time

import bodies
import changes
import ending
import found
import messages
import once
import pushdown
import queries
import rest
import rollups
import stored
from stage import HTML_PORT, SILENT_PORT, Stage


def play(stage: Stage) -> None:
    """Starts everything (SetupError when that fails), then checks section by section."""
    section = stage.report.section
    pair = None
    try:
        stage.start()
        pair = pushdown.Pair(stage)
        with section("what is stored"):
            stored.check_up(stage)
            stored.check_presence(stage)
            stored.check_labels(stage)
            stored.check_names(stage)
            stored.check_derived(stage)
            stored.check_foreign_ports(stage, HTML_PORT, SILENT_PORT)
        with section("names given back"):
            rest.check_names(stage)
        with section("one scrape by hand"):
            once.check_scrape_once(stage)
        with section("found by Flink's REST API"):
            found.check_found(stage)
        with section("stored values against the pages"):
            stored.check_values(stage)
        with section("remote write 1.0 and 2.0"):
            messages.check_messages(stage)
        with section("filter and movement"):
            stored.check_filter(stage)
            stored.check_movement(stage)
        with section("roll-ups"):
            rollups.check_rollups(stage)
        with section("dashboards and rules"):
            queries.check_queries(stage)
        with section("pages asked for by name"):
            pushdown.check_asked(stage, pair)
        since = time.time()
        synthetic = bodies.Synthetic(stage)
        with section("a job that finishes and a job that is cancelled"):
            changes.check_job_ends(stage)
            for job in ("logs", "clicks"):
                pushdown.check_ended(stage, pair, job, {"job_id": stage.jobs[job]}, stage.alive())
        with section("synthetic pages, decoded"):
            synthetic.finish(stage)
        with section("servers that do not take names"):
            pushdown.check_servers(stage)
        with section("a TaskManager is killed"):
            changes.check_taskmanager_killed(stage)
            victim = stage.instances[stage.victim]
            pushdown.check_ended(stage, pair, "the TaskManager", {"instance": victim}, [])
        with section("it comes back on another port"):
            changes.check_taskmanager_back(stage)
        with section("the job that it took part in has restarted"):
            changes.check_job_restarted(stage)
        with section("nothing was lost"):
            ending.check_conservation(stage)
            ending.check_no_gaps(stage)
            ending.check_no_strangers(stage)
        with section("the relay is stopped"):
            ending.check_stop(stage)
        with section("bodies of the run, decoded"):
            bodies.check_recorded(stage, since)
    finally:
        if pair:
            pair.close()
        stage.close()
