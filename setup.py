"""The optional compiled training step; all else about the package is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("linefit/fused/src")

setup(
    ext_modules=[
        Extension(
            "linefit.fused._step",
            sources=[
                str(SOURCES / name)
                for name in ("library.cpp", "tables.cpp", "generic.cpp", "avx2.cpp", "avx512.cpp")
            ],
            depends=[str(path) for path in sorted(SOURCES.glob("*.h"))],
            language="c++",
            # Nothing here lets the compiler assume that values are finite: a run may diverge.
            extra_compile_args=[
                "-std=c++17",
                "-O3",
                "-fwrapv",  # GCC 12 spills the sums of products to the stack without it
                "-g0",
                "-fno-math-errno",
                "-fvisibility=hidden",
            ],
            optional=True,  # without a compiler nets train by the kernels in linefit/deltamap
        )
    ]
)
