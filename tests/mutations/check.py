#!/usr/bin/env python3
"""Is the simulation any good? In a copy of the sources each promise can be broken, one at a time, by the name that MUTANT
holds: so all mutations are one build. Five named seeds must see each, or a unit test where no simulation can; with none
broken the same seeds must see nothing. Where fewer of the named ones see it, random ones must, within a minute. All of them
are played in virtual time.

    check.py                 checks all mutations
    check.py NAME…           checks these
    check.py --search NAME…  one random seed must see each of them, within a minute
    check.py --find NAME…    names seeds that see them, in seeds.json: first of those that `make simulation` plays
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
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
    """A promise, and how to break it: a text that stands in the file exactly once, and what to put in its place. That
    asks `crate::mutant` by this name, and does what the collector does unless it is this mutation that is played."""

    name: str
    breaks: str
    file: str
    text: str
    instead: str
    # Unit tests that must see it, where no simulation can.
    tests: tuple[str, ...] = ()
    # The sort of random seeds that see it, where others don't.
    drawn: str = ""


MUTATIONS = [
    Mutation(
        "create-only",
        "no object below the prefix is overwritten",
        "src/bucket/store.rs",
        "        let preconditions = Preconditions::of(condition);\n",
        "        let mut preconditions = Preconditions::of(condition);\n"
        '        if crate::mutant("create-only") && object.metadata.contains_key("sha256") {\n'
        "            preconditions.if_none_match = None;\n"
        "        }\n",
    ),
    Mutation(
        "opened-before-read",
        "a window is on the checkpoint before its records are requested",
        "src/collect/events/open.rs",
        "        match self.commit().await {\n            Ok(()) => Ok(OpenWindow",
        '        match if crate::mutant("opened-before-read") { Ok(()) } else { self.commit().await } {\n'
        "            Ok(()) => Ok(OpenWindow",
    ),
    Mutation(
        "total-check",
        "the rows read are compared with the API's own count",
        "src/collect/events/read.rs",
        "if reading.agrees(before.as_ref()) {",
        'if reading.agrees(before.as_ref()) || crate::mutant("total-check") {',
    ),
    Mutation(
        "rows-alike-read-again",
        "equal rows on different pages are believed only after three equal readings",
        "src/collect/events/reading.rs",
        "counted && is_believed(self.astray > 0) && !may_be_shifted,",
        'counted && (crate::mutant("rows-alike-read-again") || is_believed(self.astray > 0) && !may_be_shifted),',
    ),
    Mutation(
        "rows-alike-kept",
        "equal audit rows are stored as often as the API counts them",
        "src/collect/events/reading.rs",
        "!is_same && !self.facts.has_id && ",
        '!is_same && self.facts.has_id == crate::mutant("rows-alike-kept") && ',
    ),
    Mutation(
        "margin",
        "a request begins before its window and ends after it, because the API's filter may cut at whole seconds",
        "src/core/density.rs",
        "    Span { from: window.from.floor(SECOND) - MARGIN,",
        '    if crate::mutant("margin") {\n'
        "        return Span { from: window.from.floor(SECOND), to: window.to.ceil(SECOND) };\n"
        "    }\n"
        "    Span { from: window.from.floor(SECOND) - MARGIN,",
    ),
    Mutation(
        "covered-when-stored",
        "the checkpoint never covers what is not stored",
        "src/collect/events/window.rs",
        "        match self.store(window, reading).await {\n",
        '        if crate::mutant("covered-when-stored") {\n'
        "            self.update_events(|state, _| state.cover(span));\n"
        "            self.commit().await?;\n"
        "        }\n"
        "        match self.store(window, reading).await {\n",
    ),
    Mutation(
        "cut-only-alone",
        "a window that another run may be storing keeps its bounds",
        "src/collect/events/open.rs",
        "                if !was_abandoned {\n",
        '                if crate::mutant("cut-only-alone") {\n'
        "                    return Ok(true);\n"
        "                }\n"
        "                if !was_abandoned {\n",
    ),
    Mutation(
        "lease",
        "only one run writes at a time",
        "src/actions/leased_run.rs",
        "let busy = found",
        'let busy = !crate::mutant("lease") && found',
    ),
    Mutation(
        "if-match",
        "the checkpoint is written only if nobody else has written it since it was read",
        "src/bucket/store.rs",
        "Condition::Unchanged { etag } => Self { if_none_match: None, if_match: Some(etag.to_owned()) },",
        "Condition::Unchanged { etag } => {\n"
        '                Self { if_none_match: None, if_match: (!crate::mutant("if-match")).then(|| etag.to_owned()) }\n'
        "            }",
    ),
    Mutation(
        "read-back",
        "an object that exists under the key is read, and the records that it lacks are added in another object",
        "src/bucket/records.rs",
        "bucket.put(&object, Condition::Absent, until).await? != Written::ConditionFailed",
        'bucket.put(&object, Condition::Absent, until).await? != Written::ConditionFailed || crate::mutant("read-back")',
    ),
    Mutation(
        "recount",
        "records that become visible after their window was covered are found by a recount",
        "src/collect/events/recount.rs",
        "        if count == recount.count && !has_others || ",
        '        if crate::mutant("recount") {\n'
        "            self.update_events(|state, _| counted(state, recount, count, None));\n"
        "            return Ok(Outcome::Recounted { span });\n"
        "        }\n"
        "        if count == recount.count && !has_others || ",
    ),
    Mutation(
        "told-when-committed",
        "a reading that a dead run committed is in the next run's manifest",
        "src/bucket/chain.rs",
        "            checkpoint.manifests.unlisted.push(done);",
        '            if crate::mutant("told-when-committed") {\n'
        "                checkpoint.manifests.unlisted.truncate(2);\n"
        "            }\n"
        "            checkpoint.manifests.unlisted.push(done);",
    ),
    Mutation(
        "missed-twice",
        "a record counts as deleted only after two readings without it",
        "src/core/known.rs",
        "if missed >= 2 {",
        'if missed >= 2 || crate::mutant("missed-twice") && missed >= 1 {',
    ),
    Mutation(
        "reserved",
        "live runs open no window in a span that is reserved for a shard",
        "src/core/checkpoint/events.rs",
        "        self.gaps(horizon).without(&reserved)\n",
        '        let reserved: Intervals = if crate::mutant("reserved") { Intervals::default() } else { reserved };\n'
        "        self.gaps(horizon).without(&reserved)\n",
    ),
    Mutation(
        "swept-when-stored",
        "sessions that were read are covered only after they are stored",
        "src/collect/rescanned.rs",
        "            reading.advance(&sweep, &slice);\n",
        "            reading.advance(&sweep, &slice);\n"
        '            if crate::mutant("swept-when-stored") {\n'
        "                let (sweeps, again) = (reading.swept.sweeps.clone(), Vec::new());\n"
        "                let swept = crate::core::checkpoint::SweepProgress { sweeps, again, ..reading.swept };\n"
        "                self.rescanned_state(|state| state.take_over_progress(swept));\n"
        "            }\n",
    ),
    Mutation(
        "firewall",
        "a firewall's page with status 403 says nothing of a permission",
        "src/incydr/http.rs",
        "StatusCode::FORBIDDEN if self.may_be_from_api() =>",
        'StatusCode::FORBIDDEN if self.may_be_from_api() || crate::mutant("firewall") =>',
        drawn="besieged",
    ),
    Mutation(
        "complete-when-read",
        "no run is `complete` while rows that the API shows can't be read",
        "src/actions/collect.rs",
        "stuck.filter(|_| is_well) {",
        'stuck.filter(|_| is_well && !crate::mutant("complete-when-read")) {',
    ),
    Mutation(
        "refused-key",
        "a window for whose object S3 fails holds up no other",
        "src/collect/events/window.rs",
        "error if error.may_be_of_one_key() => Ok",
        'error if error.may_be_of_one_key() && !crate::mutant("refused-key") => Ok',
        drawn="besieged",
    ),
    Mutation(
        "anchor",
        "a stream begins before the first run that was attempted, however many fail",
        "src/core/checkpoint.rs",
        "        if is_first {\n",
        '        if is_first || crate::mutant("anchor") {\n',
    ),
    Mutation(
        "back-off-kept",
        "a back-off outlasts the container",
        "src/core/checkpoint/format.rs",
        "            FORMAT_VERSION => serde_json::from_slice(bytes).map_err(unreadable),\n",
        '            FORMAT_VERSION if crate::mutant("back-off-kept") => {\n'
        "                let mut checkpoint: Self = serde_json::from_slice(bytes).map_err(unreadable)?;\n"
        "                checkpoint.stuck.values_mut().for_each(|stuck| stuck.try_now(crate::core::time::Millis(0)));\n"
        "                Ok(checkpoint)\n"
        "            }\n"
        "            FORMAT_VERSION => serde_json::from_slice(bytes).map_err(unreadable),\n",
    ),
    Mutation(
        "stuck-last",
        "what is stuck is tried when nothing else is left to read",
        "src/core/schedule/choose.rs",
        "        if let Some(window) = self.take_left(stuck, now) {\n",
        '        if crate::mutant("stuck-last")\n'
        "            && let Some(step) = self.try_stuck(state, stuck, now, left)\n"
        "        {\n"
        "            return Some(step);\n"
        "        }\n"
        "        if let Some(window) = self.take_left(stuck, now) {\n",
        ("core::schedule::tests::stuck::what_is_stuck_is_tried_after_all_else",),
    ),
    Mutation(
        "new-failures",
        "only failures that are new count as those of the whole API",
        "src/core/schedule/doubt.rs",
        "        if stuck.holding(span).is_some() {\n            return self.split(",
        '        if stuck.holding(span).is_some() && !crate::mutant("new-failures") {\n            return self.split(',
        (
            "core::schedule::tests::stuck::what_fails_for_good_holds_up_nothing_that_is_sound",
            "core::schedule::tests::stuck::what_stays_stuck_costs_little_and_is_read_as_soon_as_it_can_be",
        ),
    ),
]

# By mutation, the seeds that see it. `--find` writes them.
SEEDS = Path(__file__).with_name("seeds.json")
# The number of seeds that must see a mutation.
ENOUGH = 5
# If fewer of the named ones do, random ones are played for this time.
SECONDS = 60
# `make simulation` plays seeds 1 to this.
PLAYED = 250
# `--find` tries these: of each sort of schedules some (the sorts' `SEEDS` in tests/simulation).
TRIED = [
    range(1, 2_000), range(10_001, 12_000), range(10_000_000_001, 10_000_001_000),
    range(1_000_000_000_001, 1_000_000_002_000), range(100_000_000_001, 100_000_030_000),
]
AT_ONCE = 50

# Appended to `src/lib.rs` of the copy. Every mutation calls it.
ASKS = '''
/// Whether this mutation is played.
pub fn mutant(name: &str) -> bool {
    static PLAYED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").unwrap_or_default());
    *PLAYED == name
}
'''

# The promises that a seed may find broken. A schedule that hangs or panics has found nothing.
REASONS = [
    "lost", "twice", "altered", "overwritten", "covered, but not stored", "after its lease", "unproven", "dishonest", "held up",
    "impatient", "stuck without a reason",
]


def main() -> int:
    arguments = sys.argv[1:]
    finding, searching = "--find" in arguments, "--search" in arguments
    names = [argument for argument in arguments if not argument.startswith("--")]
    unknown = set(names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        sys.exit(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [mutation for mutation in MUTATIONS if not names or mutation.name in names]
    page = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    untold = [row for row in map(row_of, MUTATIONS) if row not in page]
    if untold and not finding:
        sys.exit("docs/guarantees.md must hold these rows:\n" + "\n".join(untold))
    began = time.monotonic()
    copy_sources()
    copy_dependencies()
    built = build()
    print(f"built in {time.monotonic() - began:.0f} s, all mutations in one", flush=True)
    if finding:
        for mutation in chosen:
            find(built, mutation)
        return 0
    checks = [check_sound(built, chosen)] + [check(built, mutation, searching) for mutation in chosen]
    failures = sum(not is_good for is_good in checks)
    print(f"{len(chosen)} mutations, {failures} of them not seen, in {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


def row_of(mutation: Mutation) -> str:
    return f"| `{mutation.name}` | {mutation.breaks} |"


def copy_sources() -> None:
    """With all mutations. Files that did not change keep their time, so that cargo builds only what did."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "Cargo.*", "src", "infra/crc-fast", "tests/simulator",
         "tests/simulation", "tests/bench"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()
    files = [name for name in listed if (ROOT / name).is_file()]
    for mutation in MUTATIONS:
        if mutation.file not in files:
            sys.exit(f"{mutation.name}: there is no {mutation.file}")
    # `[[test]]` targets that Cargo.toml names must be there.
    for name in dict.fromkeys([*files, *re.findall(r'path = "(tests/.*\.rs)"', (ROOT / "Cargo.toml").read_text())]):
        original, copy = ROOT / name, COPY / name
        text = mutated(name, original.read_bytes())
        is_new = not copy.exists()
        if is_new or copy.read_bytes() != text:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(text)
            # Cargo finds the copy's build of the first tree again in the second.
            if is_new and text == original.read_bytes():
                shutil.copystat(original, copy)
    for copy in COPY.rglob("*.rs"):
        if not (ROOT / copy.relative_to(COPY)).exists():
            copy.unlink()


def mutated(name: str, original: bytes) -> bytes:
    if name == "src/lib.rs":
        return original + ASKS.encode()
    text = original.decode("utf-8", "surrogateescape")
    for mutation in MUTATIONS:
        if mutation.file == name:
            if (times := text.count(mutation.text)) != 1:
                sys.exit(f"{mutation.name}: {name} must hold this text once, and holds it {times} times:\n{mutation.text}")
            text = text.replace(mutation.text, mutation.instead)
    return text.encode("utf-8", "surrogateescape")


def copy_dependencies() -> None:
    """What cargo built of all but the collector itself, it finds again: the same sources of the same time. The collector of
    the two trees has the same hashes, so that they can't share a target directory."""
    if BUILT.exists():
        return
    described = json.loads(cargo(["metadata", "--no-deps", "--offline", "--format-version=1"], ROOT, TARGET))
    ours = [package for package in described["packages"] if package["name"] not in {"simulator", "crc-fast"}]
    ours = {package["name"] for package in ours} | {target["name"] for package in ours for target in package["targets"]}
    ours |= {name.replace("-", "_") for name in ours}
    for directory in ["deps", "build", ".fingerprint"]:
        (BUILT / "debug" / directory).mkdir(parents=True)
        if not (TARGET / "debug" / directory).is_dir():
            continue
        for entry in (TARGET / "debug" / directory).iterdir():
            name = re.fullmatch(r"(?:lib)?(.+)-[0-9a-f]{16}(?:\..*)?", entry.name)
            if name and name[1] not in ours:
                subprocess.run(["cp", "-a", entry, BUILT / "debug" / directory], check=True)


@dataclass
class Built:
    simulation: Path
    unit: Path


def build() -> Built:
    # As the other checks build: with other packages, dependencies would have other features.
    unoptimised = "profile.dev.package.incydr-collector.opt-level=0"
    told = cargo(
        ["test", "--workspace", "--lib", "--test", "simulation", "--no-run", "--message-format=json", "--config", unoptimised],
        COPY, BUILT,
    )
    messages = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    tests = [message for message in messages if message.get("executable") and message["profile"]["test"]]
    executables = {message["target"]["name"]: Path(message["executable"]) for message in tests}
    return Built(executables["simulation"], executables["incydr_collector"])


def cargo(arguments: list[str], tree: Path, target: Path) -> str:
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    ran = subprocess.run(["cargo", *arguments], cwd=tree, env=environment, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"cargo {' '.join(arguments)} failed in {tree}:\n{ran.stderr[-4000:]}")
    return ran.stdout


Seen = list[tuple[str, str, str]]


def simulate(built: Built, mutant: str, **variables: str) -> Seen:
    """Every seed that failed, which promise it saw broken, and how."""
    environment = {**os.environ, **variables, "MUTANT": mutant, "RUST_BACKTRACE": "0"}
    ran = subprocess.run(
        [built.simulation, "--nocapture", "in_virtual_time"], env=environment, capture_output=True, text=True
    )
    seen = re.findall(r"^SEED=(\d+) ([^:\n]+): (.*)$", ran.stdout, re.MULTILINE)
    if (ran.returncode == 0) != (not seen):
        return [("-", "panicked", ran.stderr[-2000:])]
    return seen


def that_break(seen: Seen) -> Seen:
    return [(seed, promise, how) for seed, promise, how in seen if promise in REASONS]


def seeds_of(mutation: Mutation) -> list[int]:
    return json.loads(SEEDS.read_text()).get(mutation.name, []) if SEEDS.exists() else []


def check_sound(built: Built, chosen: list[Mutation]) -> bool:
    """The same build with no mutation played. Of seeds that `make simulation` plays as well, one of each is enough."""
    seeds = {seed for mutation in chosen for at, seed in enumerate(seeds_of(mutation)) if at == 0 or seed > PLAYED}
    seen = simulate(built, "", SEED=",".join(map(str, sorted(seeds)))) if seeds else []
    print(f"{'none':<22} {f'fails: {seen}' if seen else f'nothing is wrong with {len(seeds)} seeds'}", flush=True)
    return not seen


def check(built: Built, mutation: Mutation, searching: bool) -> bool:
    if mutation.tests:
        passed = [test for test in mutation.tests if not fails(built, mutation, test)]
        told = f"none of them sees it: {', '.join(passed)}" if len(passed) == len(mutation.tests) else "seen by a unit test"
        print(f"{mutation.name:<22} {told}", flush=True)
        return len(passed) < len(mutation.tests)
    named = [] if searching else seeds_of(mutation)
    seen = that_break(simulate(built, mutation.name, SEED=",".join(map(str, named)))) if named else []
    told = f"{len(seen)} of {len(named)} named seeds see it"
    began = time.monotonic()
    enough = 1 if searching else ENOUGH
    while len(seen) < enough and time.monotonic() < began + SECONDS:
        seen += that_break(simulate(built, mutation.name, SCHEDULES=str(AT_ONCE), DRAWN=mutation.drawn))
    if time.monotonic() > began + 1:
        told += f"; random ones do, too: {', '.join(seed for seed, _, _ in seen)}. `check.py --find {mutation.name}` names others"
    if seen:
        seed, promise, how = seen[0]
        told += f"; {promise}, as {seed} sees: {how[:70]}"
    print(f"{mutation.name:<22} {told}", flush=True)
    return len(seen) >= enough


def fails(built: Built, mutation: Mutation, test: str) -> bool:
    environment = {**os.environ, "MUTANT": mutation.name, "RUST_BACKTRACE": "0"}
    ran = subprocess.run([built.unit, "--exact", test], env=environment, capture_output=True, text=True)
    if "running 1 test" not in ran.stdout:
        sys.exit(f"{mutation.name}: there is no test {test}")
    return ran.returncode != 0


def find(built: Built, mutation: Mutation) -> None:
    """Of the named seeds those that still see it, then others, until there are enough."""
    if mutation.tests:
        return
    found: dict[str, str] = {}
    tried = 0
    batches = [seeds_of(mutation), *(sort[first : first + AT_ONCE] for sort in TRIED for first in range(0, len(sort), AT_ONCE))]
    for batch in batches:
        if batch and len(found) < ENOUGH:
            tried += len(batch)
            seen = that_break(simulate(built, mutation.name, SEED=",".join(map(str, batch))))
            new = [seed for seed, _, _ in seen if int(seed) > PLAYED]
            unsound = {seed for seed, _, _ in (simulate(built, "", SEED=",".join(new)) if new else [])}
            found |= {seed: promise for seed, promise, _ in seen if seed not in unsound}
    seeds = [int(seed) for seed in list(found)[:ENOUGH]]
    held = json.loads(SEEDS.read_text()) if SEEDS.exists() else {}
    held[mutation.name] = seeds
    SEEDS.write_text("{\n" + ",\n".join(f'  "{name}": {json.dumps(seeds)}' for name, seeds in held.items()) + "\n}\n")
    print(f"{mutation.name}: {len(found)} of {tried} seeds see it: {found}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
