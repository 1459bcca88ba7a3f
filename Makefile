# A thin front: meson and ninja build, tools/ does the work.
BUILD ?= build

all:

.PHONY: all setup tests demo check check-kvm bench bench-kvm fuzz stress lockstep acceptance clean

# make, and make demo, build what runs; the tests' packages and programs come with make check.
all: $(BUILD)/build.ninja
	ninja -C $(BUILD) atoll

$(BUILD)/build.ninja:
	tools/setup run
	meson setup $(BUILD)

tests: setup
	[ -f $(BUILD)/build.ninja ] || meson setup $(BUILD)
	meson setup --reconfigure $(BUILD) >/dev/null
	ninja -C $(BUILD)

setup:
	tools/setup

demo: all
	tools/demo

check: tests
	tools/run-checks

check-kvm: tests
	tools/check-kvm

bench: tests
	tools/bench
	tools/bench-disk
	tools/bench-io
	tools/bench-vnc

bench-kvm: tests
	tools/bench-kvm

fuzz: setup
	tools/fuzz

stress: tests
	tools/stress

# make check has the first 200 million instructions of this boot.
lockstep: tests
	ATOLL_LOCKSTEP=5000000000 /usr/bin/python3 -m pytest -q -p no:cacheprovider \
		tests/integration/test_lockstep.py

# The catalogue's Debian, whose image is made first, and the guests of tools/guests.
acceptance: tests
	ATOLL_ACCEPTANCE=1 /usr/bin/python3 -m pytest -q -p no:cacheprovider \
		tests/integration/test_debian.py tests/acceptance

clean:
	rm -rf $(BUILD)
