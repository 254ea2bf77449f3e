"""One server for all tests of serving."""

from collections.abc import Iterator

import pytest
from served import Site, made_index, made_service, served


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARACLIP_CACHE", str(folder / "cache"))
        with served(made_service(made_index(folder, str(folder / "index")))) as running:
            yield running
