"""The entry points found are those importlib.metadata finds, whatever lies on the path."""

from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from convcore.host.discovery import Entry, installed

LINES = """# a comment
[console_scripts]
other = nothing:here

[convcore.plugins]
one = json
two=json.decoder : JSONDecoder.decode [extra]

# between
[pytest11]
one = elsewhere
"""


def expected(group: str) -> set[tuple[str, str, str, str]]:
    found = metadata.entry_points(group=group)
    return {(e.name, e.value, e.dist.metadata["Name"], e.dist.metadata["Version"]) for e in found}


def install(folder: Path, name: str, headers: str, lines: str = LINES) -> None:
    info = folder / name
    info.mkdir(parents=True)
    (info / ("METADATA" if name.endswith("dist-info") else "PKG-INFO")).write_text(headers)
    (info / "entry_points.txt").write_text(lines)


def facts(name: str, version: str = "1.0") -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: of the README\n"


@pytest.mark.parametrize("group", ["convcore.plugins", "pytest11", "console_scripts", "nobody's"])
def test_this_environment_is_read_as_the_standard_library_reads_it(group: str) -> None:
    assert set(installed(group)) == expected(group)


def test_every_kind_of_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "a", "plain-1.0.dist-info", facts("plain"))
    others = "[convcore.plugins]\nthree = csv\n"
    install(tmp_path / "a", "Old.Style_Name.egg-info", facts("Old.Style-Name"), others)
    (tmp_path / "a" / "file-1.0.egg-info").write_text(facts("file"))
    (tmp_path / "a" / "noise.dist-info").write_text("a file where a folder belongs")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nowhere"), str(tmp_path / "a")])

    found = installed("convcore.plugins")

    assert set(found) == expected("convcore.plugins")
    assert [entry.name for entry in found] == ["one", "three", "two"]


def test_the_first_of_two_distributions_of_one_name_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "a", "my_plugin-2.0.dist-info", facts("my-plugin", "2.0"))
    install(
        tmp_path / "b",
        "My.Plugin-1.0.dist-info",
        facts("My.Plugin"),
        "[convcore.plugins]\ngone = csv\n",
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b")])

    assert {entry.version for entry in installed("convcore.plugins")} == {"2.0"}
    assert "gone" not in {entry.name for entry in installed("convcore.plugins")}
    assert set(installed("convcore.plugins")) == expected("convcore.plugins")


def test_of_two_equal_entries_the_first_on_the_path_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "a", "first-1.0.dist-info", facts("first"))
    install(tmp_path / "b", "second-1.0.dist-info", facts("second"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b")])

    assert {entry.distribution for entry in installed("convcore.plugins")} == {"first"}


@pytest.mark.parametrize("name", ["packed.zip", "packed-1.0-py3.11.egg"])
def test_an_archive_on_the_path_is_searched_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = "EGG-INFO" if name.endswith("egg") else "packed-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr(f"{inside}/METADATA", facts("packed"))
        archive.writestr(f"{inside}/PKG-INFO", facts("packed"))
        archive.writestr(f"{inside}/entry_points.txt", LINES)
    monkeypatch.setattr(sys, "path", [str(tmp_path / name)])

    assert set(installed("convcore.plugins")) == expected("convcore.plugins")
    assert [entry.distribution for entry in installed("convcore.plugins")] == ["packed", "packed"]


def test_a_finder_of_distributions_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "hidden", "hidden-1.0.dist-info", facts("hidden"))

    class Finder:
        @staticmethod
        def find_distributions(context: object) -> list[metadata.Distribution]:
            return [metadata.PathDistribution(tmp_path / "hidden/hidden-1.0.dist-info")]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])

    assert "hidden" in {entry.distribution for entry in installed("convcore.plugins")}


def test_a_reference_loads_what_the_standard_library_loads() -> None:
    for value in ("json", "json.decoder:JSONDecoder", "json : JSONDecoder.decode [extra]"):
        other = metadata.EntryPoint("x", value, "g").load()

        assert Entry("x", value, "", "").refers
        assert Entry("x", value, "", "").load() is other

    for value in ("", "not a module", "json:", ":name", "json;os", "json:a b"):
        assert not Entry("x", value, "", "").refers
