# walrec: one command for everything. `make help` lists them.
#
# Cargo's target directory is fixed here, because the C programs link against what lies in it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

CARGO ?= cargo
CXX ?= g++
# make's own default is cc
ifeq ($(origin CC),default)
CC := gcc
endif
CXXFLAGS ?= -O2 -std=c++17 -Wall -Wextra -pedantic
CFLAGS ?= -O2 -std=c11 -Wall -Wextra -pedantic

TARGET := target
RELEASE := $(TARGET)/release
EXAMPLES := $(TARGET)/examples-c
LINK := -Iinclude -L$(RELEASE) -lwalrec -Wl,-rpath,'$$ORIGIN/../release' -pthread

export CARGO_TARGET_DIR := $(CURDIR)/$(TARGET)

N ?= 1000
STATES ?= 1000000
EVENTS ?= 50000000
MB ?= 2000
FOLLOW_SECONDS ?= 60
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR ?=
STRIP ?= strip
ROUNDS ?= 5
RUNS ?= 10000000
FLIPS ?= 100000
FUZZ := $(TARGET)/tools/bin/cargo-fuzz
# The slowest first: they run beside one another
FUZZ_TARGETS ?= frozen small_files directory segment
DISK_ROUNDS ?= 200
SEED ?=
MESSAGES ?=
PREEMPTIONS ?= 3
PEERS ?=
QUICK ?=
PEER_ROUNDS ?=
AERON ?= 1
EXPORT ?=
BASE ?=

.PHONY: help run install tools test check header bench bench-telemetry kill9 power bounded reading library examples-c compilers clean bench-cold sites faults races power-disk fuzz disks bench-report bench-peers check-peers cli commands

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

library: ## build target/release/libwalrec.so, with its SONAME beside it
	$(CARGO) build --release --locked
	ln -sfn libwalrec.so $(RELEASE)/libwalrec.so.0

.PHONY: new-user
new-user: ## README's steps in a clean Debian root, from the packages to running programs (root, debootstrap)
	@tests/new_user.sh $(TARGET)/new-user

cli: ## build the command, target/cli/release/walrec (apart: the library is built without its feature; EXPORT=1: with export)
	CARGO_TARGET_DIR=$(CURDIR)/$(TARGET)/cli $(CARGO) build --release --locked --features $(if $(EXPORT),export,cli) --bin walrec

commands: ## run every command of docs/COMMANDS.md and write down what it prints
	WALREC_COMMANDS=write $(CARGO) test --locked --features export --test cli -- --nocapture page::

compilers:
	@command -v $(CXX) >/dev/null || { echo "make: no C++ compiler: $(CXX) is not there; install one, or set CXX=" >&2; exit 1; }
	@command -v $(CC) >/dev/null || { echo "make: no C compiler: $(CC) is not there; install one, or set CC=" >&2; exit 1; }

examples-c: compilers library ## build the C and C++ examples into target/examples-c
	@mkdir -p $(EXAMPLES)
	$(CC) $(CFLAGS) examples-c/minimal.c -o $(EXAMPLES)/minimal $(LINK)
	for name in itch_gen engine run_day; do \
	  echo "$(CXX) examples-c/$$name.cpp"; \
	  $(CXX) $(CXXFLAGS) examples-c/$$name.cpp -o $(EXAMPLES)/$$name $(LINK); \
	done

run: examples-c ## a day of an engine: record, kill -9, recover, replay, compare (MESSAGES= SEED=)
	@mkdir -p $(TARGET)/run
	$(EXAMPLES)/run_day --engine $(EXAMPLES)/engine --itch-gen $(EXAMPLES)/itch_gen --work $(TARGET)/run \
	  $(if $(MESSAGES),--messages $(MESSAGES)) $(if $(SEED),--seed $(SEED))

tools: ## install what the tests need and this machine lacks (apt-get, as root)
	@tests/install_tools.sh

test: tools ## check, then every test (campaigns in their short, seeded form)
	@echo "make test: format, lints, documents, header, symbols, architecture; then all tests of core and C face,"
	@echo "           and the kill -9 and power-cut campaigns in their short form. Figures and seeds are printed."
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory library
	$(CARGO) test --locked -- --nocapture
	$(CARGO) test --locked --features export --bin walrec --test cli -- --nocapture

check: ## format, clippy, documents, header drift, symbols, architecture
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy --locked --features cli --lib --bin walrec -- -D warnings
	$(CARGO) clippy --locked --features export --lib --bin walrec --test cli -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	$(CARGO) test --locked --test header --test symbols --test architecture

header: ## write include/walrec.h anew from src/ffi
	$(CARGO) run --locked --example generate_header

kill9: ## N=1000: kill a recorder at random moments that many times (SEED=)
	WALREC_KILL9_CYCLES=$(N) $(if $(SEED),WALREC_SEED=$(SEED)) $(CARGO) test --locked --test kill9 -- --nocapture

power: ## STATES=1000000: that many simulated power cuts (SEED=)
	WALREC_POWER_STATES=$(STATES) $(if $(SEED),WALREC_SEED=$(SEED)) $(CARGO) test --locked --test power_cut -- --nocapture

reading: ## MB=2000 FOLLOW_SECONDS=60: memory of reading a log that large; a follower in another process that long
	WALREC_READ_MB=$(MB) WALREC_FOLLOW_SECONDS=$(FOLLOW_SECONDS) $(CARGO) test --locked --test reading -- --nocapture

bounded: ## EVENTS=50000000: that many through a log of 8 hot and 16 cold segments, freezing and not in turns (ROUNDS=5)
	WALREC_TEST_EVENTS=$(EVENTS) WALREC_TEST_ROUNDS=$(ROUNDS) $(CARGO) test --locked --test bounded -- --nocapture

sites: ## a recorder killed at every call that changes something, before and after it, while recovering too (SEED=)
	WALREC_SITES=all $(if $(SEED),WALREC_SEED=$(SEED)) $(CARGO) test --locked --test sites -- --nocapture killed traced controls

faults: ## every error at every call, once and for ever; a sync error that a real file system reports once (SEED=)
	WALREC_FAULTS=all $(if $(SEED),WALREC_SEED=$(SEED)) $(CARGO) test --locked --test sites -- --nocapture errors reported poison controls

races: tools ## leaks and races: models, Miri, TSan, ASan, UBSan, valgrind (PREEMPTIONS=3)
	WALREC_RACES=1 WALREC_MODEL_PREEMPTIONS=$(PREEMPTIONS) $(CARGO) test --locked --test races -- --nocapture --test-threads 1

power-disk: STATES = 10000
power-disk: tools ## FS=ext4|xfs|btrfs|all STATES=10000: power cuts on real file systems, and file systems that go down (SEED=)
	WALREC_POWER_DISK_FS=$(or $(FS),all) WALREC_POWER_DISK_STATES=$(STATES) WALREC_POWER_DISK_SHUTDOWNS=60 \
	  $(if $(SEED),WALREC_SEED=$(SEED)) $(CARGO) test --locked --test power_disk -- --nocapture --test-threads 1

fuzz: ## RUNS=10000000 (or SECONDS=) inputs by libFuzzer for each of FUZZ_TARGETS (SEED=); before that FLIPS=100000 bits, and every cut
	WALREC_FLIPS=$(FLIPS) WALREC_CUT_STRIDE=1 $(CARGO) test --locked --test hostile bits -- --nocapture
	@if ! $(CARGO) +nightly --version >/dev/null 2>&1; then \
	  echo "make fuzz: libFuzzer DID NOT RUN: it needs a nightly toolchain (rustup toolchain install nightly)" >&2; exit 0; fi; \
	test -x $(FUZZ) || $(CARGO) install cargo-fuzz --locked --root $(TARGET)/tools --target-dir $(TARGET)/tools/build; \
	export PATH="$(CURDIR)/$(TARGET)/tools/bin:$$PATH"; \
	CARGO_TARGET_DIR=$(CURDIR)/$(TARGET)/fuzz RUSTC_WRAPPER=$(CURDIR)/fuzz/rustc.sh $(CARGO) +nightly fuzz build --fuzz-dir fuzz \
	  --sanitizer none --no-trace-compares; \
	printf '%s\n' $(FUZZ_TARGETS) | xargs -P "$$(nproc)" -I TARGET fuzz/campaign.sh $(TARGET)/fuzz TARGET \
	  $(if $(SECONDS),-max_total_time=$(SECONDS),-runs=$(RUNS)) $(if $(SEED),-seed=$(SEED))

disks: tools library ## DISK_ROUNDS=200: full disks, hung disks, frozen flusher, at length, on ext4, xfs, btrfs and tmpfs (root, SEED=)
	WALREC_DISK_ROUNDS=$(DISK_ROUNDS) $(if $(SEED),WALREC_SEED=$(SEED)) $(CARGO) test --locked --test disks -- --nocapture

bench: compilers library ## what an append costs, with its targets (QUICK=1: short; the table also as target/bench/append.json)
	@mkdir -p $(TARGET)/benches-c $(TARGET)/bench
	$(CC) $(CFLAGS) -D_GNU_SOURCE benches/append.c benches/append/*.c -o $(TARGET)/benches-c/append $(LINK)
	$(TARGET)/benches-c/append $(if $(QUICK),--quick) --json $(TARGET)/bench/append.json $(TARGET)

bench-sync: compilers ## ways to make a write durable, side by side, in this directory: pwrite + fdatasync, RWF_DSYNC, io_uring
	@mkdir -p $(TARGET)/benches-c
	$(CC) $(CFLAGS) -D_GNU_SOURCE benches/sync_paths.c -o $(TARGET)/benches-c/sync_paths
	$(TARGET)/benches-c/sync_paths $(TARGET) 1000

bench-report: ## what the benchmarks measured (target/bench/*.json), as sections of docs/PERFORMANCE.md and plots in docs/plots
	@command -v python3 >/dev/null || { echo "make: bench-report needs python3 (nothing but its standard library)" >&2; exit 1; }
	python3 benches/report.py

bench-insn: tools compilers library ## instructions of the hot and cold paths, by callgrind, beside the record (RECORD=1 writes it)
	@mkdir -p $(TARGET)/benches-c
	$(CC) $(CFLAGS) -D_GNU_SOURCE benches/instructions.c benches/append/measure.c -o $(TARGET)/benches-c/instructions $(LINK)
	$(CARGO) build --release --locked --example instructions
	CC=$(CC) benches/instructions.sh $(TARGET)/benches-c/instructions $(RELEASE)/examples/instructions $(TARGET)/bench/insn $(if $(RECORD),record)

.PHONY: bench-growth bench-insn bench-report bench-sync deb conan abi-diff docs-c
bench-growth: compilers library ## costs over the number of segments, events, blocks, recorders (FULL=1: to the top sizes, 7 GB of stage; QUICK=1)
	@mkdir -p $(TARGET)/benches-c $(TARGET)/bench
	$(CC) $(CFLAGS) -D_GNU_SOURCE benches/growth.c benches/append/measure.c -o $(TARGET)/benches-c/growth $(LINK) -lm
	$(TARGET)/benches-c/growth $(if $(QUICK),--quick) $(if $(FULL),--full) --json $(TARGET)/bench/growth.json $(TARGET)

bench-telemetry: compilers library ## what telemetry costs an append and a replay: two builds of the library, in turns
	@mkdir -p $(TARGET)/benches-c
	CARGO_TARGET_DIR=$(CURDIR)/$(TARGET)/without-telemetry $(CARGO) build --release --locked --lib --no-default-features
	for name in telemetry reader_telemetry; do \
	  $(CC) $(CFLAGS) -D_GNU_SOURCE benches/$$name.c -o $(TARGET)/benches-c/$$name -ldl -pthread -Iinclude; \
	  $(TARGET)/benches-c/$$name $(RELEASE)/libwalrec.so $(TARGET)/without-telemetry/release/libwalrec.so $(TARGET); \
	done

bench-cold: examples-c ## freezing, scan, verify, replay, opens: records a generated day first (MESSAGES= SEED=)
	@mkdir -p $(TARGET)/cold
	@rm -rf $(TARGET)/cold/day.log
	$(EXAMPLES)/itch_gen --messages $(or $(MESSAGES),2000000) --seed $(or $(SEED),7) $(TARGET)/cold/day.itch
	$(EXAMPLES)/engine --log $(TARGET)/cold/day.log --itch $(TARGET)/cold/day.itch --keep-hot >$(TARGET)/cold/engine.txt
	WALREC_COLD_ITCH=$(CURDIR)/$(TARGET)/cold/day.log $(CARGO) bench --locked --bench cold

install: library ## PREFIX=/usr/local DESTDIR= LIBDIR= INCLUDEDIR= STRIP=: headers, libraries, manual, pkg-config and CMake files, and the command if it was built (make cli)
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" INCLUDEDIR="$(INCLUDEDIR)" DESTDIR="$(DESTDIR)" STRIP="$(STRIP)" RELEASE="$(RELEASE)" \
	  COMMAND="$(TARGET)/cli/release/walrec" packaging/install.sh

bench-peers: compilers library ## other logs beside walrec: accepted, durable, and after kill -9 (PEERS=walrec,LMDB QUICK=1 PEER_ROUNDS=5 AERON=0)
	@AERON=$(AERON) benches/peers/install.sh $(TARGET)/tools
	@export PATH="$(CURDIR)/$(TARGET)/tools/cmake/bin:$$PATH" RUSTFLAGS="$${RUSTFLAGS-}" WALREC_LIBRARY_DIR=$(CURDIR)/$(RELEASE); \
	build="nice -n 10 $(CARGO) build --release --locked --manifest-path benches/peers/Cargo.toml --target-dir $(TARGET)/peers"; \
	if [[ "$(AERON)" == 0 ]]; then $$build; else $$build --features aeron || { \
	  echo "make bench-peers: Aeron could not be built, see above; going on without" >&2; $$build; }; fi
	@mkdir -p $(TARGET)/bench
	PEERS="$(PEERS)" QUICK=$(QUICK) ROUNDS=$(PEER_ROUNDS) $(TARGET)/peers/release/walrec-peers $(TARGET)/bench $(TARGET)/bench/peers.json

check-peers: ## that bench-peers still compiles: walrec, the baselines and the measuring itself, without the other peers
	$(CARGO) fmt --check --manifest-path benches/peers/Cargo.toml
	$(CARGO) clippy --locked --manifest-path benches/peers/Cargo.toml --target-dir $(TARGET)/peers --no-default-features -- -D warnings

deb: library ## Debian packages libwalrec0 and libwalrec-dev, in target/deb
	@RELEASE="$(RELEASE)" OUT="$(TARGET)/deb" packaging/deb.sh

docs-c: tools ## the headers as pages, by doxygen, in target/docs-c
	@mkdir -p $(TARGET)/docs-c
	doxygen docs/Doxyfile

abi-diff: tools ## BASE=v0.1.0: the library's interface against that tag's (without: the newest tag's, if there is one), by abidiff
	WALREC_ABI_BASE=$(BASE) $(CARGO) test --locked --test abi_diff -- --nocapture

conan: ## a Conan package, created as it would be shipped, and tested; Conan itself comes from PyPI into target/tools
	WALREC_CONAN=1 $(CARGO) test --locked --test conan -- --nocapture

clean: ## remove target/
	$(CARGO) clean
