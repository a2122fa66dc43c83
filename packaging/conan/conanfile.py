"""Builds the library with cargo from the tree around this file, and packages what `make install` installs.

    conan create packaging/conan

A program that requires it finds the CMake package of `make install` itself, so that the targets, walrec::walrec and
walrec::walrec_static, are the same wherever the library came from. The generator CMakeToolchain is enough for that. The
generators that do not read CMake packages, PkgConfigDeps among them, are told of the shared library.
"""

import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.files import copy, load, rmdir

required_conan_version = ">=2.0"


class Walrec(ConanFile):
    name = "walrec"
    description = "A write-ahead-log recorder for matching engines"
    license = "MIT OR Apache-2.0"
    topics = ("wal", "log", "durability", "recovery")
    settings = "os", "arch", "compiler", "build_type"
    package_type = "shared-library"

    @property
    def _tree(self):
        return os.path.join(self.recipe_folder, os.pardir, os.pardir)

    def set_version(self):
        self.version = re.search(r'^version = "(.*)"$', load(self, os.path.join(self._tree, "Cargo.toml")), re.M).group(1)

    def export_sources(self):
        # Cargo wants to see the targets that Cargo.toml names, also where it builds the library alone.
        for pattern in (".cargo/config.toml", "Cargo.toml", "Cargo.lock", "build.rs", "LICENSE-*", "THIRD-PARTY-NOTICES", "src/*", "include/*",
                        "packaging/*", "docs/man/*", "benches/cold.rs", "tests/cli/main.rs"):
            copy(self, pattern, self._tree, self.export_sources_folder)

    def validate(self):
        if self.settings.os != "Linux" or self.settings.arch not in ("x86_64", "armv8"):
            raise ConanInvalidConfiguration("walrec is for 64-bit little-endian Linux")

    def package_id(self):
        # The interface is C's, and cargo builds the same for each of these.
        del self.info.settings.compiler
        del self.info.settings.build_type

    def build(self):
        self.run(f'cargo build --release --locked --lib --target-dir "{self.build_folder}/target"', cwd=self.source_folder)

    def package(self):
        settings = {
            "PREFIX": self.package_folder,
            "LIBDIR": f"{self.package_folder}/lib",
            "INCLUDEDIR": f"{self.package_folder}/include",
            "RELEASE": f"{self.build_folder}/target/release",
        }
        words = " ".join(f'{name}="{value}"' for name, value in settings.items())
        self.run(f"{words} packaging/install.sh", cwd=self.source_folder)
        # It tells absolute paths, and a package moves; PkgConfigDeps makes another.
        rmdir(self, f"{self.package_folder}/lib/pkgconfig")
        for pattern in ("LICENSE-*", "THIRD-PARTY-NOTICES"):
            copy(self, pattern, self.source_folder, f"{self.package_folder}/licenses")

    def package_info(self):
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["lib/cmake/walrec"]
        self.cpp_info.libs = ["walrec"]
