"""Build of the compiled kernel; everything else stands in pyproject.toml.

FIELDWATCH_DEBUG=1 turns bounds checks and assertions on; FIELDWATCH_SANITIZE=1 adds ASan and UBSan;
FIELDWATCH_FUZZ=1 adds both and tells libFuzzer which way the code goes (CC=clang, and the runtime is preloaded).
The generated C goes to build/, never beside the source.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOTS = {root: f"fieldwatch_{root}" for root in ("ext", "proto", "agent", "collector")}
DEBUG = os.environ.get("FIELDWATCH_DEBUG") == "1"
SANITIZE = os.environ.get("FIELDWATCH_SANITIZE") == "1"
FUZZ = os.environ.get("FIELDWATCH_FUZZ") == "1"

compile_args = ["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function"]
link_args: list[str] = []
compile_args += ["-O1", "-g"] if DEBUG or SANITIZE or FUZZ else ["-O2"]
if SANITIZE:
    compile_args += ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    link_args += ["-fsanitize=address,undefined"]
if FUZZ:
    compile_args += ["-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=undefined"]


def packages() -> dict[str, str]:
    """Every package of the four import roots: dotted name -> folder."""
    found = {}
    for root, top in ROOTS.items():
        for init in Path(root, top).rglob("__init__.py"):
            folder = init.parent
            found[".".join(folder.relative_to(root).parts)] = str(folder)
    return found


extensions = [
    Extension(
        ".".join(source.relative_to("ext").with_suffix("").parts),
        [str(source)],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for source in sorted(Path("ext/fieldwatch_ext").glob("*.pyx"))
]

setup(
    packages=sorted(packages()),
    package_dir={top: f"{root}/{top}" for root, top in ROOTS.items()},
    package_data={
        "fieldwatch_ext": ["*.pxd", "*.pxi", "*.pyi", "py.typed"],
        "fieldwatch_proto": ["**/*.bin", "**/*.pyi", "**/*.proto", "py.typed"],
        "fieldwatch_agent": ["py.typed"],
        "fieldwatch_collector": ["**/*.sql", "web/**/*", "py.typed"],
    },
    ext_modules=cythonize(
        extensions,
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "embedsignature": False,
        },
    ),
)
