"""Builds and runs the programs of tests/install with the package: C and C++, linked with the shared and the static library."""

import os

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain


class WalrecTest(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "VirtualRunEnv"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        # Nothing is built inside of the source tree.
        self.folders.root = os.path.join(os.pardir, os.pardir, os.pardir)
        self.folders.source = "tests/install"
        self.folders.build = "target/conan/test_package"
        self.folders.generators = "target/conan/test_package/generators"

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.user_presets_path = False
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def test(self):
        for program in ("walrec_c", "walrec_cpp", "walrec_static_c", "walrec_static_cpp"):
            logs = os.path.join(self.build_folder, "logs", program)
            os.makedirs(logs, exist_ok=True)
            self.run(f'"{self.build_folder}/{program}" "{logs}"', env="conanrun")
