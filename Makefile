# A thin front: meson and ninja build, tools/ does the work.
BUILD ?= build

.PHONY: all setup demo check check-kvm bench fuzz stress clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja: | setup
	meson setup $(BUILD)

setup:
	tools/setup

demo: all
	tools/demo

check: all
	tools/run-checks

check-kvm: all
	tools/check-kvm

bench: all
	tools/bench

fuzz: setup
	tools/fuzz

stress: all
	tools/stress

clean:
	rm -rf $(BUILD)
