/*
 * Moves a running processor between engines: handover FROM TO [ROUNDS [MOVES]]
 *
 * A guest computes with everything a processor has in flight, then counts timer interrupts of all
 * kinds. Every few milliseconds it is stopped wherever it is; its cpu_state travels through
 * state_encode and state_decode into a fresh virtual machine of the other engine, around the same
 * memory, and goes on. The result must be the one that the same code has on the bare host, no
 * tick may come early or twice, and guest time must not jump. Prints lines of TAP.
 */
#include "engine/engine.h"
#include "handover.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define SLICE_US       4000
#define LIMIT_NS       (20 * NS_PER_S)
#define DEFAULT_MOVES  60
#define FEWEST_MOVES   10
#define TICK_NS        (2 * NS_PER_MS)
#define CLOCK_SLACK_NS (10 * NS_PER_MS)
/*
 * KVM requests the interrupt a little before the deadline and then delays the guest's entry; a move
 * between the two reads and sets the counter anew, not exactly where the host is emulated itself.
 */
#define EARLINESS_NS    (500 * NS_PER_US)
#define DEFAULT_ROUNDS  400000
#define PAGE_TABLE_SIZE 0x1000

extern const uint8_t handover_guest_start[], handover_guest_end[];
extern const uint8_t handover_guest_timer[], handover_guest_deadline[], handover_guest_fault[];
uint64_t handover_compute(void *buffer, uint64_t rounds, uint64_t *left, uint64_t features);

/* The clock page that KVM's guests read, Linux Documentation/virt/kvm/x86/msr.rst. */
struct pvclock_page {
	uint32_t version;
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
} __attribute__((packed));

struct handover_shared {
	uint64_t progress, rounds, features, hash;
	uint64_t period, ticks, deadline_step, deadlines, next, early, tsc, earliness;
	uint8_t reserved[SHARED_PVCLOCK - 0x60];
	struct pvclock_page pvclock;
};

_Static_assert(offsetof(struct handover_shared, earliness) == SHARED_EARLINESS, "handover.h");
_Static_assert(offsetof(struct handover_shared, pvclock) == SHARED_PVCLOCK, "handover.h");

struct mark {
	bool seen;
	uint64_t tsc;
	uint64_t ticks;
	ns_t lag_ns;     /* guest_ns less the counter */
	ns_t guest_ns;   /* of the machine's clock */
	ns_t pvclock_ns; /* what the guest would read */
};

struct handover {
	struct machine machine;
	struct cpu_model model;
	struct mark marks[STAGE_DONE + 1];
	bool faulted;
	unsigned moves, max_moves;
	unsigned failures, tests;
};

/* What the signal handler kicks. */
static struct engine *volatile running;

static void kick_running(int signal_number)
{
	struct engine *engine = running;

	(void)signal_number;
	if (engine)
		engine->ops->kick(engine, 0);
}

static struct handover_shared *shared_of(struct handover *test)
{
	return guest_memory_host(
		&test->machine.memory, GUEST_SHARED, sizeof(struct handover_shared));
}

static ns_t pvclock_at(const struct pvclock_page *page, uint64_t tsc)
{
	uint64_t delta = tsc - page->tsc_timestamp;

	delta = page->tsc_shift >= 0 ? delta << page->tsc_shift : delta >> -page->tsc_shift;
	return page->system_time + (ns_t)((unsigned __int128)delta * page->tsc_to_system_mul >> 32);
}

/* Of several marks of a stage the one that took the least time from the guest to here counts. */
static void take_mark(struct handover *test, unsigned stage)
{
	struct handover_shared *shared = shared_of(test);
	struct mark *mark = &test->marks[stage];
	ns_t guest_ns = clock_now(&test->machine.clock);
	ns_t lag_ns = guest_ns - ticks_to_ns(shared->tsc, test->model.tsc_hz);

	if (mark->seen && lag_ns >= mark->lag_ns)
		return;
	*mark = (struct mark){
		.seen = true,
		.tsc = shared->tsc,
		.ticks = shared->ticks,
		.lag_ns = lag_ns,
		.guest_ns = guest_ns,
		.pvclock_ns = pvclock_at(&shared->pvclock, shared->tsc),
	};
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct handover *test = device;

	(void)offset;
	(void)size;
	if (value <= STAGE_DONE)
		take_mark(test, value);
	test->faulted |= value == STAGE_FAULT;
	if (value == STAGE_FAULT || value == STAGE_END)
		machine_request(&test->machine, MACHINE_REQUEST_POWEROFF);
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	return byte_mask(size);
}

static const struct io_ops port_ops = { .read = port_read, .write = port_write, .max_size = 4 };

static void store(struct handover *test, gpa_t address, const void *from, uint64_t size)
{
	if (guest_memory_write(&test->machine.memory, address, from, size) < 0)
		abort();
}

/* Identity maps the first 4 GiB with pages of 2 MiB. */
static void write_page_tables(struct handover *test)
{
	for (unsigned i = 0; i < 4; i++) {
		gpa_t directory = GUEST_PAGE_TABLES + (2 + i) * PAGE_TABLE_SIZE;
		uint64_t pointer = directory | PTE_P | PTE_W;

		store(test, GUEST_PAGE_TABLES + PAGE_TABLE_SIZE + 8 * i, &pointer, 8);
		for (uint64_t j = 0; j < 512; j++) {
			uint64_t page = (i * 512 + j) << 21 | PTE_P | PTE_W | PTE_PS;

			store(test, directory + 8 * j, &page, 8);
		}
	}
	store(test, GUEST_PAGE_TABLES,
		&(uint64_t){ (GUEST_PAGE_TABLES + PAGE_TABLE_SIZE) | PTE_P | PTE_W }, 8);
}

static void write_gate(struct handover *test, unsigned vector, const uint8_t *handler)
{
	uint64_t address = GUEST_CODE + (handler - handover_guest_start);
	uint64_t gate[2] = {
		(address & 0xffff) | 8 << 16 | UINT64_C(0x8e) << 40 |
			(address >> 16 & 0xffff) << 48,
		address >> 32,
	};

	store(test, GUEST_IDT + 16 * vector, gate, sizeof(gate));
}

static void write_guest(struct handover *test, uint64_t rounds)
{
	const uint64_t gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
	struct handover_shared shared = {
		.rounds = rounds,
		.features = test->model.xcr0_supported & XCR0_AVX &&
					    cpu_model_has(&test->model, CPU_FEATURE_AVX2)
				    ? FEATURE_AVX
				    : 0,
		.period = TICK_NS, /* the APIC's timer counts nanoseconds */
		.deadline_step = ns_to_ticks(TICK_NS, test->model.tsc_hz),
		.earliness = ns_to_ticks(EARLINESS_NS, test->model.tsc_hz),
	};

	write_page_tables(test);
	store(test, GUEST_GDT, gdt, sizeof(gdt));
	for (unsigned vector = 0; vector < 32; vector++)
		write_gate(test, vector, handover_guest_fault);
	write_gate(test, VECTOR_TIMER, handover_guest_timer);
	write_gate(test, VECTOR_DEADLINE, handover_guest_deadline);
	store(test, GUEST_CODE, handover_guest_start, handover_guest_end - handover_guest_start);
	store(test, GUEST_SHARED, &shared, sizeof(shared));
}

/* In long mode, at the guest's first instruction. */
static void write_cpu(const struct cpu_model *model, struct cpu_state *state)
{
	const struct cpu_segment data = { .limit = UINT32_MAX,
		.selector = 16,
		.attributes = SEG_G | SEG_DB | SEG_P | SEG_S | 3 };

	cpu_state_reset(state, 0);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		state->segment[i] = data;
	state->segment[X86_CS] = (struct cpu_segment){
		.limit = UINT32_MAX, .selector = 8, .attributes = SEG_G | SEG_L | SEG_P | SEG_S | 11
	};
	state->segment[X86_TR] = (struct cpu_segment){
		.base = GUEST_TSS, .limit = 0x67, .attributes = SEG_P | SEG_TYPE_TSS_BUSY
	};
	state->gdtr = (struct cpu_table_register){ .base = GUEST_GDT, .limit = 23 };
	state->idtr = (struct cpu_table_register){ .base = GUEST_IDT, .limit = 0xfff };
	state->cr0 = CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
	state->cr3 = GUEST_PAGE_TABLES;
	state->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	state->efer = EFER_LME | EFER_LMA;
	if (model->xcr0_supported) {
		state->cr4 |= CR4_OSXSAVE;
		state->xcr0 = model->xcr0_supported;
	}
	state->rip = GUEST_CODE;
	state->gpr[X86_RSP] = GUEST_STACK_TOP;
	state->gpr[X86_RDI] = GUEST_SHARED;
}

static void check(struct handover *test, bool passed, const char *what)
{
	test->tests++;
	test->failures += !passed;
	printf("%sok %u - %s\n", passed ? "" : "not ", test->tests, what);
}

static struct engine *create(
	struct handover *test, const struct engine_ops *ops, const struct cpu_state *state)
{
	struct engine_config config = { .machine = &test->machine, .cpu_model = &test->model };
	struct engine *engine = NULL;
	struct error err = { 0 };

	if (ops->create(&config, &engine, &err) < 0 || ops->set_state(engine, 0, state, &err) < 0) {
		printf("# %s: %s\n", ops->name, err.text);
		if (engine)
			ops->destroy(engine);
		return NULL;
	}
	return engine;
}

/* Through the form in which states are stored; false if it is refused. */
static bool travel(struct cpu_state *state)
{
	struct state_buffer buffer = { 0 };
	struct error err = { 0 };
	struct cpu_state *arrived = aligned_alloc(_Alignof(struct cpu_state), sizeof(*arrived));
	bool sound;

	cpu_state_reset(arrived, 0);
	sound = state_encode(&buffer, &cpu_state_table, "cpu0", state) == 0 &&
		state_decode(buffer.bytes, buffer.size, &cpu_state_table, arrived, &err) > 0;
	if (!sound)
		printf("# state refused: %s\n", err.text);
	else
		*state = *arrived;
	state_buffer_finish(&buffer);
	free(arrived);
	return sound;
}

/* Replaces `engine`, stopped, by a fresh one of `ops`; NULL if its state does not get across. */
static struct engine *move(
	struct handover *test, struct engine *engine, const struct engine_ops *ops)
{
	struct cpu_state *state = aligned_alloc(_Alignof(struct cpu_state), sizeof(*state));
	bool sound;

	clock_pause(&test->machine.clock);
	sound = engine->ops->get_state(engine, 0, state) == 0 && travel(state);
	running = NULL;
	engine->ops->destroy(engine);
	engine = sound ? create(test, ops, state) : NULL;
	clock_resume(&test->machine.clock);
	free(state);
	test->moves++;
	return engine;
}

/* For a guest that took an exception it should not have, or does not end. */
static void print_state(struct handover *test, struct engine *engine)
{
	struct cpu_state *state = aligned_alloc(_Alignof(struct cpu_state), sizeof(*state));
	const struct handover_shared *shared = shared_of(test);
	uint64_t frame[4] = { 0 };

	if (engine->ops->get_state(engine, 0, state) == 0) {
		guest_memory_read(&test->machine.memory, state->gpr[X86_RSP], frame, sizeof(frame));
		printf("# on %s, stack %#llx %#llx %#llx %#llx, left %llu, ticks %llu, "
		       "deadlines %llu\n# ",
			engine->ops->name, (unsigned long long)frame[0],
			(unsigned long long)frame[1], (unsigned long long)frame[2],
			(unsigned long long)frame[3], (unsigned long long)shared->progress,
			(unsigned long long)shared->ticks, (unsigned long long)shared->deadlines);
		state_print_json(stdout, &cpu_state_table, state);
		printf("\n");
	}
	free(state);
}

static bool run_guest(struct handover *test, const struct engine_ops *const engines[2])
{
	struct cpu_state *state = aligned_alloc(_Alignof(struct cpu_state), sizeof(*state));
	struct itimerval slice = { { 0, SLICE_US }, { 0, SLICE_US } }, off = { 0 };
	struct engine *engine;
	struct vcpu_exit exit;

	write_cpu(&test->model, state);
	engine = create(test, engines[0], state);
	free(state);
	setitimer(ITIMER_REAL, &slice, NULL);
	while (engine) {
		running = engine;
		engine->ops->run(engine, 0, &exit);
		if (exit.reason != VCPU_EXIT_KICKED) {
			printf("# %s: exit %d %s\n", engine->ops->name, exit.reason, exit.text);
			break;
		}
		if (test->machine.request != MACHINE_REQUEST_NONE ||
			clock_now(&test->machine.clock) > LIMIT_NS)
			break;
		if (test->moves < test->max_moves)
			engine = move(test, engine, engines[(test->moves + 1) % 2]);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	running = NULL;
	if (engine && !test->marks[STAGE_DONE].seen)
		print_state(test, engine);
	if (engine)
		engine->ops->destroy(engine);
	return engine != NULL;
}

static uint64_t native_hash(const struct handover_shared *shared)
{
	uint64_t *buffer = calloc(1, SHARED_BUFFER_BYTES), left, hash;

	hash = handover_compute(buffer, shared->rounds, &left, shared->features);
	free(buffer);
	return hash;
}

static bool agree(ns_t a, ns_t b)
{
	return llabs(a - b) <= CLOCK_SLACK_NS;
}

static void check_times(struct handover *test)
{
	const struct mark *from = &test->marks[STAGE_STARTED];
	ns_t tick_ns = test->marks[STAGE_TICKED].guest_ns - test->marks[STAGE_COMPUTED].guest_ns;
	ns_t deadline_ns = test->marks[STAGE_DONE].guest_ns - test->marks[STAGE_TICKED].guest_ns;
	bool tsc = true, pvclock = true;

	for (unsigned stage = STAGE_COMPUTED; stage <= STAGE_DONE; stage++) {
		const struct mark *mark = &test->marks[stage];
		ns_t tsc_ns = ticks_to_ns(mark->tsc - from->tsc, test->model.tsc_hz);

		tsc = tsc && agree(tsc_ns, mark->guest_ns - from->guest_ns);
		pvclock = pvclock && agree(mark->pvclock_ns, mark->guest_ns);
		printf("# stage %u: guest time %.3f ms, tsc %.3f ms, kvmclock %.3f ms\n", stage,
			mark->guest_ns / 1e6, (from->guest_ns + tsc_ns) / 1e6,
			mark->pvclock_ns / 1e6);
	}
	check(test, tsc, "the time-stamp counter follows guest time");
	check(test, pvclock, "the paravirtual clock follows guest time");
	check(test, tick_ns >= (ns_t)test->marks[STAGE_TICKED].ticks * TICK_NS - CLOCK_SLACK_NS,
		"no tick comes early or twice");
	check(test, deadline_ns >= (ONE_SHOTS + DEADLINES) * TICK_NS - CLOCK_SLACK_NS,
		"no shot and no deadline comes early");
}

static void check_result(struct handover *test)
{
	const struct handover_shared *shared = shared_of(test);
	uint64_t expected = native_hash(shared);

	printf("# %u moves, hash %#llx\n", test->moves, (unsigned long long)expected);
	check(test, test->marks[STAGE_DONE].seen && !test->faulted, "the guest finished");
	check(test, shared->hash == expected, "the computation has the bare host's result");
	check(test, shared->early == 0, "no deadline's interrupt came before the deadline");
	if (test->max_moves >= FEWEST_MOVES)
		check(test, test->moves >= FEWEST_MOVES, "the processor moved often");
	check_times(test);
}

static const struct engine_ops *select_engine(const char *name)
{
	struct error err = { 0 };
	char why[256];
	const struct engine_ops *ops = engine_select(name, why, sizeof(why), &err);

	if (!ops)
		printf("1..0 # SKIP %s\n", err.text);
	return ops;
}

int main(int argc, char **argv)
{
	static struct handover test;
	const struct engine_ops *engines[2];
	struct sigaction action = { .sa_handler = kick_running };
	struct error err = { 0 };

	if (argc < 3) {
		fprintf(stderr, "usage: handover FROM TO [ROUNDS [MOVES]]\n");
		return EXIT_CODE_USAGE;
	}
	for (unsigned i = 0; i < 2; i++) {
		engines[i] = select_engine(argv[1 + i]);
		if (!engines[i])
			return 77;
	}
	machine_init(&test.machine);
	test.machine.nr_vcpus = 1;
	test.max_moves = argc > 4 ? strtoul(argv[4], NULL, 0) : DEFAULT_MOVES;
	if (guest_memory_add(&test.machine.memory, 0, GUEST_MEMORY_BYTES, false, &err) < 0 ||
		cpu_model_init(&test.model, "max", 1, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		return 1;
	}
	address_space_map(&test.machine.pio, &(struct io_region){ .base = HANDOVER_PORT,
						     .size = 4,
						     .ops = &port_ops,
						     .device = &test,
						     .name = "handover" });
	write_guest(&test, argc > 3 ? strtoull(argv[3], NULL, 0) : DEFAULT_ROUNDS);
	sigaction(SIGALRM, &action, NULL);
	run_guest(&test, engines);
	check_result(&test);
	printf("1..%u\n", test.tests);
	machine_finish(&test.machine);
	return test.failures != 0;
}
