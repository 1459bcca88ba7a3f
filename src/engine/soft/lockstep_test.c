/*
 * The translator in lockstep with the interpreter: generated programs on two vCPUs with memories of
 * their own. Block by block, with the whole state compared where each block ends; then at a run,
 * with blocks linked to each other, compared where the program ends or faults.
 *
 * ATOLL_TEST_SEED and ATOLL_TEST_PROGRAMS override the seed and the number of programs.
 */
#include "engine/soft/block.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/native_vector.h"
#include "engine/soft/vcpu_fixture.h"
#include "engine/soft/vector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDLER      0x110000 /* of all exceptions: ends the program */
#define HANDLER_TOP  0x120000 /* its stack */
#define FRAME_SIZE   64
#define LOOPS        8
#define MAX_STEPS    250 /* blocks, or parts of them between faults */
#define RUNS         3
#define NR_PROGRAMS  10000 /* of each test */
#define MIN_BLOCKS   10    /* of a program, on average */
#define COMPARED_RAM 0x230000
#define RAM_MIB      4
#define OTHER_FLAGS  (RFLAGS_DF | RFLAGS_IF | RFLAGS_AC)
#define DATA_BASE    0x12340 /* of segments that have one */

/* What a program runs in. */
struct environment {
	enum fixture_mode mode;
	enum insn_mode insn;
	bool supervisor; /* 32-bit code at privilege 0 */
	bool segmented;  /* with bases and limits */
};

struct side {
	struct vcpu_fixture fixture;
	struct cpu_xsave xsave __attribute__((aligned(64)));
	struct cpu_segment segments[X86_NR_SEGMENTS];
	int vector;
};

static struct side interpreted, translated;
static struct lockstep_program program;
static uint64_t seed, number;
static unsigned nr_ends; /* programs that came to their end, at a run */

/* What a program starts from. */
static struct start {
	struct cpu_xsave xsave __attribute__((aligned(64)));
	uint64_t gpr[X86_NR_GPRS];
	uint64_t flags;
	uint8_t data[LOCKSTEP_DATA_SIZE];
} start;

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void make_start(struct native_random *random)
{
	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		start.gpr[i] = native_random(random) >> (native_random(random) & 63);
	start.gpr[X86_RSP] = LOCKSTEP_STACK - program.data_base;
	start.flags = native_random(random) & RFLAGS_ARITHMETIC;
	for (unsigned i = 0; i < LOCKSTEP_DATA_SIZE; i += 8) {
		uint64_t value = native_vector_value(random);

		memcpy(start.data + i, &value, 8);
	}
	native_vector_state(&start.xsave, random);
}

/* Only what has changed: a write to code takes its translations away. */
static void load(struct side *side, gpa_t at, const void *bytes, unsigned size)
{
	if (memcmp(side->fixture.ram + at, bytes, size) != 0)
		vcpu_fixture_load(&side->fixture, at, bytes, size);
}

static void load_memory(struct side *side)
{
	static const uint8_t zeros[GUEST_PAGE_SIZE];
	static const uint64_t counter[GUEST_PAGE_SIZE / 8] = { LOOPS };

	load(side, LOCKSTEP_CODE & ~UINT64_C(0xfff), zeros, LOCKSTEP_CODE & 0xfff);
	load(side, LOCKSTEP_CODE, program.code, sizeof(program.code));
	load(side, LOCKSTEP_DATA, start.data, sizeof(start.data));
	load(side, LOCKSTEP_COUNTER, counter, sizeof(counter));
	load(side, LOCKSTEP_STACK & ~UINT64_C(0xfff), zeros, sizeof(zeros));
	load(side, HANDLER_TOP - sizeof(zeros), zeros, sizeof(zeros));
	side->fixture.ram[LOCKSTEP_DATA + LOCKSTEP_DATA_SIZE] = 0x5a;
}

static void map_pages(struct vcpu_fixture *fixture, gpa_t from, uint64_t size, uint64_t flags)
{
	for (gpa_t page = from & ~UINT64_C(0xfff); page < from + size; page += GUEST_PAGE_SIZE)
		*vcpu_fixture_entry(fixture, page, 1) = page | flags;
}

/* Of RAM, only what is restored for each run: programs write to wherever they come. */
static void map_memory(struct vcpu_fixture *fixture)
{
	const uint64_t writable = PTE_P | PTE_U | PTE_W;

	for (gva_t table = 0; table < RAM_MIB << 20; table += 2 << 20)
		memset(vcpu_fixture_entry(fixture, table, 1), 0, GUEST_PAGE_SIZE);
	map_pages(fixture, FIXTURE_GDT, FIXTURE_TSS + GUEST_PAGE_SIZE - FIXTURE_GDT, PTE_P);
	map_pages(fixture, HANDLER, GUEST_PAGE_SIZE, PTE_P);
	map_pages(fixture, HANDLER_TOP - FRAME_SIZE, FRAME_SIZE, PTE_P | PTE_W);
	map_pages(fixture, LOCKSTEP_CODE, LOCKSTEP_CODE_SIZE, writable);
	map_pages(fixture, LOCKSTEP_DATA, LOCKSTEP_DATA_SIZE, writable);
	map_pages(fixture, LOCKSTEP_DATA + LOCKSTEP_DATA_SIZE, GUEST_PAGE_SIZE, PTE_P | PTE_U);
	map_pages(fixture, LOCKSTEP_COUNTER, 8, writable);
	map_pages(fixture, LOCKSTEP_STACK, 8, writable);
	mmu_flush_all(fixture->vcpu);
}

/* Every exception goes to the handler, on a stack of its own. */
static void build_handlers(struct vcpu_fixture *fixture)
{
	/* mov edx, STOP; mov [rdx], al; jmp $ */
	static const uint8_t code[] = { 0xba, 0x00, 0x00, 0x00, 0xd0, 0x88, 0x02, 0xeb, 0xfe };
	uint64_t ist1 = HANDLER_TOP;

	vcpu_fixture_load(fixture, HANDLER, code, sizeof(code));
	memcpy(fixture->ram + FIXTURE_TSS + 0x24, &ist1, 8);
	for (unsigned vector = 0; vector < 32; vector++)
		vcpu_fixture_gate(fixture, vector, FIXTURE_CS64, HANDLER, SEG_TYPE_INT, 0, 1);
}

static void reset(struct side *side)
{
	struct vcpu *vcpu = side->fixture.vcpu;

	load_memory(side);
	memcpy(vcpu->segment, side->segments, sizeof(vcpu->segment));
	memcpy(vcpu->gpr, start.gpr, sizeof(vcpu->gpr));
	vcpu->rip = LOCKSTEP_CODE;
	vcpu->segment[X86_FS].base = LOCKSTEP_FS_BASE;
	vcpu->segment[X86_GS].base = vcpu->kernel_gs_base = LOCKSTEP_GS_BASE;
	vcpu->x87_last_ip = vcpu->x87_last_dp = vcpu->x87_last_opcode = 0;
	vcpu->cr2 = 0;
	vcpu_set_rflags(vcpu, start.flags | RFLAGS_ONE);
	vcpu_update_mode(vcpu);
	vector_set(vcpu, &start.xsave);
}

/* DS has a base; others limits too, some of which programs run into. */
static void set_segments(struct vcpu *vcpu)
{
	static const uint8_t data[] = { X86_ES, X86_SS, X86_DS };

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		vcpu->segment[data[i]].base = DATA_BASE;
	vcpu->segment[X86_ES].limit = LOCKSTEP_DATA + 0x1800 - DATA_BASE;
	vcpu->segment[X86_SS].limit = (LOCKSTEP_STACK | 0xfff) - DATA_BASE;
	vcpu->segment[X86_FS].limit = LOCKSTEP_DATA + 0x1900 - LOCKSTEP_FS_BASE;
}

static void enter(struct side *side, const struct environment *environment)
{
	struct vcpu *vcpu = side->fixture.vcpu;

	vcpu_fixture_enter(&side->fixture, environment->mode);
	if (environment->supervisor)
		vcpu->segment[X86_CS].attributes =
			(vcpu->segment[X86_CS].attributes & ~SEG_L) | SEG_DB;
	if (environment->segmented)
		set_segments(vcpu);
	map_memory(&side->fixture);
	build_handlers(&side->fixture);
	memcpy(side->segments, side->fixture.vcpu->segment, sizeof(side->segments));
	reset(side);
}

static void print_insn(gva_t rip)
{
	const uint8_t *bytes = program.code + (rip - LOCKSTEP_CODE);
	ZydisMachineMode mode = program.mode == INSN_MODE_64 ? ZYDIS_MACHINE_MODE_LONG_64
							     : ZYDIS_MACHINE_MODE_LONG_COMPAT_32;
	ZydisDisassembledInstruction insn;

	if (rip - LOCKSTEP_CODE < program.length &&
		ZYAN_SUCCESS(ZydisDisassembleIntel(mode, rip, bytes, INSN_MAX_LENGTH, &insn)))
		printf("  %" PRIx64 ": %s\n", rip, insn.text);
}

static void print_block(gva_t from)
{
	const struct lockstep_insn *insn = lockstep_insn_at(&program, from);

	for (unsigned i = 0; insn && i < 12 && insn < program.insns + program.nr_insns; i++)
		print_insn(LOCKSTEP_CODE + insn++->at);
}

/* True, and says so, if the two are not the same. */
static bool differs(const char *what, uint64_t a, uint64_t b)
{
	if (a != b)
		printf("seed 0x%" PRIx64 " program %" PRIu64 ": %s is %" PRIx64
		       " interpreted, %" PRIx64 " translated\n",
			seed, number, what, a, b);
	return a != b;
}

static bool memory_differs(void)
{
	const uint8_t *a = interpreted.fixture.ram, *b = translated.fixture.ram;
	gpa_t at = LOCKSTEP_DATA;

	if (!memcmp(a + at, b + at, COMPARED_RAM - LOCKSTEP_DATA))
		return false;
	while (a[at] == b[at])
		at++;
	printf("at %" PRIx64 ": ", at);
	return differs("memory", a[at], b[at]);
}

static bool registers_differ(void)
{
	static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	const struct vcpu *a = interpreted.fixture.vcpu, *b = translated.fixture.vcpu;
	bool different = false;

	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		different |= differs(names[i], a->gpr[i], b->gpr[i]);
	different |= differs("fs", a->segment[X86_FS].base, b->segment[X86_FS].base);
	different |= differs("gs", a->segment[X86_GS].base, b->segment[X86_GS].base);
	different |= differs("the last x87 instruction", a->x87_last_ip, b->x87_last_ip);
	different |= differs("the last x87 operand", a->x87_last_dp, b->x87_last_dp);
	different |= differs("the last x87 opcode", a->x87_last_opcode, b->x87_last_opcode);
	return different;
}

static bool vectors_differ(void)
{
	vector_get(interpreted.fixture.vcpu, &interpreted.xsave);
	vector_get(translated.fixture.vcpu, &translated.xsave);
	if (native_vector_same(&interpreted.xsave, &translated.xsave))
		return false;
	printf("vector state, \"host\" interpreted, \"engine\" translated:\n");
	native_vector_print(&start.xsave, &interpreted.xsave, &translated.xsave);
	return differs("vector state", 0, 1);
}

/* `flags` are those that are defined. */
static bool states_differ(uint64_t flags)
{
	const struct vcpu *a = interpreted.fixture.vcpu, *b = translated.fixture.vcpu;
	bool different = false;

	flags |= OTHER_FLAGS;
	different |= differs("rip", a->rip, b->rip);
	different |= differs("rflags", vcpu_rflags(a) & flags, vcpu_rflags(b) & flags);
	different |= differs("cr2", a->cr2, b->cr2);
	/* Each of them reports. */
	different = registers_differ() || different;
	different = vectors_differ() || different;
	return memory_differs() || different;
}

/* Translated code may be left between any two instructions: then only flags that matter are there.
 */
static uint64_t defined_flags(gva_t rip)
{
	const struct lockstep_insn *insn = lockstep_insn_at(&program, rip);

	return insn ? insn->needed & ~insn->undefined : RFLAGS_ARITHMETIC;
}

static void step_translated(void)
{
	struct vcpu *vcpu = translated.fixture.vcpu;

	translated.vector = translate_try(vcpu, BLOCK_MAX_INSNS);
	vector_leave(vcpu);
}

/* As far as the translator has come. */
static void step_interpreted(void)
{
	struct vcpu *vcpu = interpreted.fixture.vcpu;
	unsigned insns = 0;

	do {
		interpreted.vector = interpret_try(vcpu);
	} while (interpreted.vector < 0 && ++insns < BLOCK_MAX_INSNS &&
		 (translated.vector >= 0 || vcpu->rip != translated.fixture.vcpu->rip));
	vector_leave(vcpu);
}

/* Both stand at an instruction that faults. False: it is not one of the program's. */
static bool skip_insn(void)
{
	struct vcpu *a = interpreted.fixture.vcpu, *b = translated.fixture.vcpu;
	const struct lockstep_insn *insn = lockstep_insn_at(&program, a->rip);

	if (!insn || insn + 1 == program.insns + program.nr_insns)
		return false;
	a->rip = b->rip = LOCKSTEP_CODE + insn[1].at;
	/* Flags that nothing would have looked at may be lost. */
	b->flags_low = a->flags_low;
	b->flags_of = a->flags_of;
	return true;
}

static bool step_differs(void)
{
	const struct vcpu *a = interpreted.fixture.vcpu, *b = translated.fixture.vcpu;
	gva_t from = b->rip;
	bool different = false, faulted;

	step_translated();
	step_interpreted();
	faulted = interpreted.vector >= 0;
	different |=
		differs("the exception", (unsigned)interpreted.vector, (unsigned)translated.vector);
	if (faulted)
		different |= differs("the error code", a->fault_has_error ? a->fault_error : 0,
			b->fault_has_error ? b->fault_error : 0);
	different |= states_differ(faulted ? 0 : defined_flags(a->rip));
	if (different)
		print_block(from);
	return different;
}

static bool has_stopped(void)
{
	return atomic_load(&interpreted.fixture.vcpu->requests) & REQUEST_KICK;
}

/* Returns the number of blocks. */
static unsigned run_in_steps(void)
{
	unsigned steps = 0;

	while (steps < MAX_STEPS && !has_stopped()) {
		assert_false(step_differs());
		steps++;
		if (interpreted.vector >= 0 && !skip_insn())
			break;
	}
	return steps;
}

/* What the processor pushed. */
struct frame {
	uint64_t error, rip, cs, rflags, rsp, ss;
};

static struct frame *frame(struct side *side)
{
	return (struct frame *)(side->fixture.ram + HANDLER_TOP) - 1;
}

/* From the handler back to the instruction behind the one that faulted. */
static void return_to(struct side *side, gva_t rip, uint64_t rflags)
{
	struct vcpu *vcpu = side->fixture.vcpu;

	vcpu->gpr[X86_RSP] = frame(side)->rsp;
	vcpu->gpr[X86_RDX] = 0; /* the handler's */
	vcpu->rip = rip;
	memcpy(vcpu->segment, side->segments, sizeof(vcpu->segment));
	vcpu_set_rflags(vcpu, rflags & ~RFLAGS_RF);
	vcpu_update_mode(vcpu);
}

/* False if the program has ended. */
static bool leave_handler(void)
{
	const struct lockstep_insn *insn = lockstep_insn_at(&program, frame(&interpreted)->rip);
	uint64_t rflags = frame(&interpreted)->rflags;

	if (interpreted.fixture.vcpu->rip - HANDLER >= GUEST_PAGE_SIZE || !insn ||
		insn + 1 == program.insns + program.nr_insns)
		return false;
	return_to(&interpreted, LOCKSTEP_CODE + insn[1].at, rflags);
	return_to(&translated, LOCKSTEP_CODE + insn[1].at, rflags);
	return true;
}

static bool frames_differ(void)
{
	const struct frame *a = frame(&interpreted), *b = frame(&translated);
	bool different = false;

	different |= differs("the error code", a->error, b->error);
	different |= differs("rip of the fault", a->rip, b->rip);
	different |= differs("cs of the fault", a->cs, b->cs);
	different |=
		differs("rflags of the fault", a->rflags & OTHER_FLAGS, b->rflags & OTHER_FLAGS);
	different |= differs("rsp of the fault", a->rsp, b->rsp);
	return different | differs("ss of the fault", a->ss, b->ss);
}

static void run_to_stop(struct side *side, const struct executor *executor)
{
	assert_int_equal(executor->execute(side->fixture.vcpu), VCPU_EXIT_KICKED);
	vector_leave(side->fixture.vcpu);
}

static void run_at_once(void)
{
	unsigned stops = 0;
	bool faulted, different;

	reset(&interpreted);
	reset(&translated);
	do {
		run_to_stop(&interpreted, &interpret_executor);
		run_to_stop(&translated, &translate_executor);
		faulted = interpreted.fixture.vcpu->rip - HANDLER < GUEST_PAGE_SIZE;
		nr_ends += !faulted;
		different = states_differ(faulted ? 0 : RFLAGS_ARITHMETIC);
		if ((faulted && frames_differ()) || different)
			fail_msg("at stop %u", stops);
	} while (++stops < MAX_STEPS && leave_handler());
}

static void run_programs(const struct environment *environment)
{
	uint64_t nr_programs = from_environment("ATOLL_TEST_PROGRAMS", NR_PROGRAMS);
	unsigned blocks = 0;

	nr_ends = 0;
	seed = from_environment("ATOLL_TEST_SEED", 0x41746f6c6c);
	for (number = 0; number < nr_programs; number++) {
		struct native_random random = { (seed + number) * UINT64_C(0x9e3779b97f4a7c15) |
						1 };

		program.mode = environment->insn;
		program.data_base = environment->segmented ? DATA_BASE : 0;
		lockstep_program_make(&program, &interpreted.fixture.model, &random);
		make_start(&random);
		enter(&interpreted, environment);
		enter(&translated, environment);
		blocks += run_in_steps();
		enter(&interpreted, environment);
		enter(&translated, environment);
		for (unsigned i = 0; i < RUNS; i++)
			run_at_once();
	}
	printf("%" PRIu64 " programs, %u blocks compared, %u of %" PRIu64 " runs at the end\n",
		number, blocks, nr_ends, number * RUNS);
	assert_true(blocks >= nr_programs * MIN_BLOCKS);
	assert_true(nr_ends >= number * RUNS * 9 / 10);
}

static void supervisor_programs(void **state)
{
	(void)state;
	run_programs(&(struct environment){ FIXTURE_LONG, .insn = INSN_MODE_64 });
}

static void user_programs(void **state)
{
	(void)state;
	run_programs(&(struct environment){ FIXTURE_LONG_USER, .insn = INSN_MODE_64 });
}

static void supervisor_programs_of_32_bits(void **state)
{
	(void)state;
	run_programs(
		&(struct environment){ FIXTURE_LONG, .insn = INSN_MODE_32, .supervisor = true });
}

static void user_programs_of_32_bits(void **state)
{
	(void)state;
	run_programs(&(struct environment){ FIXTURE_COMPATIBILITY_USER, .insn = INSN_MODE_32 });
}

static void segmented_programs_of_32_bits(void **state)
{
	(void)state;
	run_programs(&(struct environment){
		FIXTURE_COMPATIBILITY_USER, .insn = INSN_MODE_32, .segmented = true });
}

static int setup(void **state)
{
	struct error err = { 0 };

	(void)state;
	native_host_returns_to_any_stack();
	vcpu_fixture_create(&interpreted.fixture, RAM_MIB);
	vcpu_fixture_create(&translated.fixture, RAM_MIB);
	translated.fixture.engine.mode = SOFT_MODE_TRANSLATE;
	translated.fixture.vcpu->timer_deadline_tsc = UINT64_MAX;
	return translate_create(&translated.fixture.engine, 0, &err);
}

static int teardown(void **state)
{
	(void)state;
	translate_destroy(&translated.fixture.engine);
	vcpu_fixture_destroy(&translated.fixture);
	vcpu_fixture_destroy(&interpreted.fixture);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(supervisor_programs),
		cmocka_unit_test(user_programs),
		cmocka_unit_test(supervisor_programs_of_32_bits),
		cmocka_unit_test(user_programs_of_32_bits),
		cmocka_unit_test(segmented_programs_of_32_bits),
	};

	return cmocka_run_group_tests_name("lockstep", tests, setup, teardown);
}
