"""Nothing in git ties the project to one machine: no folder of somebody's, no package index, no address."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PATTERNS = {
    "a path of one machine": r"(?<![\w./~$}-])/(?:home|Users|root|work|mnt|opt|tmp/env)/[\w.-]+",
    "a Windows path": r"\b[A-Z]:\\+(?:Users|work|projects?)\b",
    "a local file as a package": r"file:///\w",
    "a package index": r"(?<!no-emit-)(?:extra-)?index-url\b|(?<!no-emit-)find-links|(?<!no-emit-)trusted-host",
    "a package server": r"\b(?:pypi\.(?!org/project)[\w-]+|devpi|artifactory|nexus\.)",
    "a build's own label": r"^torch==[\d.]+\+\w+",
    "an address in a private network": r"\b(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b",
}
EXAMPLES = {
    "a path of one machine": "models = '/home/somebody/models'",
    "a Windows path": r"C:\Users",
    "a local file as a package": "vjepa @ file:///x",
    "a package index": "pip install --index-url x",
    "a package server": "pypi.example.com",
    "a build's own label": "torch==2.13.0+cpu",
    "an address in a private network": "http://192.168.1.20:4200",
}


def tracked_text(repository: Path) -> dict[str, str]:
    """Every text file that is in git or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.splitlines()
    texts = {}
    for name in names:
        path = repository / name
        if path.is_file() and path != Path(__file__).resolve():
            content = path.read_bytes()
            if b"\0" not in content:
                texts[name] = content.decode()
    return texts


@pytest.mark.parametrize("what", PATTERNS)
def test_no_tracked_file_holds(what: str, repository: Path) -> None:
    pattern = re.compile(PATTERNS[what], re.MULTILINE)
    found = [f"{name}: {m[0]}" for name, text in tracked_text(repository).items() for m in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize("what", PATTERNS)
def test_each_pattern_finds_what_it_is_for(what: str) -> None:
    assert re.search(PATTERNS[what], EXAMPLES[what], re.MULTILINE)
