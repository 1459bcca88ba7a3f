/*
 * Two equal machines for lockstep_boot.c, one interpreted and one translated.
 */
#ifndef TESTS_GUEST_LOCKSTEP_BOOT_H
#define TESTS_GUEST_LOCKSTEP_BOOT_H

#include "board/board.h"
#include "engine/soft/vcpu.h"

#define LOCKSTEP_CONSOLE (1u << 20)

struct side {
	struct machine machine;
	struct cpu_model model;
	struct board *board;
	struct engine *engine;
	struct vcpu *vcpu;
	struct vcpu_lockstep pace;
	struct cpu_state state __attribute__((aligned(64)));
	char console[LOCKSTEP_CONSOLE];
	size_t written;
};

struct lockstep {
	struct side interpreted, translated;
	ns_t now_ns; /* of both machines' clocks */
	uint64_t steps;
	_Atomic bool watched; /* translated code is to be left if it runs on and on */
};

/* Boots the same on both. Returns 0, or -1 and fills `err`. */
int lockstep_create(struct lockstep *test, const char *kernel, const char *initrd,
	const char *command_line, struct error *err);

/* Appends processor and devices. */
void lockstep_save(struct side *side, struct state_buffer *buffer);

/* While it is on, the translated side is asked to stop every millisecond. */
void lockstep_watch(struct lockstep *test, bool on);

/* What the guests printed; says so if it is not the same. */
void lockstep_print_console(const struct lockstep *test, bool in_full);

#endif
