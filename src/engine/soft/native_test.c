/*
 * Compares the software engine with the host's processor, instruction by instruction: see native.h.
 *
 * ATOLL_TEST_SEED and ATOLL_TEST_CASES override the seed and the number of cases of each test,
 * ATOLL_TEST_ROWS takes only rows whose mnemonic begins so.
 */
#include "engine/soft/native.h"
#include "engine/soft/native_vector.h"
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
#include <sys/mman.h>
#include <sys/wait.h>

#define MAX_REPORTS 20

/* With so many cases each, every row should complete at least once. */
#define CASES_FOR_COVERAGE 500

static struct native_batch *batch;
static uint64_t base_seed = 0x41746f6c6c;
static unsigned reports;
static bool translated;

static const char *const gpr_names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/* What of a result is defined, and comparable between the two. */

/* Where Linux's part of the address space begins for a process. */
#define TASK_SIZE_MAX UINT64_C(0x7ffffffff000)

/* A process sees a fault on a kernel address as if the page were present
 * (arch/x86/mm/fault.c). */
static uint32_t error_mask(const struct native_result *host)
{
	if (host->vector == X86_PF && host->cr2 >= TASK_SIZE_MAX)
		return ~(uint32_t)PF_PRESENT;
	return UINT32_MAX;
}

/* A fault in a repeated comparison restores the flags on Intel's processors (SDM 2, REP), not on
 * AMD's. */
static uint64_t flags_mask(const struct native_case *c, const struct native_result *host)
{
	const struct isa_row *row = &isa_rows[c->row];

	if (row->attributes & ISA_STRING && host->vector != NATIVE_NO_FAULT)
		return RFLAGS_DF;
	/* Where an instruction gives the flags new values, translated code may have lost the old
	 * ones when it faults. */
	if (translated && row->flags_written && host->vector != NATIVE_NO_FAULT)
		return RFLAGS_DF;
	return (RFLAGS_ARITHMETIC | RFLAGS_DF) & ~(uint64_t)row->flags_undefined;
}

/* Beside 32-bit code only the registers' lower halves, and not R8 to R15, are architectural. */
static bool same_registers(const struct native_result *a, const struct native_result *b)
{
	if (batch->mode == INSN_MODE_64)
		return memcmp(a->state.gpr, b->state.gpr, sizeof(a->state.gpr)) == 0;
	for (unsigned i = 0; i < 8; i++) {
		if ((uint32_t)a->state.gpr[i] != (uint32_t)b->state.gpr[i])
			return false;
	}
	return true;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZER_SHADOW
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZER_SHADOW
#endif

/* Where AddressSanitizer maps its shadow, a host process has memory that the engine has not. */
static bool hits_sanitizer_shadow(const struct native_result *engine)
{
#ifdef SANITIZER_SHADOW
	return engine->vector == X86_PF && engine->cr2 >= UINT64_C(0x7fff0000) &&
	       engine->cr2 < UINT64_C(0x100080000000);
#else
	(void)engine;
	return false;
#endif
}

static bool same(const struct native_case *c, const struct native_result *host,
	const struct native_result *engine)
{
	if (hits_sanitizer_shadow(engine))
		return true;
	if (host->vector != engine->vector || host->cr2 != engine->cr2 ||
		((host->error ^ engine->error) & error_mask(host)) ||
		host->state.rip != engine->state.rip ||
		((host->state.rflags ^ engine->state.rflags) & flags_mask(c, host)))
		return false;
	if (c->vector && !native_vector_same(&host->state.xsave, &engine->state.xsave))
		return false;
	return same_registers(host, engine) && memcmp(host->live, engine->live, NATIVE_LIVE) == 0;
}

static void print_instruction(const struct native_case *c)
{
	ZydisDisassembledInstruction instruction;
	ZydisMachineMode mode = batch->mode == INSN_MODE_64 ? ZYDIS_MACHINE_MODE_LONG_64
							    : ZYDIS_MACHINE_MODE_LONG_COMPAT_32;

	for (unsigned i = 0; i < c->length; i++)
		printf("%02x ", c->bytes[i]);
	if (ZYAN_SUCCESS(
		    ZydisDisassembleIntel(mode, c->state.rip, c->bytes, c->length, &instruction)))
		printf(" %s", instruction.text);
	printf("   (row %s | %s)\n", isa_rows[c->row].mnemonic, isa_rows[c->row].syntax);
}

static void print_live(const char *name, const uint8_t *live, unsigned from)
{
	unsigned start = from & ~15u;

	printf("  %s live[0x%x]:", name, start);
	for (unsigned i = start; i < start + 32 && i < NATIVE_LIVE; i++)
		printf(" %02x", live[i]);
	printf("\n");
}

static void print_result(const char *name, const struct native_result *r)
{
	printf("  %s rip %" PRIx64 " flags %" PRIx64, name, r->state.rip,
		r->state.rflags & (RFLAGS_ARITHMETIC | RFLAGS_DF));
	if (r->vector != NATIVE_NO_FAULT)
		printf(" exception %u error %x cr2 %" PRIx64, r->vector, r->error, r->cr2);
	printf("\n");
}

static void report(const struct native_case *c, const struct native_result *host,
	const struct native_result *engine)
{
	if (++reports > MAX_REPORTS)
		return;
	print_instruction(c);
	for (unsigned i = 0; i < X86_NR_GPRS; i++) {
		printf("  %3s %016" PRIx64, gpr_names[i], c->state.gpr[i]);
		if (host->state.gpr[i] != engine->state.gpr[i])
			printf("  host %016" PRIx64 " engine %016" PRIx64, host->state.gpr[i],
				engine->state.gpr[i]);
		printf(i % 2 ? "\n" : "  ");
	}
	printf("  flags %" PRIx64 ", defined %" PRIx64 "\n", c->state.rflags, flags_mask(c, host));
	print_result("host:  ", host);
	print_result("engine:", engine);
	if (c->vector)
		native_vector_print(&c->state.xsave, &host->state.xsave, &engine->state.xsave);
	for (unsigned i = 0; i < NATIVE_LIVE; i++) {
		if (host->live[i] == engine->live[i])
			continue;
		print_live("before", c->live, i);
		print_live("host  ", host->live, i);
		print_live("engine", engine->live, i);
		break;
	}
}

/* Rows to test, and how often the host completed each. */
struct coverage {
	const struct isa_row *rows[4096];
	unsigned completed[4096];
	unsigned nr_rows;
};

static bool is_wanted(const struct isa_row *row, enum insn_mode mode, bool vector)
{
	const char *only = getenv("ATOLL_TEST_ROWS");
	uint32_t excluded = mode == INSN_MODE_64 ? ISA_NO_64 : ISA_ONLY_64;

	if (!native_is_testable(row) || row->attributes & excluded)
		return false;
	if (mode != INSN_MODE_64 && row->encoding.w == 1 && row->encoding.map < ISA_MAP_VEX_0F)
		return false;
	if (native_is_vector(row) != vector)
		return false;
	if (row->feature != CPU_NR_FEATURES &&
		!cpu_model_has(native_engine_model(), (enum cpu_feature)row->feature))
		return false;
	return !only || strncmp(row->mnemonic, only, strlen(only)) == 0;
}

static void choose_rows(struct coverage *coverage, enum insn_mode mode, bool vector)
{
	for (unsigned i = 0; i < isa_nr_rows; i++) {
		if (is_wanted(&isa_rows[i], mode, vector))
			coverage->rows[coverage->nr_rows++] = &isa_rows[i];
	}
}

static void fill_batch(
	struct coverage *coverage, unsigned *next, unsigned nr_cases, struct native_random *random)
{
	unsigned n = 0;

	/* Some encodings do not exist: a form with REX of AH, say. They are made again. */
	for (unsigned attempts = 0; n < nr_cases && attempts < 100 * NATIVE_BATCH; attempts++) {
		const struct isa_row *row = coverage->rows[*next % coverage->nr_rows];

		if (native_case_make(&batch->cases[n], row, batch->mode, n, random))
			n++;
		++*next;
	}
	batch->nr_cases = n;
}

static void compare_data(uint64_t seed)
{
	const uint8_t *data = native_engine_data();

	for (unsigned i = 0; i < NATIVE_DATA_SIZE; i++) {
		if (batch->host_data[i] == data[i])
			continue;
		printf("a case of the batch with seed 0x%" PRIx64 " wrote elsewhere: %x: host %02x "
		       "engine %02x\n",
			seed, NATIVE_DATA + i, batch->host_data[i], data[i]);
		reports++;
		return;
	}
}

/* A branch that was taken ends in #UD elsewhere. */
static bool is_completed(const struct native_case *c, const struct native_result *host)
{
	return host->vector == NATIVE_NO_FAULT || host->state.rip != c->state.rip;
}

static void run_on_both(uint64_t seed)
{
	int status, pid;

	fflush(stdout);
	pid = native_host_start(batch);
	native_engine_run(batch);
	waitpid(pid, &status, 0);
	if (status != 0)
		fail_msg("the host's run of the batch with seed 0x%" PRIx64 " ended with status %x",
			seed, status);
}

static bool all_are_same(void)
{
	for (unsigned i = 0; i < batch->nr_cases; i++)
		if (!same(&batch->cases[i], &batch->host[i], &batch->engine[i]))
			return false;
	return true;
}

/* Emulated now and then, the host's instructions may be wrong; but not each time. */
#define ATTEMPTS_ON_EMULATING_HOST 5

static unsigned run_batch(struct coverage *coverage, uint64_t seed)
{
	unsigned attempts = native_host_returns_to_any_stack() ? 1 : ATTEMPTS_ON_EMULATING_HOST;
	unsigned differences = 0;

	native_host_code(batch);
	do
		run_on_both(seed);
	while (--attempts && !all_are_same());
	for (unsigned i = 0; i < batch->nr_cases; i++) {
		const struct native_case *c = &batch->cases[i];

		if (!same(c, &batch->host[i], &batch->engine[i])) {
			report(c, &batch->host[i], &batch->engine[i]);
			differences++;
		}
		if (is_completed(c, &batch->host[i])) {
			for (unsigned r = 0; r < coverage->nr_rows; r++)
				if (coverage->rows[r] == &isa_rows[c->row])
					coverage->completed[r]++;
		}
	}
	compare_data(seed);
	return differences;
}

/* A row that always faults is not tested. */
static unsigned rows_not_completed(const struct coverage *coverage)
{
	unsigned n = 0;

	for (unsigned i = 0; i < coverage->nr_rows; i++) {
		if (coverage->completed[i])
			continue;
		printf("never completed on the host: %s %s\n", coverage->rows[i]->mnemonic,
			coverage->rows[i]->syntax);
		n++;
	}
	return n;
}

static void compare(enum insn_mode mode, bool vector, uint64_t default_cases)
{
	static struct coverage coverage;
	uint64_t cases = from_environment("ATOLL_TEST_CASES", default_cases), done = 0;
	uint64_t seed = from_environment("ATOLL_TEST_SEED", base_seed), differences = 0;
	unsigned next = 0, faults = 0;

	memset(&coverage, 0, sizeof(coverage));
	choose_rows(&coverage, mode, vector);
	if (!coverage.nr_rows)
		skip();
	printf("seed 0x%" PRIx64 ", %u rows\n", seed, coverage.nr_rows);
	/* cmocka installs handlers of its own for each test. */
	vector_take_signals();
	batch->mode = mode;
	reports = 0;
	for (uint64_t n = 0; done < cases; n++) {
		struct native_random random = { (seed + n) * UINT64_C(0x9e3779b97f4a7c15) | 1 };
		uint64_t left = cases - done;

		fill_batch(&coverage, &next, left < NATIVE_BATCH ? (unsigned)left : NATIVE_BATCH,
			&random);
		assert_true(batch->nr_cases > 0);
		differences += run_batch(&coverage, seed + n);
		for (unsigned i = 0; i < batch->nr_cases; i++)
			faults += batch->host[i].vector != NATIVE_NO_FAULT;
		done += batch->nr_cases;
	}
	printf("%" PRIu64 " cases, %u of them faults, %" PRIu64 " differences\n", done, faults,
		differences);
	assert_int_equal(differences, 0);
	assert_int_equal(reports, 0);
	if (cases >= CASES_FOR_COVERAGE * coverage.nr_rows)
		assert_int_equal(rows_not_completed(&coverage), 0);
}

static void integer_instructions_in_64_bit_mode(void **state)
{
	(void)state;
	compare(INSN_MODE_64, false, 1000000);
}

static void integer_instructions_in_compatibility_mode(void **state)
{
	(void)state;
	if (!native_host_has_32_bit_code())
		skip(); /* a kernel without IA-32 emulation */
	compare(INSN_MODE_32, false, 400000);
}

static void vector_instructions_in_64_bit_mode(void **state)
{
	(void)state;
	compare(INSN_MODE_64, true, 400000);
}

static void vector_instructions_in_compatibility_mode(void **state)
{
	(void)state;
	if (!native_host_has_32_bit_code())
		skip();
	compare(INSN_MODE_32, true, 200000);
}

static void translated_integer_instructions(void **state)
{
	(void)state;
	native_engine_translate();
	translated = true;
	compare(INSN_MODE_64, false, 400000);
}

static void translated_vector_instructions(void **state)
{
	(void)state;
	compare(INSN_MODE_64, true, 200000);
}

static void translated_integer_instructions_in_compatibility_mode(void **state)
{
	(void)state;
	if (!native_host_has_32_bit_code())
		skip();
	compare(INSN_MODE_32, false, 200000);
}

static void translated_vector_instructions_in_compatibility_mode(void **state)
{
	(void)state;
	if (!native_host_has_32_bit_code())
		skip();
	compare(INSN_MODE_32, true, 100000);
}

static bool same_end(const struct native_result *a, const struct native_result *b, uint64_t end)
{
	return a->vector == b->vector && a->state.rip == b->state.rip &&
	       memcmp(a->state.gpr, b->state.gpr, sizeof(a->state.gpr)) == 0 &&
	       (a->state.rip != end || a->state.rflags == b->state.rflags) &&
	       memcmp(&a->state.xsave, &b->state.xsave, sizeof(a->state.xsave)) == 0 &&
	       memcmp(a->live, b->live, sizeof(a->live)) == 0;
}

static void report_sequence(
	const struct native_case *const *cases, const struct native_result *results, unsigned run)
{
	if (reports++ >= MAX_REPORTS)
		return;
	printf("run %u of:\n", run);
	for (unsigned i = 0; i < NATIVE_SEQUENCE; i++)
		print_instruction(cases[i]);
	print_result("interpreter", &results[0]);
	print_result("translated", &results[run]);
	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		if (results[0].state.gpr[i] != results[run].state.gpr[i])
			printf("  %s: %" PRIx64 ", translated %" PRIx64 "\n", gpr_names[i],
				results[0].state.gpr[i], results[run].state.gpr[i]);
}

static bool compare_sequence(const struct native_case *const *cases)
{
	static struct native_result results[NATIVE_SEQUENCE_RUNS];
	uint64_t end = native_engine_sequence(
		(enum insn_mode)batch->mode, cases, NATIVE_SEQUENCE, results);

	for (unsigned run = 1; run < NATIVE_SEQUENCE_RUNS; run++) {
		if (same_end(&results[0], &results[run], end))
			continue;
		report_sequence(cases, results, run);
		break;
	}
	return results[0].state.rip == end;
}

/* Integer and vector instructions mixed, several in a block. */
static void compare_sequences(enum insn_mode mode)
{
	static struct coverage coverage;
	uint64_t sequences = from_environment("ATOLL_TEST_CASES", 200000) / NATIVE_SEQUENCE;
	struct native_random random = { from_environment("ATOLL_TEST_SEED", base_seed) | 1 };
	unsigned next = 0, completed = 0;

	memset(&coverage, 0, sizeof(coverage));
	choose_rows(&coverage, mode, false);
	vector_take_signals();
	batch->mode = mode;
	reports = 0;
	for (uint64_t n = 0; n < sequences; n++) {
		const struct native_case *cases[NATIVE_SEQUENCE];

		if (n % NATIVE_BATCH == 0)
			fill_batch(&coverage, &next, NATIVE_BATCH, &random);
		for (unsigned i = 0; i < NATIVE_SEQUENCE; i++)
			cases[i] = &batch->cases[native_random(&random) % batch->nr_cases];
		completed += compare_sequence(cases);
	}
	printf("%" PRIu64 " sequences, %u of them complete, %u differences\n", sequences, completed,
		reports);
	assert_int_equal(reports, 0);
}

static void translated_sequences(void **state)
{
	(void)state;
	compare_sequences(INSN_MODE_64);
}

static void translated_sequences_in_compatibility_mode(void **state)
{
	(void)state;
	compare_sequences(INSN_MODE_32);
}

static int setup(void **state)
{
	(void)state;
	batch = mmap(
		NULL, sizeof(*batch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (batch == MAP_FAILED)
		return -1;
	native_host_returns_to_any_stack();
	native_host_init();
	native_engine_init();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	native_engine_finish();
	munmap(batch, sizeof(*batch));
	return 0;
}

/* AddressSanitizer's shadow lies where cases expect that nothing is mapped. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SHADOW 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HAS_SHADOW 1
#endif
#ifndef HAS_SHADOW
#define HAS_SHADOW 0
#endif

#define EXIT_SKIP 77 /* to meson */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integer_instructions_in_64_bit_mode),
		cmocka_unit_test(integer_instructions_in_compatibility_mode),
		cmocka_unit_test(vector_instructions_in_64_bit_mode),
		cmocka_unit_test(vector_instructions_in_compatibility_mode),
		cmocka_unit_test(translated_integer_instructions),
		cmocka_unit_test(translated_vector_instructions),
		cmocka_unit_test(translated_integer_instructions_in_compatibility_mode),
		cmocka_unit_test(translated_vector_instructions_in_compatibility_mode),
		cmocka_unit_test(translated_sequences),
		cmocka_unit_test(translated_sequences_in_compatibility_mode),
	};

	if (HAS_SHADOW)
		return EXIT_SKIP;
	return cmocka_run_group_tests_name("native", tests, setup, teardown);
}
