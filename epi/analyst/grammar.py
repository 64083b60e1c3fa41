"""Questions without a model: outputs, places, ages, interventions and dates are matched by patterns; everything else is refused."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from epi.analyst.answer import PLAIN, Answer, checked_answer
from epi.analyst.glossary import TERMS
from epi.analyst.number_text import normal
from epi.analyst.phrases import Dates, find_dates, find_place, find_strength, layers_in
from epi.analyst.source import CannotAnswer, Source
from epi.analyst.toolbox import Toolbox
from epi.analyst.values import clean
from epi.analyst.vocabulary import OUTPUTS, known_word
from epi.reporting.plots import ALL as PLOTS

__all__ = ["Parsed", "ask_plainly", "parse"]

LONGEST = 400
FUTURE = r"\b(?:will|expect(?:ed|s)?|forecasts?|predict(?:ed|ion|ions)?|projected|next|coming|future|going to)\b"


@dataclass(frozen=True)
class Parsed:
    """What a question was understood as.

    Attributes:
        tool: to call.
        arguments: for it.
    """

    tool: str
    arguments: dict[str, Any]


def ask_plainly(box: Toolbox, question: str) -> Answer:
    """Answer a question by the grammar: one tool, its numbers as sentences. What is not understood is refused."""
    begun = time.monotonic()
    found = parse(question, box.source)
    result = box.call(found.tool, found.arguments)
    return checked_answer(box, question, "\n".join(result.lines()), [result], PLAIN, time.monotonic() - begun)


def parse(question: str, run: Source) -> Parsed:
    """The tool and arguments of a question; `cannot` with the reason where it is not understood."""
    try:
        return _Question(clean(normal(question), LONGEST + 1), run).parsed()
    except CannotAnswer as error:
        return Parsed("cannot", {"reason": str(error)[:300]})


class _Question:
    """One question while it is taken apart."""

    def __init__(self, text: str, run: Source) -> None:
        if len(text) > LONGEST or not text:
            raise CannotAnswer(
                f"The question is {'empty' if not text else 'too long'}; ask in one sentence of at most {LONGEST} characters."
            )
        self.text, self.lower, self.run, self.study = text, text.lower(), run, run.study
        self.outputs: list[tuple[str, tuple[int, int]]] = []
        taken = self.text.lower()
        for pattern, name in OUTPUTS:
            for match in re.finditer(pattern, taken):
                self.outputs.append((name, match.span()))
                taken = taken[: match.start()] + " " * len(match[0]) + taken[match.end() :]
        self.outputs.sort(key=lambda o: o[1])
        self.region, self.age, place_spans = find_place(text, self.study)
        files = run.files
        self.dates: Dates = find_dates(text, files.weeks, files.forecast_from, self.study.calendar.start)
        self.layers, layer_spans = layers_in(text, self.study)
        spans = [span for _, span in self.outputs] + place_spans + layer_spans + self.dates.spans
        rest = "".join(" " if any(a <= i < b for a, b in spans) else c for i, c in enumerate(self.lower))
        self.rest = [re.sub(r"['’]s?$", "", w) for w in re.findall(r"(?<!\d)(?<!['’])[^\W\d_][\w'’-]*", rest)]

    def has(self, pattern: str) -> bool:
        return re.search(pattern, self.lower) is not None

    def parsed(self) -> Parsed:
        found = self._about_the_run()
        if found is not None:
            return found
        change = self._change()
        output = self._output(change)
        self._refuse_unknown_terms()
        if change is not None:
            return self._scenario(change, output)
        if not output:
            raise CannotAnswer("The question names no output, parameter or term that the run has.")
        return self._reading(output)

    # questions about the calibration

    def _about_the_run(self) -> Parsed | None:
        term = re.search(
            r"\bwhat (?:does|do|is meant by)\s+(?:an?\s+|the\s+)?['\"]?([\w -]+?)['\"]?(?:\s+(?:mean|stand for)\b|\?|$)",
            self.lower,
        )
        term = term or re.search(
            r"\b(?:define|explain|definition of|meaning of)\s+(?:the\s+|an?\s+)?['\"]?([\w -]+)", self.lower
        )
        if term is None:
            plain = re.fullmatch(r"what(?: is|'s|s) (?:an? |the )?([\w -]+?)\s*\??", self.lower)
            quantities = (
                "r0",
                "rt",
                "attack rate",
                "ascertainment",
                "infection-fatality ratio",
                "infection-hospitalisation ratio",
            )
            term = plain if plain is not None and plain[1] in TERMS and plain[1] not in quantities else None
        if term is not None and term[1].strip() in TERMS:
            return Parsed("glossary", {"term": term[1].strip()})
        if self.has(r"\b(?:figure(?:s)?|plots?|chart|graph|picture)\b"):
            self._refuse_unknown_terms()
            return Parsed("figure", {"name": self._figure()})
        if self.has(
            r"\b(?:parameters? (?:matter|drive|are (?:the )?most)|drives?\b|driven by|drivers?|sensitiv\w+|most important|influen\w+)"
            r"|\bmatters? most"
        ):
            self._refuse_unknown_terms()
            name = self.outputs[0][0] if self.outputs else "cases"
            where = f" in {self.region}" if self.region else f", {self.age}," if self.age else ""
            return Parsed("sensitivity", {"output": f"{name}{where} in the forecast weeks" if where else name})
        if self.has(
            r"\b(?:(?:data )?streams?\b.*\b(?:tell|add|inform|teach|contribut|help|worth)|information\b.*\bstreams?)"
        ):
            self._refuse_unknown_terms()
            return Parsed("streams", {})
        if self.has(r"\b(?:trust(?:ed|worthy)?|believ\w+|reliable|converged?|verdicts?|rely on)\b") or self.has(
            r"\bcheck(?:s|ed)?\b.*\b(?:calibration|fit|run|pass)"
        ):
            return Parsed("verdicts", {})
        if (
            self.has(r"\b(?:how (?:good|accurate|well)|baseline|skill|scor(?:e|es|ed)|wis|coverage)\b")
            and self._change() is None
        ):
            self._refuse_unknown_terms("wis", "coverage", "accurate", "well")
            stream = next((o for o, _ in self.outputs), self.study.observed[0].name)
            return Parsed("scores", {"stream": self._stream(stream)})
        if self.has(r"\b(?:overview|summar\w+|describe)\b|\bwhat is this\b"):
            self._refuse_unknown_terms()
            return Parsed("summary", {})
        return self._parameter() if self._change() is None and not self.dates.week else None

    def _figure(self) -> str:
        drawn = [n for n in PLOTS if self.run.file(f"figures/{n}.png").is_file()]
        tokens = {w.rstrip("s") for w in re.findall(r"[a-z]+", self.lower)}
        scored = [(sum(part.rstrip("s") in tokens for part in n.split("_")), -i, n) for i, n in enumerate(drawn)]
        best = max(scored, default=(0, 0, ""))
        if not best[0]:
            raise CannotAnswer("The question names no figure of the run.")
        return best[2]

    def _parameter(self) -> Parsed | None:
        """A parameter by the words of its name or label, where no output is asked about."""
        asks = self.has(
            r"\b(?:posterior|prior|parameter|estimate[sd]?|level|rate|share|spread|growth|scatter|assortativity|coupling)\b"
        )
        outputs = [o for o, _ in self.outputs if o not in ("infections", "cases") or not asks]
        if not asks or outputs:
            return None
        tokens = {_stem(w) for w in re.findall(r"[a-z]+", self.lower)}
        best: tuple[float, str] = (0.0, "")
        for name in self.run.files.draws()[0]:
            site = name.split("[")[0]
            for text in (site.replace("_", " "), self.run.files.label(name).split(":")[0].lower()):
                own = {_stem(w) for w in re.findall(r"[a-z]+", text)} - {"at", "of", "in", "the", "per", "by"}
                score = len(own & tokens) / len(own) if own else 0.0
                if score > best[0] or (score == best[0] and score and len(site) < len(best[1])):
                    best = (score, site)
        return Parsed("posterior", {"parameter": best[1]}) if best[0] >= 0.99 else None

    # questions about the epidemic

    def _change(self) -> dict[str, Any] | None:
        """What is to be another, as arguments of `scenario`; None for nothing."""
        r0 = re.search(r"\b(?:r0|basic reproduction number)\b(?!\s*(?:\?|$))[^.?!,;]*?(\d+(?:\.\d+)?)", self.lower)
        if r0:
            return {"r0": float(r0[1])}
        strength = find_strength(self.text)
        if strength is None or not self.has(r"\b(?:if|had|suppose|with|without|would|what|will)\b"):
            return None
        if self.has(r"\bseed(?:ed|ing)?\b"):
            return {"parameter": "seed_level", "times": strength}
        named = self.layers is not None
        if not named and not self.has(r"\b(?:contacts|transmission)\b"):
            return None
        change: dict[str, Any] = {"factor": strength, "layers": self.layers or []}
        if not (self.dates.last and not self.dates.first and not self._since()):
            change |= {"first": self.dates.first, "last": self.dates.last if self.dates.first else ""}
        return change

    def _since(self) -> bool:
        return self.has(r"\b(?:from|since|starting|beginning)\b")

    def _output(self, change: dict[str, Any] | None) -> str:
        names = [o for o, _ in self.outputs if not (change and o == "R0")]
        if change and "parameter" in change and len(names) > 1:
            # "twice as many infections had been seeded": the infections that are seeded are not what is asked about
            names = [o for o in names if o != "infections"] or names
        if len(names) > 1 and "infections" in names and names[0] != "infections" and self.has(r"\bof infections?\b"):
            names.remove("infections")
        distinct = list(dict.fromkeys(names))
        if "attack rate" in distinct and "infections" in distinct:
            distinct.remove("infections")
        if len(distinct) > 1:
            raise CannotAnswer(f"The question names several outputs ({', '.join(distinct)}); ask about one.")
        return distinct[0] if distinct else ""

    def _refuse_unknown_terms(self, *besides: str) -> None:
        unknown = [w for w in self.rest if not known_word(w) and w not in besides and w.rstrip("'’s") not in besides]
        if unknown:
            raise CannotAnswer(
                f"The question has the word {clean(unknown[0], 40)!r}, which the grammar does not know: the run may hold nothing about it."
            )

    def _place(self) -> str:
        if self.region and self.age:
            raise CannotAnswer("The run has nothing by region and age at once; ask about one of them.")
        return self.region or self.age or "all"

    def _statistic(self) -> str | None:
        if self.has(r"\bpeak(?:s|ed)?\b|\bmaximum\b|\bhighest\b"):
            return "peak week" if self.has(r"\bwhen\b|\bwhich week\b|\blater\b|\bearlier\b|\btiming\b") else "peak"
        if self.has(r"\bforecast weeks\b|\bforecast period\b"):
            return "forecast total"
        return "total" if self.has(r"\b(?:in total|total|in all|altogether|sum)\b") and not self.dates.week else None

    def _scenario(self, change: dict[str, Any], output: str) -> Parsed:
        if not output:
            raise CannotAnswer(
                "The question says what is changed but not what is asked about; name cases, infections or another output."
            )
        arguments = {"output": output, "place": self._place(), **change}
        if self.dates.week:
            arguments["week"] = self.dates.week
        statistic = self._statistic()
        if statistic:
            arguments["statistic"] = statistic
        return Parsed("scenario", arguments)

    def _reading(self, output: str) -> Parsed:
        if output == "R0":
            return Parsed("reproduction", {})
        place, week, statistic = self._place(), self.dates.week, self._statistic()
        if not week and self.dates.first and not self.dates.last and self.has(r"\bweek\b"):
            week = self.dates.first
        more: dict[str, Any] = (
            {"place": place} | ({"week": week} if week else {}) | ({"statistic": statistic} if statistic else {})
        )
        streams = [s for s in self.study.observed if output in (s.kind, s.option)]
        if not streams:
            return Parsed("derived", {"quantity": output, **more})
        late = (week and week >= self.run.files.forecast_from) or (not week and self.has(FUTURE))
        return Parsed("forecast" if late else "observed", {"stream": self._stream(output), **more})

    def _stream(self, kind: str) -> str:
        """The stream of a kind that has the place of the question, else its first."""
        found = [s for s in self.study.observed if kind in (s.kind, s.option, s.name)]
        if not found:
            raise CannotAnswer(
                f"The run has no data on {kind}; it has {', '.join(s.name for s in self.study.observed)}."
            )
        place = self.region or self.age
        return next((s.name for s in found if place in s.places(self.study)), found[0].name)


def _stem(word: str) -> str:
    for end in ("ing", "ed", "s"):
        if word.endswith(end) and len(word) > len(end) + 3:
            return word[: -len(end)]
    return word
