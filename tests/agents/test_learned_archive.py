"""Archives and policy files: what is written comes back, and no bad file does any harm."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distmllm_agents.learned.settings import make_settings
from distmllm_agents.learned.trained import load_policy_file
from distmllm_agents.learned.training import Training
from distmllm_env import Scenario, archive, play
from distmllm_env.archive import POLICY, STATE, describe, read_archive, write_archive

TABLES: dict[str, np.ndarray] = {
    "0-d": np.array(3.5),
    "bool": np.array([[True], [False]]),
    "inf": np.array([np.inf, -np.inf, np.nan, -0.0]),
    "big-endian": np.arange(6, dtype=">i4").reshape(2, 3),
    "big-endian floats": np.linspace(0, 1, 5).astype(">f8"),
    "empty": np.zeros((3, 0, 2), np.float32),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(10)[::3],
    "a/b.c": np.array([2**64 - 1], np.uint64),
}
ABOUT: dict[str, Any] = {
    "kind": "thing",
    "text": 'a "quoted" line\n\\ and \u00e4 \U0001f600',
    "numbers": [0.1 + 0.2, 5e-324, -(2**80), None, True],
    "empty": {},
}


def same(left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> bool:
    """Names, types, shapes and bits."""
    return set(left) == set(right) and all(
        left[name].dtype == table.dtype
        and left[name].shape == table.shape
        and left[name].tobytes() == table.tobytes()
        for name, table in right.items()
    )


def slow_digest(tables: Mapping[str, np.ndarray], text: str) -> str:
    """What the digest is taken over, element by element."""
    content = text.encode()
    for name in sorted(tables):
        table = tables[name]
        little = table.dtype.newbyteorder("<")
        content += f"\0{name}\0{little.str}\0{table.shape}\0".encode()
        for index in np.ndindex(*table.shape):
            content += table[index].astype(little).tobytes()
    return hashlib.sha256(content).hexdigest()


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def pack(path: Path, members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as file:
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, content in members:
            file.writestr(name, content)


def npy(table: Any) -> bytes:
    """A member as NumPy writes it; objects as a pickle."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(table), allow_pickle=True)
    return buffer.getvalue()


def crafted(header: str, body: bytes = b"") -> bytes:
    """A member of version 1.0 with any header."""
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def shaped(shape: str, descr: str = "'<f8'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that no test may make; that a payload would make it is seen first."""
    path = tmp_path / "marker"
    pickle.loads(pickle.dumps(Payload(path)))
    assert path.exists()
    path.unlink()
    return path


@pytest.fixture(scope="module")
def thing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good archive."""
    path = tmp_path_factory.mktemp("thing") / "thing.npz"
    write_archive(path, TABLES, ABOUT)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "offered.npz"


def refused(path: Path, kind: str = "thing") -> str:
    """Return why ``read_archive`` refuses a file, without the part that is always there."""
    with pytest.raises(ValueError, match="is not a") as caught:
        read_archive(path, kind)
    text = str(caught.value)
    start = f"{path} is not a {kind}: "
    assert text.startswith(start)
    assert text.endswith(".")
    why = text.removeprefix(start)
    assert len(why) > 3
    return why


class TestRoundTrip:
    def test_arrays_and_json(self, path: Path) -> None:
        digest = write_archive(path, TABLES, ABOUT)
        tables, about, told = read_archive(path, "thing")
        assert same(tables, TABLES)
        assert about == ABOUT
        assert told == digest
        assert len(digest) == 64

    @settings(deadline=None, derandomize=True, max_examples=100)
    @given(
        st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), min_size=1),
            hnp.arrays(
                st.one_of(
                    hnp.boolean_dtypes(),
                    hnp.integer_dtypes(endianness="?"),
                    hnp.unsigned_integer_dtypes(endianness="?"),
                    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
                ),
                hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
            ),
            max_size=3,
        ).filter(lambda tables: not {"file", "about.json", "sha256"} & set(tables))
    )
    def test_any_arrays(
        self, tmp_path_factory: pytest.TempPathFactory, tables: dict[str, np.ndarray]
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "any.npz"
        digest = write_archive(path, tables, {"kind": "thing"})
        found, about, told = read_archive(path, "thing")
        assert same(found, tables)
        assert about == {"kind": "thing"}
        assert told == digest == slow_digest(tables, '{"kind": "thing"}')

    def test_the_digest_by_other_code(self, path: Path) -> None:
        digest = write_archive(path, TABLES, ABOUT)
        assert digest == slow_digest(TABLES, json.dumps(ABOUT, sort_keys=True))

    def test_the_digest_does_not_hang_on_packing(self, path: Path, thing: Path) -> None:
        _, _, digest = read_archive(thing, "thing")
        for order in (list(TABLES), sorted(TABLES), sorted(TABLES, reverse=True)):
            shuffled = {name: TABLES[name] for name in order}
            assert write_archive(path, shuffled, dict(reversed(ABOUT.items()))) == digest
        other = {
            name: table.astype(table.dtype.newbyteorder("<"), order="F")
            for name, table in TABLES.items()
        }
        assert write_archive(path, other, ABOUT) == digest
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            for members in (members_of(thing).items(), reversed(members_of(thing).items())):
                pack(path, list(members), method)
                tables, about, told = read_archive(path, "thing")
                assert same(tables, TABLES)
                assert (about, told) == (ABOUT, digest)

    @pytest.mark.parametrize(
        "other",
        [
            {"x": np.array([1.0, 3.0])},
            {"y": np.array([1.0, 2.0])},
            {"x": np.array([1.0, 2.0], np.float32)},
            {"x": np.array([[1.0, 2.0]])},
            {"x": np.array([1.0, 2.0]).view(np.int64)},
            {"x": np.array([1.0, 2.0]), "y": np.zeros(0)},
            {},
        ],
        ids=["number", "name", "precision", "shape", "type", "more", "less"],
    )
    def test_the_digest_tells_what_differs(self, path: Path, other: dict[str, np.ndarray]) -> None:
        usual = {"x": np.array([1.0, 2.0])}
        digest = write_archive(path, usual, {"kind": "thing"})
        assert write_archive(path, other, {"kind": "thing"}) != digest
        assert write_archive(path, usual, {"kind": "thing", "more": 1}) != digest
        assert write_archive(path, usual, {"kind": "thing"}) == digest

    def test_parent_folders_are_made(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "c.npz"
        write_archive(path, TABLES, ABOUT)
        assert same(read_archive(path, "thing")[0], TABLES)


class TestWritingIsAtomic:
    @pytest.fixture
    def old(self, path: Path) -> bytes:
        write_archive(path, {"x": np.arange(3)}, {"kind": "old"})
        return path.read_bytes()

    def check(self, path: Path, old: bytes) -> None:
        assert path.read_bytes() == old
        assert list(path.parent.iterdir()) == [path]

    def test_a_full_disk(self, path: Path, old: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        def half(self: Path, content: bytes) -> int:
            assert self != path
            with self.open("wb") as file:
                file.write(content[: len(content) // 2])
            raise OSError("no space left on device")

        monkeypatch.setattr(Path, "write_bytes", half)
        with pytest.raises(OSError, match="no space left"):
            write_archive(path, TABLES, ABOUT)
        self.check(path, old)

    def test_a_file_that_cannot_be_replaced(
        self, path: Path, old: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def refuse(self: Path, target: Path) -> Path:
            assert self.parent == target.parent  # else it may be another file system
            assert same(read_archive(self, "thing")[0], TABLES)  # it is complete by now
            seen.append(target)
            raise PermissionError("in use")

        monkeypatch.setattr(Path, "replace", refuse)
        with pytest.raises(PermissionError, match="in use"):
            write_archive(path, TABLES, ABOUT)
        assert seen == [path]
        self.check(path, old)

    @pytest.mark.parametrize(
        ("tables", "about", "message"),
        [
            ({"x": np.array([None])}, {}, "array 'x' is of type object: numbers are allowed"),
            ({"x": np.array("text")}, {}, "array 'x' is of type <U4: numbers are allowed"),
            ({"x": np.zeros(2, [("a", "<f8")])}, {}, "array 'x' is of type"),
            ({"x": np.array([1j])}, {}, "array 'x' is of type complex128"),
            ({}, {"n": float("nan")}, "Out of range float values are not JSON compliant"),
            ({}, {"n": float("inf")}, "Out of range float values are not JSON compliant"),
        ],
    )
    def test_what_may_not_be_written(
        self, path: Path, old: bytes, tables: Any, about: Any, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            write_archive(path, tables, {"kind": "thing"} | about)
        self.check(path, old)

    def test_success_leaves_one_file(self, path: Path, old: bytes) -> None:
        write_archive(path, TABLES, ABOUT)
        assert list(path.parent.iterdir()) == [path]
        assert path.read_bytes() != old


class TestBadFiles:
    def test_missing(self, path: Path) -> None:
        assert "No such file" in refused(path)

    def test_a_folder(self, path: Path) -> None:
        path.mkdir()
        assert "directory" in refused(path)

    @pytest.mark.parametrize(
        "content", [b"", b"x", b"some text\n" * 50, b"\x93NUMPY", b"PK\x03\x04"]
    )
    def test_not_a_zip_file(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        assert refused(path) == "File is not a zip file."

    def test_a_single_array(self, path: Path) -> None:
        path.write_bytes(npy(np.arange(5)))
        assert refused(path) == "File is not a zip file."

    def test_an_empty_archive(self, path: Path) -> None:
        pack(path, [])
        assert "about.json" in refused(path) or "No data left" in refused(path)

    def test_truncated(self, thing: Path, path: Path) -> None:
        content = thing.read_bytes()
        for length in {*range(0, len(content), 37), *range(len(content) - 40, len(content))}:
            path.write_bytes(content[:length])
            assert refused(path)

    def test_the_front_is_missing(self, thing: Path, path: Path) -> None:
        content = thing.read_bytes()
        for start in range(1, len(content), 97):
            path.write_bytes(content[start:])
            assert refused(path)

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_a_bit_flipped(self, thing: Path, where: float, bit: int) -> None:
        content = thing.read_bytes()
        self.check_damaged(thing, flip(content, int(where * len(content)), bit))

    def test_bits_flipped_all_over_a_small_one(self, path: Path) -> None:
        """Versions, flags, methods, sizes, names and offsets are mostly in the directory."""
        write_archive(path, {"x": np.array([3])}, {"kind": "thing"})
        content = path.read_bytes()
        directory = content.index(b"PK\x01\x02")
        for position in range(len(content)):
            for bit in (0, 3, 5, 6) if position >= directory else (position % 8,):
                self.check_damaged(path, flip(content, position, bit))

    @settings(deadline=None, derandomize=True, max_examples=150)
    @given(where=st.floats(0, 1), cut=st.integers(0, 40), put=st.binary(max_size=40))
    def test_a_piece_replaced(self, thing: Path, where: float, cut: int, put: bytes) -> None:
        content = thing.read_bytes()
        at = int(where * len(content))
        self.check_damaged(thing, content[:at] + put + content[at + cut :])

    def check_damaged(self, good: Path, content: bytes) -> None:
        """It is refused, or what was damaged does not matter, such as the time of a member."""
        damaged = good.with_name("damaged.npz")
        damaged.write_bytes(content)
        why = ""
        try:
            tables, about, digest = read_archive(damaged, "thing")
        except ValueError as error:
            why = str(error)
        if why:
            assert why.startswith(f"{damaged} is not a thing: ")
        else:
            expected = read_archive(good, "thing")
            assert same(tables, expected[0])
            assert (about, digest) == expected[1:]

    @pytest.mark.parametrize("name", ["about.json", "sha256"])
    def test_a_part_is_missing(self, thing: Path, path: Path, name: str) -> None:
        members = members_of(thing)
        del members[f"{name}.npy"]
        pack(path, list(members.items()))
        assert refused(path) == f"it has no '{name}'."

    def test_a_plain_npz(self, path: Path) -> None:
        np.savez(path, x=np.arange(3))
        assert refused(path) == "it has no 'about.json'."

    def test_another_kind(self, thing: Path) -> None:
        assert refused(thing, "other") == "its kind is 'thing'."

    @pytest.mark.parametrize(
        ("about", "found"), [({}, None), ({"kind": 3}, 3), ({"kind": None}, None)]
    )
    def test_no_kind(self, path: Path, about: dict[str, Any], found: Any) -> None:
        write_archive(path, {}, about)
        assert refused(path) == f"its kind is {found!r}."

    @pytest.mark.parametrize("text", ["[1]", '"thing"', "3", "null"])
    def test_a_description_that_is_no_table(self, path: Path, text: str) -> None:
        digest = slow_digest({}, text)
        pack(path, [("about.json.npy", npy(text)), ("sha256.npy", npy(digest))])
        assert refused(path) == "its kind is None."

    @pytest.mark.parametrize(
        "text", ["", "{", "{'kind': 'thing'}", "[" * 100_000, '{"kind": ' + "1" * 5000 + "}"]
    )
    def test_a_description_that_is_no_json(self, path: Path, text: str) -> None:
        digest = slow_digest({}, text)
        pack(path, [("about.json.npy", npy(text)), ("sha256.npy", npy(digest))])
        assert "digest" not in refused(path)

    @pytest.mark.parametrize("name", ["0-d", "bool", "inf", "big-endian", "about.json", "sha256"])
    def test_edited(self, thing: Path, path: Path, name: str) -> None:
        members = members_of(thing)
        old = members[f"{name}.npy"]
        at = old.index(b"thing"[:1] + b"\0\0\0h") if name == "about.json" else -1
        edited = bytearray(old)
        edited[at] ^= 1
        members[f"{name}.npy"] = bytes(edited)
        pack(path, list(members.items()))
        why = refused(path)
        assert why == "its content does not match its digest: it is damaged or was edited."

    def test_an_array_more_or_less(self, thing: Path, path: Path) -> None:
        members = members_of(thing)
        pack(path, [*members.items(), ("more.npy", npy(np.zeros(0)))])
        assert "does not match its digest" in refused(path)
        del members["empty.npy"]
        pack(path, list(members.items()))
        assert "does not match its digest" in refused(path)

    @pytest.mark.parametrize("name", ["0-d.npy", "about.json.npy", "sha256.npy"])
    def test_a_name_twice(self, thing: Path, path: Path, name: str) -> None:
        members = members_of(thing)
        for again in (members[name], npy(np.arange(3))):
            for both in ([*members.items(), (name, again)], [(name, again), *members.items()]):
                pack(path, both)
                assert refused(path) == f"it holds '{name}' twice."

    @pytest.mark.parametrize("name", ["0-d", "about.json", "sha256", "readme.txt", "folder/"])
    def test_a_member_that_is_no_array(self, thing: Path, path: Path, name: str) -> None:
        for content in (b"", b"text", npy(np.arange(3))):
            pack(path, [*members_of(thing).items(), (name, content)])
            assert refused(path) == f"it holds '{name}', which is no array."

    def test_a_member_that_is_an_array_by_name_only(self, thing: Path, path: Path) -> None:
        pack(path, [*members_of(thing).items(), ("more.npy", b"text")])
        assert "array 'more' is of type |S4: numbers are allowed" in refused(path)

    @pytest.mark.parametrize(
        "header",
        [
            shaped("(1000000000000,)"),
            shaped("(1000000000000000000000000000000,)"),
            shaped("(9223372036854775807, 9223372036854775807)"),
            shaped("(0, 4611686018427387904, 4611686018427387904)"),
            shaped("(-1,)"),
            shaped("(" + "1," * 99 + ")"),
            shaped("(1000000000000000,)", "'|V0'"),
            shaped("(1000000000000,)", "'<U9'"),
            shaped("(1,)", "[('a', '<f8', (10000000000,))]"),
            shaped("(1,)", "'nonsense'"),
            shaped("(1,)", "[(1, 2)]"),
            shaped("(1,)", "'|O'"),
            shaped("(1,)", "[('a', '|O')]"),
            shaped("(1L,)"),
            shaped("__import__('os').getpid()"),
            shaped("(1,)") + "'''",
            "(" * 5000,
            "-" * 9000 + "1",
            "{1: 2, 'a': 3}",
            "[]",
            "",
            "9" * 20_000,
        ],
        ids=lambda header: header[:70],
    )
    def test_crafted_headers(self, thing: Path, path: Path, header: str) -> None:
        for name in ("more", "about.json"):
            members = members_of(thing) | {f"{name}.npy": crafted(header)}
            pack(path, list(members.items()))
            assert "kind" not in refused(path)

    def test_letters_that_do_not_exist(self, thing: Path, path: Path) -> None:
        for letter in (b"\xff\xff\xff\x7f", b"\x00\xd8\x00\x00"):
            members = members_of(thing)
            members["about.json.npy"] = crafted(shaped("()", "'<U1'"), letter)
            pack(path, list(members.items()))
            assert refused(path)


def flip(content: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


class TestSize:
    def test_too_large_is_seen_before_anything_is_unpacked(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_archive(path, {"x": np.zeros(20_000)}, {"kind": "thing"})
        assert path.stat().st_size < 2000
        size = sum(len(content) for content in members_of(path).values())
        monkeypatch.setattr(archive, "LARGEST_BYTES", size)
        assert read_archive(path, "thing")[0]["x"].shape == (20_000,)
        monkeypatch.setattr(archive, "LARGEST_BYTES", size - 1)
        monkeypatch.delattr(np, "load")
        assert refused(path) == f"it unpacks to {size} bytes, at most {size - 1} are allowed."

    def test_many_members_count_together(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_archive(path, {str(i): np.zeros(100) for i in range(50)}, {"kind": "thing"})
        monkeypatch.setattr(archive, "LARGEST_BYTES", 30_000)
        assert "at most 30000 are allowed" in refused(path)

    def test_a_directory_that_claims_more(self, thing: Path, path: Path) -> None:
        path.write_bytes(claimed(thing.read_bytes(), b"0-d.npy", 0xFFFF_FFF0))
        assert "it unpacks to 4294" in refused(path)

    def test_a_directory_that_claims_less(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_archive(path, {"x": np.zeros(20_000)}, {"kind": "thing"})
        monkeypatch.setattr(archive, "LARGEST_BYTES", 10_000)
        content = path.read_bytes()
        path.write_bytes(claimed(content, b"x.npy", 1000))
        assert refused(path) == "Bad CRC-32 for file 'x.npy'."
        check = zlib.crc32(npy(np.zeros(20_000))[:1000])
        path.write_bytes(claimed(content, b"x.npy", 1000, check))
        assert "EOF: reading array data, expected 160000 bytes got 872" in refused(path)

    def test_the_limit(self) -> None:
        assert archive.LARGEST_BYTES == 2**30


def claimed(content: bytes, name: bytes, size: int, check: int | None = None) -> bytes:
    """Change what the directory says that a member unpacks to, and its check sum."""
    at = content.index(b"PK\x01\x02")
    while content[at + 46 : at + 46 + len(name)] != name:
        at = content.index(b"PK\x01\x02", at + 4)
    if check is not None:
        content = content[: at + 16] + struct.pack("<I", check) + content[at + 20 :]
    return content[: at + 24] + struct.pack("<I", size) + content[at + 28 :]


class TestNothingIsRun:
    @pytest.mark.parametrize("where", ["more.npy", "about.json.npy", "sha256.npy", "0-d.npy"])
    def test_an_object_array(self, thing: Path, path: Path, marker: Path, where: str) -> None:
        payload = npy(np.array([Payload(marker)], object))
        pack(path, list((members_of(thing) | {where: payload}).items()))
        assert refused(path) == "Object arrays cannot be loaded when allow_pickle=False."
        assert not marker.exists()
        with np.load(path, allow_pickle=True) as data:
            assert data[where.removesuffix(".npy")] is not None
        assert marker.exists()  # the file was dangerous

    def test_a_pickle(self, path: Path, marker: Path) -> None:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            path.write_bytes(pickle.dumps(Payload(marker), protocol))
            assert refused(path) == "File is not a zip file."
        assert not marker.exists()

    def test_an_object_array_on_its_own(self, path: Path, marker: Path) -> None:
        path.write_bytes(npy(np.array([Payload(marker)], object)))
        assert refused(path) == "File is not a zip file."
        assert not marker.exists()

    def test_a_pickle_as_a_member(self, thing: Path, path: Path, marker: Path) -> None:
        pack(path, [*members_of(thing).items(), ("more.npy", pickle.dumps(Payload(marker)))])
        assert "array 'more' is of type" in refused(path)
        assert not marker.exists()

    def test_what_torch_saves(self, path: Path, marker: Path) -> None:
        torch.save({"weights": torch.zeros(2), "more": Payload(marker)}, path)
        with pytest.raises(ValueError, match=r"offered/data\.pkl', which is no array") as caught:
            load_policy_file(path)
        assert str(path) in str(caught.value)
        assert not marker.exists()

    def test_what_stable_baselines3_saves(
        self, training: Training, tmp_path: Path, marker: Path
    ) -> None:
        model = training.learners[0].model
        model.more = Payload(marker)  # type: ignore[attr-defined]
        path = tmp_path / "model.zip"
        model.save(path)
        del model.more  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="it holds 'data', which is no array") as caught:
            load_policy_file(path)
        assert str(path) in str(caught.value)
        assert not marker.exists()


SMALL = {
    "scenario": "toy",
    "slots": 32,
    "markets": 4,
    "evaluations": 1,
    "evaluation_runs": 1,
    "checkpoints": 2,
    "algorithm": {"n_steps": 4, "batch_size": 16, "n_epochs": 1},
}


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    training = Training(make_settings(SMALL | {"layers": [4]}), tmp_path_factory.mktemp("mlp"))
    training.run()
    return training


@pytest.fixture(scope="module")
def policy(training: Training) -> Path:
    return training.out / "policy.npz"


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Independent learners of three providers."""
    folder = tmp_path_factory.mktemp("trio")
    scenario = Scenario.load("toy", {"reward.value_enc": 2.0, "reward.value_llm": 4.0}, providers=3)
    (folder / "trio.toml").write_text(scenario.to_toml())
    change = {"mode": "independent", "layers": [3], "scenario": str(folder / "trio.toml")}
    Training(make_settings(SMALL | change), folder).run()
    return folder / "policy.npz"


@pytest.fixture(scope="module")
def equivariant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("equivariant")
    change = {"network": "equivariant", "observation": "statistics", "width": 4, "depth": 1}
    Training(make_settings(SMALL | change), folder).run()
    return folder / "policy.npz"


def rewritten(
    policy: Path,
    path: Path,
    change: Callable[[dict[str, np.ndarray], dict[str, Any]], object],
) -> None:
    """Copy a policy with a change and a digest that fits it."""
    tables, about, _ = read_archive(policy, POLICY)
    change(tables, about)
    write_archive(path, tables, about)


def refused_policy(path: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        load_policy_file(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


class TestPolicyFiles:
    def test_what_it_says(self, policy: Path) -> None:
        tables, about, digest = read_archive(policy, POLICY)
        told = describe(policy, POLICY)
        assert told == about | {"sha256": digest}
        assert told["settings"] == make_settings(SMALL | {"layers": [4]}).to_dict()
        assert told["slots"] == 32
        assert all(name.startswith("0/") for name in tables)
        assert all(table.dtype == np.float32 for table in tables.values())

    def test_a_copy_is_as_good(self, policy: Path, path: Path) -> None:
        rewritten(policy, path, lambda tables, about: None)
        scenario = Scenario.load("toy")
        left, right = (play(scenario, load_policy_file(p), [3, 4]) for p in (policy, path))
        np.testing.assert_array_equal(left.allocation, right.allocation)

    def test_a_state_is_no_policy(self, policy: Path) -> None:
        state = policy.with_name("state.npz")
        assert f"{state} is not a {POLICY}: its kind is '{STATE}'." == refused_policy(state)
        with pytest.raises(ValueError, match="its kind is") as caught:
            describe(state, POLICY)
        assert str(state) in str(caught.value)

    @settings(deadline=None, derandomize=True, max_examples=80)
    @given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_a_bit_flipped(self, policy: Path, where: float, bit: int) -> None:
        content = policy.read_bytes()
        damaged = policy.with_name("damaged.npz")
        damaged.write_bytes(flip(content, int(where * len(content)), bit))
        why = ""
        try:
            load_policy_file(damaged)
        except ValueError as error:
            why = str(error)
        if why:
            assert why.startswith(f"{damaged} is not a {POLICY}: ")
        else:
            assert describe(damaged, POLICY) == describe(policy, POLICY)

    def test_edited_weights(self, policy: Path, path: Path) -> None:
        members = members_of(policy)
        name = "0/action_net.bias.npy"
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 0x40])
        pack(path, list(members.items()))
        assert "does not match its digest" in refused_policy(path)

    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["0/action_net.bias", "0/value_net.weight"])
    def test_weights_that_are_no_numbers(
        self, policy: Path, path: Path, name: str, number: float
    ) -> None:
        def change(tables: dict[str, np.ndarray], about: dict[str, Any]) -> None:
            tables[name].flat[-1] = number

        rewritten(policy, path, change)
        own = name.removeprefix("0/")
        assert f"weights '{own}' hold a number that is not finite" in refused_policy(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t, a: t.pop("0/action_net.bias"), "weights 'action_net.bias' are missing"),
            (lambda t, a: t.pop("0/value_net.weight"), "weights 'value_net.weight' are missing"),
            (
                lambda t, a: t.update({"0/action_net.bia": np.zeros(12)}),
                "unknown array of weights 'action_net.bia'. Did you mean 'action_net.bias'?",
            ),
            (lambda t, a: t.update({"0/": np.zeros(1)}), "unknown array of weights ''"),
            (lambda t, a: t.update({"more": np.zeros(1)}), "unknown network 'more'"),
            (lambda t, a: t.update({"00/x": np.zeros(1)}), "unknown network '00'"),
            (lambda t, a: t.update({"1/x": np.zeros(1)}), "weights of 2 networks: 1 are needed"),
            (lambda t, a: t.clear(), "there are weights of 0 networks: 1 are needed"),
            (
                lambda t, a: t.update({"0/action_net.bias": np.zeros(13)}),
                "weights 'action_net.bias' have shape (13,): (12,) is needed",
            ),
            (
                lambda t, a: t.update({"0/action_net.weight": np.zeros((4, 12))}),
                "weights 'action_net.weight' have shape (4, 12): (12, 4) is needed",
            ),
            (
                lambda t, a: t.update({"0/action_net.bias": np.array(0.0)}),
                "weights 'action_net.bias' have shape (): (12,) is needed",
            ),
        ],
    )
    def test_other_arrays(
        self, policy: Path, path: Path, change: Callable[..., object], message: str
    ) -> None:
        rewritten(policy, path, change)
        assert message in refused_policy(path)

    def test_networks_of_independent_learners(self, trio: Path, path: Path) -> None:
        assert len({name[0] for name in read_archive(trio, POLICY)[0]}) == 3
        load_policy_file(trio)

        def less(tables: dict[str, np.ndarray], about: dict[str, Any]) -> None:
            for name in [name for name in tables if name.startswith("2/")]:
                del tables[name]

        def other(tables: dict[str, np.ndarray], about: dict[str, Any]) -> None:
            for name in [name for name in tables if name.startswith("1/")]:
                tables[f"3/{name[2:]}"] = tables.pop(name)

        rewritten(trio, path, less)
        assert "there are weights of 2 networks: 3 are needed" in refused_policy(path)
        rewritten(trio, path, other)
        assert "unknown network '3'" in refused_policy(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a: a.pop("settings"), "'settings'"),
            (lambda a: a.pop("scenario"), "'scenario'"),
            (lambda a: a.update(settings=3), "'int' object"),
            (lambda a: a.update(settings=["algo"]), "expected a table, got ['algo']"),
            (lambda a: a.update(scenario=3), "'int' object"),
            (lambda a: a.update(scenario="no = = toml"), "line 1"),
            (
                lambda a: a["settings"].update(leyers=[3]),
                "unknown training setting 'leyers'. Did you mean 'layers'?",
            ),
            (lambda a: a["settings"].update(algo="sac"), "unknown value of algo 'sac'"),
            (lambda a: a["settings"].update(layers=[0]), "layers = (0,) is not allowed"),
            (
                lambda a: a.update(scenario="worker = 3\n" + a["scenario"]),
                "unknown scenario key 'worker'. Did you mean 'workers'?",
            ),
            (
                lambda a: a.update(scenario=a["scenario"].replace("workers = 2", "workers = 0")),
                "workers = 0 is not allowed",
            ),
        ],
    )
    def test_other_descriptions(
        self, policy: Path, path: Path, change: Callable[[dict[str, Any]], object], message: str
    ) -> None:
        rewritten(policy, path, lambda tables, about: change(about))
        assert message in refused_policy(path)

    @pytest.mark.parametrize("mode", ["central", "shared", "independent"])
    @pytest.mark.parametrize("algo", ["ppo", "dqn"])
    @pytest.mark.parametrize(
        "sizes",
        [
            {"providers": 10**9},
            {"workers": 10**9},
            {"providers": 10**9, "workers": 10**9},
            {"layers": [10**9]},
            {"layers": [10**6] * 2},
            {"layers": [1] * 5000},
        ],
        ids=str,
    )
    def test_absurd_sizes(
        self, policy: Path, path: Path, sizes: dict[str, Any], algo: str, mode: str
    ) -> None:
        own = set(sizes) & {"providers", "workers"}
        plain = Scenario("huge", "", 20, 2, 2)

        def change(tables: dict[str, np.ndarray], about: dict[str, Any]) -> None:
            about["settings"].update(algo=algo, mode=mode, algorithm={})
            about["settings"].update({k: v for k, v in sizes.items() if k not in own})
            about["scenario"] = Scenario.load(plain, {k: sizes[k] for k in own}).to_toml()

        rewritten(policy, path, change)
        why = refused_policy(path)
        if own != {"providers"} or mode == "central":
            assert "weights, and " in why or "networks" in why

    @pytest.mark.parametrize("sizes", [{"width": 10**6}, {"depth": 10**9}])
    def test_absurd_sizes_of_an_equivariant_network(
        self, equivariant: Path, path: Path, sizes: dict[str, int]
    ) -> None:
        rewritten(equivariant, path, lambda tables, about: about["settings"].update(sizes))
        assert "weights, and " in refused_policy(path)

    def test_an_equivariant_network_knows_no_size(self, equivariant: Path, path: Path) -> None:
        def change(tables: dict[str, np.ndarray], about: dict[str, Any]) -> None:
            about["scenario"] = Scenario("huge", "", 20, 10**9, 10**9).to_toml()

        rewritten(equivariant, path, change)
        scenario = Scenario.load("paper", slots=3, providers=3, workers=4)
        left, right = (play(scenario, load_policy_file(p), [3]) for p in (equivariant, path))
        np.testing.assert_array_equal(left.allocation, right.allocation)

    @pytest.mark.parametrize("act", ["sampel", "", "Greedy"])
    def test_how_to_act(self, policy: Path, act: str) -> None:
        with pytest.raises(ValueError, match=f"unknown value of act '{act}'") as caught:
            load_policy_file(policy, act)
        assert str(policy) in str(caught.value)
        assert load_policy_file(policy, "sample").settings.act == "sample"
        assert load_policy_file(policy).settings.act == "greedy"
