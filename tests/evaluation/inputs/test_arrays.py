"""Arrays from untrusted files."""

import contextlib
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mangled import mangled
from paraclip import arrays as stored
from paraclip.arrays import read_arrays

KINDS = (np.float64, np.float16, np.int64, np.bool_, np.uint8)


@given(
    st.dictionaries(
        st.text(st.sampled_from("ab/. é日"), min_size=1, max_size=4),
        st.sampled_from(KINDS).flatmap(lambda kind: arrays(kind, array_shapes(max_side=3))),
        max_size=3,
    ),
    st.booleans(),
)
def test_arrays_come_back_as_they_were(content: dict[str, np.ndarray], small: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        (np.savez_compressed if small else np.savez)(path, **content)
        found = read_arrays(path)
    assert set(found) == set(content)
    for name, values in content.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_the_unpacked_size_is_limited_in_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, one=np.zeros(1000), two=np.zeros(1000))
    assert path.stat().st_size < 1000
    monkeypatch.setattr(stored, "LARGEST", 2 * 8128)
    assert set(read_arrays(path)) == {"one", "two"}
    monkeypatch.setattr(stored, "LARGEST", 2 * 8128 - 1)
    with pytest.raises(ValueError, match="it unpacks to more than 2 GiB"):
        read_arrays(path)


@given(data=st.data())
def test_a_mangled_file_is_a_value_error_or_nothing(data: st.DataObject) -> None:
    np.savez_compressed(packed := io.BytesIO(), one=np.arange(4.0))
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ValueError):
        path = Path(folder, "a.npz")
        path.write_bytes(data.draw(mangled(packed.getvalue())))
        read_arrays(path)


def test_a_member_that_is_no_array_is_damage(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("bench/tuned/AO@10", b"text")
    with pytest.raises(ValueError, match="its member bench/tuned/AO@10 is not an array"):
        read_arrays(tmp_path / "a.npz")
