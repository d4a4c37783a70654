# make            optimised programs in build/bin
# make demo       installs what is missing, builds, and shows the main job on real input, without a network
# make test       builds and runs the tests (unit, lint, fuzz corpora, root, interop)
# make test-v2    the suites for pure cgroup v2 and systemd, in a User-Mode Linux machine (part of make test; RIG_TIMEOUT=600 seconds)
# make sanitize   the same under ASan and UBSan, and the threaded programs' unit tests under TSan
# make bench      benchmarks against the floor and the peers (prints a table)
# make fault      kills tare at every named point and at random instants (FAULT_INSTANTS of each operation), and counts them
# make fuzz       long fuzzing, FUZZ_SECONDS for each target (default 60); needs clang
# make critest    Kubernetes' conformance suite against tared; needs Go
# make install    DESTDIR= PREFIX=/usr/local
BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
PYTEST = /usr/bin/python3 -m pytest

.PHONY: all deps demo test test-v2 unit root interop lint sanitize bench fault fuzz critest install clean

all: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j$(JOBS)

# Does nothing, at once, when every package is there.
deps:
	@scripts/install-deps build

$(BUILD)/build.ninja: | deps
	@meson setup $(BUILD) --prefix=$(PREFIX) >/dev/null && echo "configured $(BUILD)"

demo: all
	@scripts/install-deps demo
	@scripts/demo $(BUILD)

test:
	@scripts/install-deps test
	@$(MAKE) --no-print-directory all
	@scripts/test $(BUILD)

test-v2: all
	@scripts/install-deps rig
	@tests/rig/suite $(BUILD)

unit: all
	@meson test -C $(BUILD) --suite unit --suite fuzz --print-errorlogs

root interop: all
	@scripts/install-deps test
	@cd tests && TARE_BIN=$(abspath $(BUILD))/bin $(PYTEST) $(if $(filter root,$@),run,interop)

lint:
	@/usr/bin/python3 tests/lint/rooms.py && /usr/bin/python3 tests/lint/banned.py

sanitize:
	@scripts/install-deps test
	@scripts/sanitize

bench: all
	@scripts/install-deps test
	@bench/run $(BUILD)

fault:
	@scripts/install-deps test
	@scripts/fault

fuzz:
	@scripts/install-deps fuzz
	@scripts/fuzz

critest: all
	@scripts/install-deps test
	@tests/critest/run $(BUILD)

install: all
	@meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(DESTDIR))

clean:
	rm -rf build build-*
