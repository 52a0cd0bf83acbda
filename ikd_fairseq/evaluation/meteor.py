"""METEOR 1.5 (Denkowski and Lavie 2014), by its own Java program, under a label that names its modules.

METEOR matches words exactly, by stems, synonyms and paraphrases, as far as there is material for the
language. The PyPI package pycocoevalcap ships the program with the paraphrase table of English alone. Without
its table a language is scored by the other modules, and such figures compare only with each other.
"""

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import IkdError, check
from ..io.progress import progress
from .significance import Comparison, compare_scores

logger = logging.getLogger(__name__)

JAR_VARIABLE = "METEOR_JAR"
JAR_IN_PACKAGE = ("pycocoevalcap", "meteor", "meteor-1.5.jar")

# What METEOR 1.5 uses by default, by its code of the language.
MODULES: dict[str, tuple[str, ...]] = {
    "en": ("exact", "stem", "synonym", "paraphrase"),
    "cz": ("exact", "paraphrase"),
    **dict.fromkeys(("de", "es", "fr", "ru"), ("exact", "stem", "paraphrase")),
    **dict.fromkeys(("da", "fi", "hu", "it", "nl", "no", "pt", "ro", "se", "tr"), ("exact", "stem")),
}


def find_jar(given: str | None = None) -> Path:
    """METEOR's jar: *given* (of ``--meteor-jar``), else that of ``METEOR_JAR``, else that of pycocoevalcap.

    Raises:
        IkdError: there is none, or none where it is said to be.
    """
    for source, path in (("--meteor-jar", given), (JAR_VARIABLE, os.environ.get(JAR_VARIABLE))):
        if path:
            there = os.path.isfile(path)
            check(there, f"{source} {path}: there is no such file; give the path of meteor-1.5.jar")
            return Path(path).resolve()
    package = importlib.util.find_spec(JAR_IN_PACKAGE[0])
    folders = (package and package.submodule_search_locations) or []
    jars = [jar for jar in (Path(folder, *JAR_IN_PACKAGE[1:]) for folder in folders) if jar.is_file()]
    remedy = f"give --meteor-jar FILE, set {JAR_VARIABLE}, or install the package that ships it"
    check(jars, f"METEOR's jar was not found; {remedy} (pip install pycocoevalcap)")
    return jars[0]


@dataclass(frozen=True)
class Meteor:
    """METEOR for one language, found before anything is scored."""

    java: str
    jar: Path
    language: str  # METEOR's code: de, fr, en, cz ...
    options: tuple[str, ...] = ()  # further options of METEOR, which the label repeats
    modules: tuple[str, ...] | None = None  # where its default ones cannot all be used

    @classmethod
    def find(cls, language: str, preset: str, jar: str | None = None) -> "Meteor":
        """Looks for jar, Java and paraphrase table; warns when the table is missing and does without it.

        Args:
            language: a key of :data:`MODULES`.
            preset: "tokenised" lower-cases the tokens and leaves them as they stand; "detokenised" has METEOR
                tokenise plain text, normalise its punctuation and lower-case it.
            jar: see :func:`find_jar`.

        Raises:
            IkdError: there is no jar or no Java.
        """
        found = find_jar(jar)
        java = shutil.which("java") or ""
        no_java = "METEOR is a Java program and there is no java on the PATH"
        check(java, f"{no_java}; install a Java runtime, or leave meteor out of --metrics")
        table = found.parent / "data" / f"paraphrase-{language}.gz"  # where METEOR itself looks
        modules = None
        if "paraphrase" in MODULES[language] and not table.is_file():
            modules = tuple(module for module in MODULES[language] if module != "paraphrase")
            missing = "METEOR's paraphrase table %s is missing: METEOR runs with -m '%s', and its score"
            warning = f"{missing} does not compare with one that used paraphrases"
            logger.warning(warning, table, " ".join(modules))
        option = "-lower" if preset == "tokenised" else "-norm"
        return cls(java, found, language, (option,), modules)

    @classmethod
    def if_there(cls, language: str, preset: str) -> "Meteor | None":
        """As :meth:`find`, but the log says why there is none."""
        try:
            check(language in MODULES, f"METEOR does not know {language}")
            return cls.find(language, preset)
        except IkdError as error:
            logger.warning("no METEOR: %s", error)
            return None

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """Corpus score of *hypotheses*, one reference each.

        Returns:
            "name", "score" (0 to 100) and "signature", such as "METEOR 1.5 -l de -m exact+stem -lower", with
            the version and modules that the program itself reports.

        Raises:
            IkdError: METEOR fails; the sentence holds what it said.
        """
        with tempfile.TemporaryDirectory(prefix="ikd-meteor-") as folder:
            paths = [Path(folder, "hypotheses"), Path(folder, "references")]
            for path, lines in zip(paths, (hypotheses, references)):
                # Java ends a line at a carriage return too. METEOR splits at white space anyway.
                text = "".join(" ".join(line.split()) + "\n" for line in lines)
                path.write_text(text, encoding="utf-8", newline="\n")
            arguments = [*map(str, paths), "-l", self.language, *self.options]
            arguments += ["-m", " ".join(self.modules)] if self.modules else []
            command = [self.java, "-Xmx2G", "-jar", str(self.jar), *arguments]
            try:
                run = subprocess.run(command, capture_output=True, check=False)
            except OSError as error:
                raise IkdError(f"{self.java} cannot be run ({error.strerror}); install Java anew") from error
        output, errors = (text.decode("utf-8", "replace") for text in (run.stdout, run.stderr))
        found = [
            re.search(pattern, output, re.MULTILINE)
            for pattern in (r"^Meteor version:\s*(\S+)", r"^Modules:[ \t]*(.*\S)", r"^Final score:\s*(\d\S*)")
        ]
        # METEOR ends with status 0 after some errors; only a score tells that it went well.
        reason = " ".join(re.split(r"\n\s+at ", errors)[0].split())  # without the stack
        reason = reason or f"status {run.returncode}, no final score"
        check(all(found), f"METEOR ({self.jar}) failed: {reason}")
        version, modules, final = (match[1] for match in found if match)
        modules = "+".join(modules.split())
        label = f"METEOR {version} -l {self.language} -m {modules} {' '.join(self.options)}"
        return {"name": "METEOR", "score": 100 * float(final), "signature": label}

    def compare(
        self, systems: Mapping[str, Sequence[Sequence[str]]], references: Sequence[str]
    ) -> Comparison:
        """Scores every run, the baseline's first. sacreBLEU tests its own metrics alone: there is no p."""
        runs = [(name, lines) for name, own in systems.items() for lines in own]
        values: dict[str, list[float]] = {name: [] for name in systems}
        for name, lines in progress(runs, desc="METEOR", unit="run"):
            score = self.score(lines, references)
            values[name].append(score["score"])
        return compare_scores(score["name"], score["signature"], values)
