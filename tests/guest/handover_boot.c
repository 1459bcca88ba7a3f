/*
 * Boots Linux while its machine moves between engines:
 *
 *	handover_boot FROM TO KERNEL INITRD CPUS [MOVES]
 *
 * Every few hundred milliseconds, at most MOVES times, all processors are stopped, their states and
 *those of all devices go through state_encode and state_decode into a fresh virtual machine of the
 *other engine and into devices that were reset, and the guest goes on. It runs
 *guest/initramfs/init's self-test and powers off; all checks must pass but the one of how long a
 *sleep took, in which the moves are. Prints lines of TAP.
 */
#include "board/board.h"
#include "engine/engine.h"
#include "firmware/boot.h"
#include "vmm/vcpu_threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLICE_NS     (400 * NS_PER_MS)
#define MAX_MOVES    1000
#define FEWEST_MOVES 6
#define LIMIT_NS     (100 * NS_PER_S)
#define MEMORY_BYTES (256 << 20)
#define LOG_BYTES    (256 << 10)

struct journey {
	struct machine machine;
	struct cpu_model model;
	struct board *board;
	struct engine *engine;
	struct vcpu_threads vcpus;
	struct cpu_state *states; /* of each vCPU */
	unsigned moves, max_moves;
	unsigned tests, failures;

	/* Machine lock. */
	char log[LOG_BYTES];
	size_t logged;
	char stopped[320]; /* why an engine gave up */
};

static size_t log_console(void *context, const uint8_t *bytes, size_t size)
{
	struct journey *journey = context;
	size_t room = sizeof(journey->log) - 1 - journey->logged;

	memcpy(journey->log + journey->logged, bytes, size < room ? size : room);
	journey->logged += size < room ? size : room;
	return size;
}

static void vcpu_stopped(void *context, const struct vcpu_exit *exit)
{
	struct journey *journey = context;

	machine_lock(&journey->machine);
	snprintf(
		journey->stopped, sizeof(journey->stopped), "exit %d %s", exit->reason, exit->text);
	machine_request(&journey->machine, MACHINE_REQUEST_TRIPLE_FAULT);
	machine_unlock(&journey->machine);
}

static void check(struct journey *journey, bool passed, const char *what)
{
	journey->tests++;
	journey->failures += !passed;
	printf("%sok %u - %s\n", passed ? "" : "not ", journey->tests, what);
}

static int create_engine(struct journey *journey, const struct engine_ops *ops, struct error *err)
{
	struct engine_config config = { .machine = &journey->machine,
		.cpu_model = &journey->model };

	return ops->create(&config, &journey->engine, err);
}

static int load_states(struct journey *journey, struct error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < journey->machine.nr_vcpus && rc == 0; i++)
		rc = journey->engine->ops->set_state(journey->engine, i, &journey->states[i], err);
	return rc;
}

/* Appends every processor and device. */
static int save(struct journey *journey, struct state_buffer *buffer)
{
	char instance[16];
	int rc = 0;

	for (unsigned i = 0; i < journey->machine.nr_vcpus && rc == 0; i++) {
		snprintf(instance, sizeof(instance), "cpu%u", i);
		rc = journey->engine->ops->get_state(journey->engine, i, &journey->states[i]);
		if (rc == 0)
			rc = state_encode(buffer, &cpu_state_table, instance, &journey->states[i]);
	}
	for (unsigned i = 0; i < journey->machine.nr_devices && rc == 0; i++) {
		const struct device *device = &journey->machine.devices[i];

		rc = state_encode(
			buffer, device->type->state, device->instance, device_state(device));
	}
	return rc;
}

static long take(const struct state_buffer *buffer, size_t at, const struct state_table *table,
	void *state, struct error *err)
{
	return state_decode(buffer->bytes + at, buffer->size - at, table, state, err);
}

/* The reverse, in the same order; devices come from their state after reset. */
static int restore(struct journey *journey, const struct state_buffer *buffer, struct error *err)
{
	struct machine *machine = &journey->machine;
	size_t at = 0;
	long used;

	for (unsigned i = 0; i < machine->nr_vcpus; i++) {
		cpu_state_reset(&journey->states[i], i);
		used = take(buffer, at, &cpu_state_table, &journey->states[i], err);
		if (used < 0)
			return (int)used;
		at += used;
	}
	machine_reset(machine);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device *device = &machine->devices[i];

		used = take(buffer, at, device->type->state, device_state(device), err);
		if (used < 0)
			return (int)used;
		at += used;
	}
	for (unsigned i = 0; i < machine->nr_devices; i++)
		if (machine->devices[i].type->restored)
			machine->devices[i].type->restored(machine->devices[i].object);
	return 0;
}

static int move(struct journey *journey, const struct engine_ops *ops, struct error *err)
{
	struct machine *machine = &journey->machine;
	struct state_buffer buffer = { 0 };
	int rc;

	vcpu_threads_pause(&journey->vcpus);
	machine_lock(machine);
	clock_pause(&machine->clock);
	machine_unlock(machine);
	rc = save(journey, &buffer);
	journey->engine->ops->destroy(journey->engine);
	journey->engine = NULL;
	if (rc == 0)
		rc = create_engine(journey, ops, err);
	journey->vcpus.engine = journey->engine;
	if (rc == 0) {
		machine_lock(machine);
		rc = restore(journey, &buffer, err);
		machine_unlock(machine);
	}
	if (rc == 0)
		rc = load_states(journey, err);
	machine_lock(machine);
	clock_resume(&machine->clock);
	machine_unlock(machine);
	state_buffer_finish(&buffer);
	journey->moves++;
	if (rc == 0)
		vcpu_threads_resume(&journey->vcpus);
	return rc;
}

static int boot(struct journey *journey, const struct engine_ops *ops, const char *kernel,
	const char *const *initrd, unsigned nr_cpus, struct error *err)
{
	struct board_config board = {
		.name = "micro",
		.memory_bytes = MEMORY_BYTES,
		.nr_vcpus = nr_cpus,
		.debug_exit_port = -1,
		.com1 = { .write = log_console, .context = journey },
	};
	char command_line[128];
	struct boot_config config = {
		.kernel = kernel,
		.initrds = initrd,
		.nr_initrds = 1,
		.command_line = command_line,
	};
	struct acpi_config acpi = { 0 };

	/* The soft engine has IBRS_ALL and IA32_SPEC_CTRL; a KVM whose host has not raises #GP at
	 * the latter. A guest that moves must not use what only one of them has. */
	snprintf(command_line, sizeof(command_line),
		"console=ttyS0 panic=-1 mitigations=off atoll.mode=selftest atoll.cpus=%u",
		nr_cpus);
	if (cpu_model_init(&journey->model, "x86-64-v2", nr_cpus, err) < 0 ||
		board_create(&journey->board, &board, &journey->machine, err) < 0 ||
		create_engine(journey, ops, err) < 0)
		return -1;
	machine_reset(&journey->machine);
	board_describe(journey->board, &acpi);
	if (acpi_install(&acpi, &journey->machine.memory, &config.rsdp, err) < 0)
		return -1;
	journey->states = aligned_alloc(64, nr_cpus * sizeof(*journey->states));
	for (unsigned i = 0; i < nr_cpus; i++)
		cpu_state_reset(&journey->states[i], i);
	if (boot_load(&config, &journey->machine, &journey->states[0], err) < 0)
		return -1;
	return load_states(journey, err);
}

static ns_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

/* Serves the machine's timers and moves it, until the guest ends. */
static int travel(
	struct journey *journey, const struct engine_ops *const engines[2], struct error *err)
{
	const struct timespec pause = { .tv_nsec = NS_PER_MS };
	struct machine *machine = &journey->machine;
	ns_t start_ns = now(), next_ns = start_ns + SLICE_NS;
	enum machine_request request;
	int rc = 0;

	vcpu_threads_resume(&journey->vcpus);
	do {
		nanosleep(&pause, NULL);
		machine_lock(machine);
		clock_run(&machine->clock);
		request = machine->request;
		machine_unlock(machine);
		if (request == MACHINE_REQUEST_NONE && now() >= next_ns &&
			journey->moves < journey->max_moves) {
			rc = move(journey, engines[(journey->moves + 1) % 2], err);
			next_ns = now() + SLICE_NS;
		}
	} while (rc == 0 && request == MACHINE_REQUEST_NONE && now() - start_ns < LIMIT_NS);
	printf("# %u moves in %.1f s, request %d %s\n", journey->moves, (now() - start_ns) / 1e9,
		request, journey->stopped);
	return rc;
}

static bool own_checks_pass(const char *log)
{
	const char *failed = log;

	if (strstr(log, "Call Trace"))
		return false;
	while ((failed = strstr(failed, "atoll: not ok "))) {
		failed += strlen("atoll: not ok ");
		if (strncmp(failed, "sleep:", 6) != 0)
			return false;
	}
	return true;
}

static void check_guest(struct journey *journey)
{
	check(journey, strstr(journey->log, "atoll: done"), "the guest got to its end");
	check(journey, journey->machine.request == MACHINE_REQUEST_POWEROFF, "it powered off");
	check(journey, own_checks_pass(journey->log), "its own checks pass");
	check(journey, journey->moves >= FEWEST_MOVES, "it moved often");
	if (!journey->failures)
		return;
	for (char *rest = NULL, *line = strtok_r(journey->log, "\r\n", &rest); line;
		line = strtok_r(NULL, "\r\n", &rest))
		printf("# %s\n", line);
}

int main(int argc, char **argv)
{
	struct journey *journey = aligned_alloc(64, align_up(sizeof(*journey), 64));
	const struct engine_ops *engines[2];
	struct error err = { 0 };
	char why[256];
	int rc;

	if (argc < 6) {
		fprintf(stderr, "usage: handover_boot FROM TO KERNEL INITRD CPUS [MOVES]\n");
		return EXIT_CODE_USAGE;
	}
	for (unsigned i = 0; i < 2; i++) {
		engines[i] = engine_select(argv[1 + i], why, sizeof(why), &err);
		if (!engines[i]) {
			printf("1..0 # SKIP %s\n", err.text);
			return 77;
		}
	}
	memset(journey, 0, sizeof(*journey));
	journey->max_moves = argc > 6 ? strtoul(argv[6], NULL, 0) : MAX_MOVES;
	machine_init(&journey->machine);
	rc = boot(journey, engines[0], argv[3], (const char *const *)&argv[4], atoi(argv[5]), &err);
	if (rc == 0)
		rc = vcpu_threads_start(&journey->vcpus, journey->engine, journey->machine.nr_vcpus,
			vcpu_stopped, journey);
	if (rc == 0)
		rc = travel(journey, engines, &err);
	if (err.text[0])
		printf("# %s\n", err.text);
	check(journey, rc == 0, "every move was possible");
	check_guest(journey);
	printf("1..%u\n", journey->tests);
	fflush(stdout);
	/* The process ends; a vCPU thread may still be parked without an engine. */
	_Exit(journey->failures != 0);
}
