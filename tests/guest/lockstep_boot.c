/*
 * The translator in lockstep with the interpreter, over whole guests:
 *
 *	lockstep_boot [-l] INSTRUCTIONS KERNEL [INITRD [COMMAND-LINE]]
 *
 * Two machines, each with memory, devices and one processor of its own, run the same guest on one
 * thread. Time is a function of the instructions executed, for counters, timers and clocks alike.
 * Translated code runs until it is left, which is after each block (-l: with blocks linked, for a
 * millisecond at most); then the interpreter executes as many instructions, and the registers are
 * compared, all that the processor has. Memory, devices and the whole saved state are compared
 * every MEMORY_INTERVAL instructions and at the end. Ends after INSTRUCTIONS, or with the guest.
 *
 * What is not compared: arithmetic flags that are undefined, or that the code ahead sets before it
 * reads them, neither in RFLAGS nor in the frame of an exception; with blocks linked, none.
 */
#include "lockstep_boot.h"

#include "engine/soft/interpret.h"
#include "engine/soft/isa.h"
#include "engine/soft/kvmclock.h"
#include "engine/soft/mmu.h"
#include "engine/soft/vector.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICKS_PER_INSN  8
#define MEMORY_INTERVAL 10000000
#define LOOKAHEAD       64
#define IDLE_STEPS      1000 /* without an instruction, before the guest counts as dead */

static struct lockstep test;

static uint64_t executed(const struct vcpu *vcpu)
{
	return vcpu->instructions + vcpu->translate.executed;
}

static void set_time(uint64_t tsc)
{
	uint64_t hz = test.interpreted.vcpu->cpu_model->tsc_hz;

	test.now_ns = (ns_t)((unsigned __int128)tsc * NS_PER_S / hz);
	test.interpreted.pace.host_tsc = test.translated.pace.host_tsc = tsc;
}

static void serve_timers(struct side *side)
{
	struct vcpu *vcpu = side->vcpu;

	machine_lock(&side->machine);
	clock_run(&side->machine.clock);
	machine_unlock(&side->machine);
	interpret_poll_timer(vcpu);
	if (atomic_load(&vcpu->kvmclock_stale))
		kvmclock_update(vcpu, false);
}

/* The next moment at which something happens by itself, no later than in a second. */
static uint64_t next_deadline(const struct side *side)
{
	uint64_t hz = side->vcpu->cpu_model->tsc_hz;
	uint64_t now = side->pace.host_tsc, next = now + hz;
	ns_t timer_ns = clock_next_deadline(&side->machine.clock);
	uint64_t apic = side->vcpu->timer_deadline_tsc;

	if (apic != UINT64_MAX && apic - side->vcpu->tsc_offset < next)
		next = apic - side->vcpu->tsc_offset;
	if (timer_ns != CLOCK_NEVER) {
		uint64_t timer = ns_to_ticks(timer_ns + side->machine.clock.offset_ns, hz) + 2;

		if (timer < next)
			next = timer;
	}
	return next > now ? next : now + 1;
}

/* Instructions of the mode that the vCPU is in, at an offset in its code segment. */
static bool decode(struct vcpu *vcpu, gva_t rip, struct insn *insn)
{
	gva_t address = rip + vcpu->segment[X86_CS].base;
	unsigned room = GUEST_PAGE_SIZE - address % GUEST_PAGE_SIZE;
	const uint8_t *bytes;
	gpa_t physical;

	if (!mmu_translate(vcpu, address, &physical))
		return false;
	bytes = guest_memory_host(&vcpu->machine->memory, physical, 1);
	return bytes && insn_decode(insn, bytes, room, vcpu->mode.insn, &vcpu->features) == INSN_OK;
}

/* Flags that are certain to have a new value behind the instruction. */
static uint64_t flags_set(const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);

	if (row->attributes & ISA_STRING)
		return 0;
	/* AND, OR, XOR and TEST: the processor gives AF a value. */
	if (row->flags_undefined == RFLAGS_AF)
		return row->flags_written;
	return row->flags_written & ~row->flags_undefined;
}

/* Of `unknown`, the flags that the code at `address` may look at before it sets them. */
static uint64_t needed_flags(struct vcpu *vcpu, gva_t address, uint64_t unknown, unsigned depth)
{
	uint64_t needed = 0;

	for (unsigned i = 0; i < LOOKAHEAD && unknown; i++) {
		struct insn insn;

		if (!decode(vcpu, address, &insn))
			break;
		needed |= insn_row(&insn)->flags_read & unknown;
		unknown &= ~flags_set(&insn);
		address += insn.length;
		if (!(insn_row(&insn)->attributes & ISA_BRANCH))
			continue;
		switch (insn_row(&insn)->encoding.map == ISA_MAP_1 ? insn.opcode : 0) {
		case 0xe8: /* CALL, JMP */
		case 0xe9:
		case 0xeb: address += insn.imm; continue;
		}
		if (depth == 0 || insn_row(&insn)->encoding.map == ISA_MAP_1
				? (insn.opcode & 0xf0) != 0x70
				: (insn.opcode & 0xf0) != 0x80)
			break;
		return needed | needed_flags(vcpu, address, unknown, depth - 1) |
		       needed_flags(vcpu, address + insn.imm, unknown, depth - 1);
	}
	return needed | unknown;
}

static bool differs(const char *what, uint64_t a, uint64_t b)
{
	if (a != b)
		printf("# %s is %" PRIx64 " interpreted, %" PRIx64 " translated\n", what, a, b);
	return a != b;
}

/* The guest's bytes at `address`, for a disassembler. */
static void print_bytes(gva_t address, unsigned count)
{
	struct vcpu *vcpu = test.interpreted.vcpu;

	printf("# bytes at %" PRIx64 ":", address);
	for (; count > 0; count--, address++) {
		const uint8_t *byte;
		gpa_t physical;

		if (!mmu_translate(vcpu, address, &physical))
			break;
		byte = guest_memory_host(&vcpu->machine->memory, physical, 1);
		printf(" %02x", byte ? *byte : 0);
	}
	putchar('\n');
}

/*
 * Flags that `count` instructions from `address` on leave undefined, these being a translation's:
 * conditional branches before the last one were not taken, but for those back to its start.
 */
static uint64_t undefined_flags(struct vcpu *vcpu, gva_t address, uint64_t count)
{
	uint64_t undefined = 0;
	gva_t from = address;
	struct insn insn;

	for (; count > 0 && decode(vcpu, address, &insn); count--) {
		const struct isa_row *row = insn_row(&insn);

		undefined = (undefined & ~(uint64_t)row->flags_written) | row->flags_undefined;
		address += insn.length;
		if (row->attributes & ISA_BRANCH && (insn.opcode == 0xe9 || insn.opcode == 0xeb))
			address += insn.imm;
		/* Rounds of a loop. */
		if (row->attributes & ISA_BRANCH && row->flags_read && count > 1 &&
			address + insn.imm == from)
			address = from;
	}
	return undefined;
}

/* `count` instructions were executed from `from` on. */
static bool flags_differ(gva_t from, uint64_t count)
{
	struct vcpu *a = test.interpreted.vcpu, *b = test.translated.vcpu;
	uint64_t different = vcpu_rflags(a) ^ vcpu_rflags(b);

	if (__builtin_expect(!different, 1))
		return false;
	if (different & ~RFLAGS_ARITHMETIC)
		return differs("rflags", vcpu_rflags(a), vcpu_rflags(b));
	different &= needed_flags(a, a->rip, RFLAGS_ARITHMETIC, 3);
	if (different && test.translated.pace.one_block &&
		different & ~undefined_flags(a, from, count))
		return differs("rflags", vcpu_rflags(a), vcpu_rflags(b));
	/* What does not matter is made equal, so that it is not met again. */
	b->flags_low = a->flags_low;
	b->flags_of = a->flags_of;
	return false;
}

/* System registers as vcpu.h has them, from GDTR to what no instruction of the guest's changes. */
static bool system_registers_differ(const struct vcpu *a, const struct vcpu *b)
{
	const size_t from = offsetof(struct vcpu, gdtr), to = offsetof(struct vcpu, mtrr_def_type);
	const uint8_t *x = (const uint8_t *)a + from, *y = (const uint8_t *)b + from;
	size_t at = 0;

	if (memcmp(x, y, to - from) == 0)
		return false;
	while (x[at] == y[at])
		at++;
	printf("# at offset %zu behind struct vcpu.gdtr:\n", at);
	return differs("a system register's byte", x[at], y[at]);
}

static bool vectors_differ(const struct vcpu *a, const struct vcpu *b)
{
	const struct cpu_xsave *x = &a->xsave, *y = &b->xsave;

	if (x->fcw == y->fcw && x->fsw == y->fsw && x->ftw == y->ftw && x->mxcsr == y->mxcsr &&
		memcmp(x->st, y->st, sizeof(x->st)) == 0 &&
		memcmp(x->xmm, y->xmm, sizeof(x->xmm)) == 0 &&
		memcmp(x->ymm_high, y->ymm_high, sizeof(x->ymm_high)) == 0)
		return false;
	return differs("the vector state", 0, 1);
}

static bool registers_differ(gva_t from, uint64_t count)
{
	static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	const struct vcpu *a = test.interpreted.vcpu, *b = test.translated.vcpu;
	bool different = differs("the number of instructions", executed(a), executed(b));

	different |= differs("rip", a->rip, b->rip);
	if (memcmp(a->gpr, b->gpr, sizeof(a->gpr)) != 0)
		for (unsigned i = 0; i < X86_NR_GPRS; i++)
			different |= differs(names[i], a->gpr[i], b->gpr[i]);
	for (unsigned i = 0; i < X86_NR_SEGMENTS; i++)
		if (memcmp(&a->segment[i], &b->segment[i], sizeof(a->segment[i])) != 0)
			different |= differs("a segment, by number", i, ~0u);
	different |= differs("activity", a->activity, b->activity);
	different |= differs("shutdown", a->shutdown, b->shutdown);
	different |= differs("the machine's request", test.interpreted.machine.request,
		test.translated.machine.request);
	/* Each of them reports. */
	different |= flags_differ(from, count);
	different |= system_registers_differ(a, b);
	different |= vectors_differ(a, b);
	return different;
}

static bool memory_differs(void)
{
	const struct guest_memory *memory = &test.interpreted.machine.memory;

	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const uint8_t *a = memory->regions[i].host;
		const uint8_t *b = test.translated.machine.memory.regions[i].host;
		uint64_t at = 0;

		if (memcmp(a, b, memory->regions[i].size) == 0)
			continue;
		while (a[at] == b[at])
			at++;
		printf("# at physical %" PRIx64 ":\n", ram_region_base(&memory->regions[i]) + at);
		return differs("memory", a[at], b[at]);
	}
	return false;
}

/* With the names of fields before the first byte that is not the same. */
static void print_difference(const struct state_buffer *a, const struct state_buffer *b)
{
	size_t at = 0, from;

	while (at < a->size && at < b->size && a->bytes[at] == b->bytes[at])
		at++;
	from = at > 160 ? at - 160 : 0;
	printf("# the saved states differ at byte %zu, behind \"", at);
	for (; from < at; from++)
		if (a->bytes[from] >= ' ' && a->bytes[from] < 0x7f)
			putchar(a->bytes[from]);
	printf("\"\n");
}

static bool saved_states_differ(void)
{
	struct state_buffer a = { 0 }, b = { 0 };
	bool different;

	lockstep_save(&test.interpreted, &a);
	lockstep_save(&test.translated, &b);
	different = a.size != b.size || memcmp(a.bytes, b.bytes, a.size) != 0;
	if (different)
		print_difference(&a, &b);
	state_buffer_finish(&a);
	state_buffer_finish(&b);
	return different || memory_differs();
}

/* An exception was delivered: flags that did not matter may be any in its frame. */
static void settle_frame(void)
{
	struct vcpu *a = test.interpreted.vcpu, *b = test.translated.vcpu;
	uint64_t at = a->gpr[X86_RSP] + (a->fault_has_error ? 24 : 16);
	uint64_t *x, *y;
	gpa_t physical;

	if (a->mode.insn != INSN_MODE_64 || a->shutdown || a->gpr[X86_RSP] != b->gpr[X86_RSP] ||
		!mmu_translate(a, at, &physical))
		return;
	x = guest_memory_host(&test.interpreted.machine.memory, physical, 8);
	y = guest_memory_host(&test.translated.machine.memory, physical, 8);
	if (x && y && !((*x ^ *y) & ~RFLAGS_ARITHMETIC))
		*y = *x;
}

/* Returns false if the two differ. */
static bool step(void)
{
	struct vcpu *a = test.interpreted.vcpu, *b = test.translated.vcpu;
	uint64_t before = executed(b), exceptions = b->counters.exceptions;
	uint64_t interrupts = b->counters.interrupts;
	gva_t from = b->rip;

	lockstep_watch(&test, !test.translated.pace.one_block);
	/* To the end of a repeated string instruction. */
	do
		translate_executor.execute(b);
	while (b->flags_system & RFLAGS_RF);
	lockstep_watch(&test, false);
	vector_leave(b);
	exceptions = b->counters.exceptions - exceptions;
	/* The host's millisecond was over before it began: the interpreter would take an interrupt.
	 */
	if (!test.translated.pace.one_block && executed(b) == before && !exceptions &&
		b->counters.interrupts == interrupts && b->activity == a->activity)
		return true;
	interpret_for(a, executed(b) - before, exceptions);
	vector_leave(a);
	if (exceptions && !differs("exceptions", a->counters.exceptions, b->counters.exceptions))
		settle_frame();
	if (!registers_differ(from, executed(b) - before))
		return true;
	printf("# after %" PRIu64 " instructions from %" PRIx64 " on to %" PRIx64 ", %" PRIu64
	       " in all\n",
		executed(b) - before, from, b->rip, executed(b));
	print_bytes(from, 64);
	print_bytes(a->rip, 64);
	return false;
}

static bool has_ended(void)
{
	return test.translated.vcpu->shutdown ||
	       test.translated.machine.request != MACHINE_REQUEST_NONE;
}

/* Returns false if they differ, or the guest sleeps for ever. */
static bool run(uint64_t limit)
{
	struct vcpu *b = test.translated.vcpu;
	uint64_t next_memory = MEMORY_INTERVAL, tsc = 0;
	unsigned idle = 0;

	while (executed(b) < limit && !has_ended() && idle < IDLE_STEPS) {
		uint64_t before = executed(b);

		if (!step())
			return false;
		test.steps++;
		if (executed(b) == before && b->activity != CPU_RUNNING) {
			tsc = next_deadline(&test.translated);
			idle++;
		} else {
			tsc += (executed(b) - before) * TICKS_PER_INSN;
			idle = 0;
		}
		set_time(tsc);
		serve_timers(&test.interpreted);
		serve_timers(&test.translated);
		if (executed(b) < next_memory)
			continue;
		next_memory += MEMORY_INTERVAL;
		if (saved_states_differ())
			return false;
	}
	return !saved_states_differ();
}

int main(int argc, char **argv)
{
	struct error err = { 0 };
	bool linked = argc > 1 && strcmp(argv[1], "-l") == 0;
	uint64_t limit;
	bool same;

	argv += linked;
	argc -= linked;
	if (argc < 3) {
		fprintf(stderr, "usage: lockstep_boot [-l] INSTRUCTIONS KERNEL [INITRD "
				"[COMMAND-LINE]]\n");
		return EXIT_CODE_USAGE;
	}
	limit = strtoull(argv[1], NULL, 0);
	if (lockstep_create(
		    &test, argv[2], argc > 3 ? argv[3] : NULL, argc > 4 ? argv[4] : "", &err)) {
		printf("1..0 # SKIP %s\n", err.text);
		return 77;
	}
	test.translated.pace.one_block = !linked;
	set_time(0);
	same = run(limit);
	printf("# %" PRIu64 " instructions, %" PRIu64 " of them translated, %" PRIu64
	       " comparisons, %.1f s of guest time\n",
		executed(test.translated.vcpu), test.translated.vcpu->translate.executed,
		test.steps, (double)test.now_ns / NS_PER_S);
	lockstep_print_console(&test, !same || limit < 1000);
	printf("%sok 1 - the same state at each comparison\n1..1\n", same ? "" : "not ");
	fflush(stdout);
	_Exit(!same);
}
