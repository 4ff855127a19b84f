#!/usr/bin/env python3
"""Tests the simulation: breaks each promise in a copy of the sources, one at a time. A named seed must detect it; with
the unbroken collector the same seeds must find nothing. If no named seed detects it, one of SCHEDULES (400) random ones
must, and the output says so. All seeds are played in virtual time, with the mutant's own code in the test.

    check.py                 checks all mutations
    check.py NAME…           checks these
    check.py --find NAME…    searches SCHEDULES random seeds for some that detect them
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
HERE = TARGET / "mutations"
# The copy of the sources, and its target directory.
COPY = HERE / "tree"
BUILT = HERE / "built"


@dataclass
class Mutation:
    """A promise, and how to break it: a text that is in the file exactly once, and its replacement. One of the seeds
    must detect it. There are several if a clock or a race is involved."""

    name: str
    breaks: str
    file: str
    text: str
    instead: str
    seeds: list[int]


MUTATIONS = [
    Mutation(
        "create-only",
        "no object below the prefix is overwritten",
        "src/bucket/store.rs",
        "        let preconditions = Preconditions::of(condition);\n",
        "        let mut preconditions = Preconditions::of(condition);\n"
        '        if object.metadata.contains_key("sha256") {\n'
        "            preconditions.if_none_match = None;\n"
        "        }\n",
        [11972185705070314736],
    ),
    Mutation(
        "opened-before-read",
        "a window is on the checkpoint before its records are requested",
        "src/collect/events/open.rs",
        "        match self.commit().await {\n            Ok(()) => Ok(OpenWindow",
        "        match Ok::<(), Error>(()) {\n            Ok(()) => Ok(OpenWindow",
        [450430437418893917, 6427362800643516736, 5093085112201208488, 6408253115784936843, 15857060671845559289],
    ),
    Mutation(
        "total-check",
        "the rows read are compared with the API's own count",
        "src/collect/events/read.rs",
        "if reading.agrees(before.as_ref()) {",
        "if reading.agrees(before.as_ref()) || true {",
        [14227462600749756733, 5153280922680757431],
    ),
    Mutation(
        "rows-alike-read-again",
        "equal rows on different pages are believed only after two equal readings",
        "src/collect/events/reading.rs",
        "counted && (!self.alike_across_pages || same_as_before),",
        "counted,",
        [15474153666752366547, 772136003459534317],
    ),
    Mutation(
        "rows-alike-kept",
        "equal audit rows are stored as often as the API counts them",
        "src/collect/events/reading.rs",
        "        if !self.facts.has_id {\n            for",
        "        if self.facts.has_id {\n            for",
        [12511144461354535671, 3945413814491063185],
    ),
    Mutation(
        "margin",
        "a request begins before its window and ends after it, because the API's filter may cut at whole seconds",
        "src/core/density.rs",
        "pub const MARGIN: TimeDelta = SECOND;",
        "pub const MARGIN: TimeDelta = TimeDelta::zero();",
        [12511144461354535671, 12338085661952319754, 7023722696716634468],
    ),
    Mutation(
        "covered-when-stored",
        "the checkpoint never covers what is not stored",
        "src/collect/events/window.rs",
        "        match self.store(window, reading).await {\n",
        "        self.update_events(|state, _| state.cover(span));\n"
        "        self.commit().await?;\n"
        "        match self.store(window, reading).await {\n",
        [13255161056648597911],
    ),
    Mutation(
        "cut-only-alone",
        "a window that another run may be storing keeps its bounds",
        "src/collect/events/open.rs",
        "Ok(*was_abandoned && ",
        "Ok(true || *was_abandoned && ",
        [9800863959878233300, 17672542862995912799],
    ),
    Mutation(
        "lease",
        "only one run writes at a time",
        "src/actions/work.rs",
        "let busy = found.as_ref().is_some_and(|found| found.is_leased(Millis::now()));",
        "let busy = false;",
        [9266475118382708982, 16846501119522892564, 15675121783516570471],
    ),
    Mutation(
        "if-match",
        "the checkpoint is written only if nobody else has written it since it was read",
        "src/bucket/store.rs",
        "Condition::Unchanged { etag } => Self { if_none_match: None, if_match: Some(etag.to_owned()) },",
        "Condition::Unchanged { .. } => Self { if_none_match: None, if_match: None },",
        [9767746679764419525, 13259748992366093535, 11617398002257479702],
    ),
    Mutation(
        "read-back",
        "an object that exists under the key is read, and the records that it lacks are added in another object",
        "src/bucket/records.rs",
        "self.bucket.put(&object, Condition::Absent, until).await? != Written::Refused",
        "matches!(self.bucket.put(&object, Condition::Absent, until).await?, Written::Refused | Written::Now { .. })",
        [10353937743811236179, 16570367478917794987, 8104600380605359687],
    ),
    Mutation(
        "recount",
        "records that become visible after their window was covered are found by a recount",
        "src/collect/events/recount.rs",
        "if count <= recount.count {",
        "if count <= recount.count || true {",
        [11329322642867933200, 4359897176046039367, 5606548336264463392],
    ),
    Mutation(
        "told-when-committed",
        "a reading that a dead run committed is in the next run's manifest",
        "src/bucket/chain.rs",
        "            checkpoint.manifests.unlisted.push(done);",
        "            checkpoint.manifests.unlisted.truncate(2);\n            checkpoint.manifests.unlisted.push(done);",
        [1254300119505647292, 9031447314729464212],
    ),
    Mutation(
        "missed-twice",
        "a record counts as deleted only after two readings without it",
        "src/core/known.rs",
        "if missed >= 2 {",
        "if missed >= 1 {",
        [17090374491615700897, 10733942425639733406],
    ),
    Mutation(
        "reserved",
        "live runs open no window in a span that is reserved for a shard",
        "src/core/checkpoint/events.rs",
        "        self.owed(horizon).without(&reserved)\n",
        "        let _: Intervals = reserved;\n        self.owed(horizon)\n",
        [13798705000364458002, 6500075878188387070, 1185583039158570026],
    ),
    Mutation(
        "swept-when-stored",
        "sessions that were read are covered only after they are stored",
        "src/collect/rescanned.rs",
        "            reading.go_on(&sweep, &slice);\n",
        "            reading.go_on(&sweep, &slice);\n"
        "            let (sweeps, covered_to) = (reading.swept.sweeps.clone(), reading.swept.covered_to);\n"
        "            let swept = crate::core::checkpoint::Swept { sweeps, covered_to };\n"
        "            self.rescanned_state(|state| state.go_on_from(swept));\n",
        [6328625097008164403, 16942176954439748415],
    ),
]

# The number of random seeds that are tried.
SCHEDULES = os.environ.get("SCHEDULES", "400")

# The promises that a seed may find broken. A schedule that hangs or panics has found nothing.
REASONS = [
    "lost", "twice", "altered", "overwritten", "covered, but not stored", "after its lease", "unproven", "dishonest", "held up",
]


def main() -> int:
    arguments = sys.argv[1:]
    finding = "--find" in arguments
    names = [argument for argument in arguments if argument != "--find"]
    unknown = set(names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        sys.exit(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [mutation for mutation in MUTATIONS if not names or mutation.name in names]
    page = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    untold = [row for row in map(row_of, MUTATIONS) if row not in page]
    if untold and not finding:
        sys.exit("docs/guarantees.md must hold these rows:\n" + "\n".join(untold))
    copy_sources()
    copy_dependencies()
    sound = built("sound")
    failures = []
    # The next mutant is built while this one is played.
    with ThreadPoolExecutor(max_workers=1) as side_by_side:
        checks = [] if finding else [side_by_side.submit(check_sound, sound, chosen)]
        for mutation in chosen:
            mutant = build(mutation)
            if finding:
                print(find(mutant, mutation), flush=True)
            else:
                checks.append(side_by_side.submit(check_mutant, mutant, mutation))
        for checked in checks:
            line, is_good = checked.result()
            print(line, flush=True)
            if not is_good:
                failures.append(line)
    return 1 if failures else 0


def row_of(mutation: Mutation) -> str:
    return f"| `{mutation.name}` | {mutation.breaks} |"


def built(name: str) -> Path:
    """The simulation's test executable, built from the present copy of the sources."""
    told = cargo(["test", "--workspace", "--test", "simulation", "--no-run", "--message-format=json"], COPY, BUILT)
    for line in told.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message.get("target", {}).get("name") == "simulation":
            # A copy, because the next build replaces the original.
            return Path(shutil.copy2(message["executable"], HERE / f"simulation-{name}"))
    sys.exit("cargo built no test executable named simulation")


def copy_sources() -> None:
    """Files that did not change keep their time, so that cargo rebuilds only the changed ones."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "Cargo.*", "src", "tests/simulator", "tests/simulation",
         "tests/bench"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()
    files = [name for name in listed if (ROOT / name).is_file()]
    # The `[[test]]` targets that Cargo.toml names must exist.
    for name in [*files, *re.findall(r'path = "(tests/.*\.rs)"', (ROOT / "Cargo.toml").read_text())]:
        copy = COPY / name
        if not copy.exists() or copy.read_bytes() != (ROOT / name).read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy)


def copy_dependencies() -> None:
    """Copies cargo's builds of the dependencies, so that only our own packages are built. The two trees' own packages
    have the same names and hashes, so they can't share a target directory."""
    if BUILT.exists():
        return
    described = json.loads(cargo(["metadata", "--no-deps", "--offline", "--format-version=1"], ROOT, TARGET))
    ours = {package["name"] for package in described["packages"]}
    ours |= {target["name"] for package in described["packages"] for target in package["targets"]}
    ours |= {name.replace("-", "_") for name in ours}
    for directory in ["deps", "build", ".fingerprint"]:
        (BUILT / "debug" / directory).mkdir(parents=True)
        for entry in (TARGET / "debug" / directory).iterdir():
            name = re.fullmatch(r"(?:lib)?(.+)-[0-9a-f]{16}(?:\..*)?", entry.name)
            if name and name[1] not in ours:
                subprocess.run(["cp", "-a", entry, BUILT / "debug" / directory], check=True)


def build(mutation: Mutation) -> Path:
    file = COPY / mutation.file
    sound = file.read_text()
    if sound.count(mutation.text) != 1:
        sys.exit(f"{mutation.name}: {mutation.file} must hold this text once, and holds it {sound.count(mutation.text)} "
                 f"times:\n{mutation.text}")
    file.write_text(sound.replace(mutation.text, mutation.instead))
    try:
        return built(mutation.name)
    finally:
        file.write_text(sound)


def cargo(arguments: list[str], tree: Path, target: Path) -> str:
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    ran = subprocess.run(["cargo", *arguments], cwd=tree, env=environment, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"cargo {' '.join(arguments)} failed in {tree}:\n{ran.stderr[-4000:]}")
    return ran.stdout


def simulate(simulation: Path, **variables: str) -> list[tuple[str, str, str]]:
    """Returns every seed that failed, the promise that it found broken, and how."""
    environment = {**os.environ, **variables, "RUST_BACKTRACE": "0"}
    ran = subprocess.run([simulation, "--nocapture", "in_virtual_time"], env=environment, capture_output=True, text=True)
    seen = re.findall(r"^SEED=(\d+) ([^:\n]+): (.*)$", ran.stdout, re.MULTILINE)
    if (ran.returncode == 0) != (not seen):
        return [("-", "panicked", ran.stderr[-2000:])]
    return seen


def check_sound(sound: Path, chosen: list[Mutation]) -> tuple[str, bool]:
    seeds = [str(seed) for mutation in chosen for seed in mutation.seeds]
    seen = simulate(sound, SEED=",".join(seeds)) if seeds else []
    if seen:
        return f"the sound collector fails: {seen}", False
    return f"{'sound':<24} nothing is wrong with {len(seeds)} seeds", True


def check_mutant(mutant: Path, mutation: Mutation) -> tuple[str, bool]:
    if not mutation.seeds:
        return f"{mutation.name:<24} has no seed", False
    named = simulate(mutant, SEED=",".join(map(str, mutation.seeds)))
    if found := first_seen(named):
        return f"{mutation.name:<24} {found}", True
    if found := first_seen(simulate(mutant, SCHEDULES=SCHEDULES)):
        return f"{mutation.name:<24} {found} (a random one: those that are named no longer see it)", True
    return f"{mutation.name:<24} is not seen by {mutation.seeds} ({named}), nor by {SCHEDULES} random ones", False


def first_seen(seen: list[tuple[str, str, str]]) -> str | None:
    return next((f"{promise}, as seed {seed} sees: {how[:90]}" for seed, promise, how in seen if promise in REASONS), None)


def find(mutant: Path, mutation: Mutation) -> str:
    seen = simulate(mutant, SCHEDULES=SCHEDULES)
    lines = [f"    {seed} {promise}: {how[:110]}" for seed, promise, how in seen]
    return "\n".join([f"{mutation.name}: {len(seen)} of {SCHEDULES} schedules see it", *lines])


if __name__ == "__main__":
    sys.exit(main())
