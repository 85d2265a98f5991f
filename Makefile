# The front door. Meson does the building; this names what people do.
# A fresh Debian 12 machine, as root, needs `make demo` or `make test` and nothing else.

BUILD ?= build
export DROVER_BUILD := $(abspath $(BUILD))

.PHONY: help packages build guest demo test check-style lab soak fault-matrix chaos bench bench-quick bench-docs fuzz install clean

help:
	@echo "make demo         install what is needed, build, move a real guest around a lab, show the result"
	@echo "make test         the whole test suite: style, unit, simulator, platform, real guests in a lab"
	@echo "make build        build into $(BUILD)/"
	@echo "make lab          bring up a lab of three hosts to play with (drover lab down ends it)"
	@echo "make soak         200 moves in a row under load; the result goes to docs/benchmarks/"
	@echo "make fault-matrix every fault in every phase of a move, in LABS labs at once; make test has a selection"
	@echo "make chaos        1,000 random faults, about an hour; the result goes to docs/benchmarks/"
	@echo "make bench        Drover beside every mode of QEMU's own migration, same guest, same run"
	@echo "make bench-quick  the same with fewer rows and runs, in less than 5 minutes"
	@echo "make bench-docs   docs/benchmarks/ from the last report of make bench"
	@echo "make fuzz         all that reads foreign bytes under libFuzzer, for FUZZ_SECONDS (60) each"
	@echo "make check-style  formatting, includes, sizes and clang-tidy only"
	@echo "make install      install into PREFIX (default /usr/local)"
	@echo "make clean        remove $(BUILD)/"

packages:
	@tools/install-packages

$(BUILD)/build.ninja: | packages
	@meson setup $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

build: packages $(BUILD)/build.ninja
	@ninja -C $(BUILD) >$(BUILD)/build.log 2>&1 || { cat $(BUILD)/build.log; exit 1; }

guest: packages
	@guest/build-guest $(BUILD)/guest

demo: build guest
	@/usr/bin/python3 -B demo/demo.py

test: build guest
	@/usr/bin/python3 -B tools/run-tests

check-style: build
	@tools/check-style

lab: build guest
	@$(BUILD)/src/cli/drover lab up --hosts 3
	@echo "Next: $(BUILD)/src/cli/drover lab status; docs/user-guide.md goes on from here."

soak: build guest
	@/usr/bin/python3 -B demo/soak.py $(SOAK)

fault-matrix: build guest
	@/usr/bin/python3 -B -m pytest -q -rs -p no:cacheprovider -n $(or $(LABS),$(shell nproc)) --whole-matrix \
		tests/system/test_fault_matrix.py $(MATRIX)

chaos: build guest
	@/usr/bin/python3 -B tests/chaos/chaos.py $(CHAOS)

bench: build guest
	@/usr/bin/python3 -B bench/bench.py $(BENCH)

bench-quick: build guest
	@/usr/bin/python3 -B bench/bench.py --quick $(BENCH)

bench-docs:
	@/usr/bin/python3 -B bench/bench.py --write-docs

fuzz: packages
	@tests/fuzz/run $(or $(FUZZ_SECONDS),60)

install: build
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz
