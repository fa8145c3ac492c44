"""A base image out of this machine's own CPython, its libraries and busybox: what stands in for python:slim offline."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from lukewarm.images import oci
from lukewarm.images.layers import write_layer
from lukewarm.images.layout import Layout
from lukewarm.images.tree import walk

PLACE = "opt/python"
_SKIP = {"site-packages", "test", "tests", "idlelib", "tkinter", "ensurepip", "__pycache__", "lib2to3", "turtledemo"}
# what compiled wheels expect of any Linux
_WHEELS_NEED = ("libstdc++.so.6", "libgcc_s.so.1", "libz.so.1", "librt.so.1", "libdl.so.2", "libpthread.so.0")


def make_base(store: Path) -> str:
    """Build the image into the layout at `store`; returns the name to build upon."""
    root = store / "rootfs"
    _copy_python(root)
    _copy_system(root)
    layout = Layout.create(store / "layout")
    layer = write_layer(layout, "base", walk(root, ""), "gzip")
    env = [f"PATH=/usr/local/bin:/{PLACE}/bin:/usr/bin:/bin", f"LD_LIBRARY_PATH=/{PLACE}/lib", "LANG=C.UTF-8"]
    config = {
        "architecture": "amd64", "os": "linux", "created": oci.EPOCH, "config": {"Env": env, "Cmd": ["python"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        "history": [{"created": oci.EPOCH, "created_by": "this machine's CPython"}],
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": oci.MANIFEST, "config": layout.write_json(config, oci.CONFIG).to_json(),
        "layers": [layer.blob.to_json()],
    }  # fmt: skip
    layout.set_ref("host-python", layout.write_json(manifest, oci.MANIFEST), oci.LINUX_AMD64)
    shutil.rmtree(root)
    return f"oci:{layout.root}@host-python"


def _copy_python(root: Path) -> None:
    prefix, version = Path(sys.base_prefix), f"{sys.version_info.major}.{sys.version_info.minor}"
    target = root / PLACE
    (target / "bin").mkdir(parents=True)
    shutil.copy(prefix / "bin" / f"python{version}", target / "bin")
    library = Path("lib") / f"python{version}"
    shutil.copytree(
        prefix / library, target / library, symlinks=False,
        ignore=lambda _folder, names: [n for n in names if n in _SKIP or n.startswith("config-") or n.endswith(".a")],
    )  # fmt: skip
    for shared in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy(shared, target / "lib")
    (root / "usr" / "local" / "bin").mkdir(parents=True)
    for name in ("python", "python3", f"python{version}"):
        (root / "usr" / "local" / "bin" / name).symlink_to(f"../../../{PLACE}/bin/python{version}")
    compiled = [*target.rglob("*.so"), target / "bin" / f"python{version}"]
    listed = subprocess.run(["ldd", *compiled], capture_output=True, text=True, check=False).stdout
    cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"(/\S+\.so\S*) \(0x", listed))
    needed |= {path for path in re.findall(r"x86-64.*=> (\S+)", cache) if Path(path).name in _WHEELS_NEED}
    for path in sorted(needed):
        if not path.startswith(str(prefix)):
            into = root / path.lstrip("/")
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, into)


def _copy_system(root: Path) -> None:
    (root / "bin").mkdir(exist_ok=True)
    shutil.copy("/bin/busybox", root / "bin")
    for name in ("sh", "ls", "cat", "env", "id"):
        (root / "bin" / name).symlink_to("busybox")
    for folder in ("etc", "tmp", "root", "var/tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
