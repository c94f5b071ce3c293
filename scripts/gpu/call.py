"""One call on a lent card: sections in order, each in its time, all in the call's. Imports no jax."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu.card import missing_packages, no_hopper, nvidia_smi, too_little_memory, too_old_for_command_buffers
from gpu.groups import Section
from gpu.plan import FAULTY, on_way, way_after
from gpu.report import Report
from gpu.tables import attention_table, status_table, sweep_table
from gpu.watch import Launch, Outcome, run_group


@dataclass
class Call:
    """Runs sections and keeps the way that attention is served: see plan.WAYS."""

    report: Report
    quick: bool
    faults: Mapping[str, str]
    until: float  # time.monotonic()
    way: str = "plain"
    child: str = "gpu.child"  # the module that runs parts
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def launch(self) -> Launch:
        report = self.report
        return Launch(report.path.parent, self.quick, self.faults, report.tell, report.log, self.take_facts, self.child)

    def run(self, sections: Sequence[Section]) -> int:
        """0 when every part that ran was right."""
        self._look_at_the_card()
        for section in sections:
            self._section(section)
            if section.name == "ladder":
                self._decide()
        self._conclude()
        return 1 if any(outcome.status in FAULTY for outcome in self.report.outcomes) else 0

    def take_facts(self, facts: Mapping[str, Any]) -> None:
        """Of the device, as each child gives them: told once."""
        with self.report.lock:
            if self.facts:
                return
            self.facts = dict(facts)
            self.report.add("device", self.facts)
            for sentence in (no_hopper(facts), too_little_memory(facts["memory"])):
                self._note(sentence)

    def _look_at_the_card(self) -> None:
        smi = nvidia_smi()
        self.report.add("nvidia_smi", smi)
        for sentence in missing_packages(self.report.figures["versions"]):
            self._note(sentence)
        if old := too_old_for_command_buffers(smi):
            self._note(old)
            self.way = "launches" if self.way == "plain" else self.way

    def _note(self, sentence: str) -> None:
        if sentence:
            self.report.say(sentence)
            self.report.add("notes", [*self.report.figures.get("notes", []), sentence])

    def _section(self, section: Section) -> None:
        if section.needs and shutil.which(section.needs) is None:
            return self._leave_out(section, f"{section.needs} is not installed")
        until = min(self.until, time.monotonic() + section.most)
        groups = [on_way(group, self.way) for group in section.groups]
        if not section.together:
            for group in groups:
                run_group(group, self.launch, until)
            return None
        threads = [threading.Thread(target=run_group, args=(group, self.launch, until)) for group in groups]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return None

    def _leave_out(self, section: Section, why: str) -> None:
        for group in section.groups:
            self.report.tell(Outcome(group.name, "all parts", "skipped", why))

    def _decide(self) -> None:
        way, why = way_after(self.report.outcomes)
        self.way = self.way if way == "plain" else way
        self.report.add("way", {"way": self.way, "why": why})
        self.report.say(f"attention from here on: {self.way}, because {why}; a further call needs --way {self.way}")

    def _conclude(self) -> None:
        for table in (status_table, sweep_table, attention_table):
            if lines := table(self.report.outcomes):
                print("\n".join(["", *lines]), flush=True)
        bad = [outcome.part for outcome in self.report.outcomes if outcome.status in FAULTY]
        late = [outcome.part for outcome in self.report.outcomes if outcome.status == "skipped"]
        self.report.say(f"failed: {', '.join(bad) or 'none'}; skipped: {', '.join(late) or 'none'}")
