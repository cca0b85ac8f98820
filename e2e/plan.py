"""What every scenario of `e2e/chaos` is given, and the checks that most of them share."""

from dataclasses import dataclass
from pathlib import Path

from checks import Report
from judge import Finding
from procs import Processes
from rig import Rig, To


@dataclass
class Plan:
    """One run: its binaries, its size, its seed."""

    processes: Processes
    report: Report
    relay: Path
    peers: Path
    cache: Path
    seed: int
    kills: int
    minutes: float
    # Without it everything that was not delivered is lost at a kill, and the checks must say so.
    durable: bool = True

    def rig(
        self,
        name: str,
        *,
        targets: tuple[str, ...],
        receivers: list[To],
        interval: str,
        data_directory: Path | None = None,
    ) -> Rig:
        """A relay that keeps its spool in a directory of this run."""
        data_directory = data_directory or self.processes.directory / f"{name}-data"
        data_directory.mkdir(exist_ok=True)
        return Rig(
            self.processes,
            self.relay,
            name,
            targets=targets,
            receivers=receivers,
            interval=interval,
            data_directory=data_directory if self.durable else None,
        )

    def unexpected_end(self, rig: Rig) -> bool:
        """Whether the relay ended by itself, which is a failed check."""
        if rig.process.alive:
            return False
        code = rig.process.popen.returncode
        self.report.that(f"{rig.name}: the relay lives until it is killed", False, "alive", f"exit code {code}")
        return True


def delivery_checks(
    report: Report, name: str, facts: dict, finding: Finding, *, ordered: bool = True
) -> None:
    """Nothing lost, nothing out of order (unless asked for), duplicates at the seams only."""
    expected = "every sample that was scraped and written"
    got = f"{finding.lost} lost: {finding.lost_where[:3]}"
    enough = finding.pages > 0 and finding.arrived > 0
    report.that(f"nothing is lost ({name})", not finding.lost and enough, expected, got)
    report.equal(f"nor any of the relay's own series ({name})", 0, finding.own_lost)
    order_checks(report, name, facts, finding, ordered=ordered)


def order_checks(
    report: Report,
    name: str,
    facts: dict,
    finding: Finding,
    *,
    anywhere: bool = False,
    ordered: bool = True,
) -> None:
    """What did arrive: in order (unless asked for), unchanged, twice at seams only (or `anywhere`)."""
    sums = facts["sums"]
    if ordered:
        report.equal(f"no sample is out of order ({name})", 0, sums["out_of_order"])
    else:
        got = sums["out_of_order"]
        report.that(f"live data came first ({name})", got > 0, "samples out of order", got)
    got = f"{finding.stray}: {finding.stray_where[:3]}"
    if not anywhere:
        report.that(f"duplicates come at the seams only ({name})", not finding.stray, "no others", got)
    report.equal(f"no series is ended by a marker ({name})", 0, sums["markers"])
    faults = facts["faults"]
    report.that(f"nothing arrives changed or malformed ({name})", not faults, "no fault", faults[:3])
    print(
        f"#    {name}: {finding.pages} pages, {finding.arrived} samples arrived, "
        f"{finding.duplicates_at_seams} twice at seams, {finding.cut} not written before a kill, "
        f"{sums['requests_1']} requests of 1.0 and {sums['requests_2']} of 2.0",
        flush=True,
    )


def account_checks(report: Report, rig: Rig, at_least: int) -> None:
    """The relay's own account added up whenever it was asked."""
    watched = rig.watched
    report.that(
        f"scraped = delivered + dropped + queued, in each of {watched.accounts} looks ({rig.name})",
        not watched.wrong and watched.accounts >= at_least,
        f"at least {at_least} looks, all of them balanced",
        f"{watched.accounts} looks, {watched.wrong[:3]}",
    )
