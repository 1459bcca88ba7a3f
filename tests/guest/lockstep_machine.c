/*
 * The machines of lockstep_boot.c: nothing in them knows the host's time or its random numbers.
 */
#include "lockstep_boot.h"

#include "engine/engine.h"
#include "firmware/boot.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MEMORY_BYTES    (160u << 20)
#define DEBUG_EXIT_PORT 0x501

static ns_t read_time(void *context)
{
	return ((struct lockstep *)context)->now_ns;
}

static size_t write_console(void *context, const uint8_t *bytes, size_t size)
{
	struct side *side = context;
	size_t room = sizeof(side->console) - 1 - side->written;

	memcpy(side->console + side->written, bytes, size < room ? size : room);
	side->written += size < room ? size : room;
	return size;
}

/* The newest model that the host has and that offers no random numbers. */
static int choose_model(struct cpu_model *model, struct error *err)
{
	struct error ignored = { 0 };

	if (cpu_model_init(model, "x86-64-v3", 1, &ignored) == 0)
		return 0;
	return cpu_model_init(model, "x86-64-v2", 1, err);
}

static int create_engine(struct side *side, enum soft_mode mode, struct error *err)
{
	struct soft_engine *engine;
	struct engine_config config = {
		.machine = &side->machine,
		.cpu_model = &side->model,
		.soft_mode = mode,
		.count_exactly = true,
	};

	if (soft_engine_ops.create(&config, &side->engine, err) < 0)
		return -1;
	engine = container_of(side->engine, struct soft_engine, base);
	side->vcpu = engine->vcpus;
	side->vcpu->lockstep = &side->pace;
	/* It was taken from the host's counter. */
	engine->tsc_anchor.stale = true;
	return 0;
}

static int create_side(struct lockstep *test, struct side *side, enum soft_mode mode,
	struct boot_config *boot, struct error *err)
{
	struct board_config board = {
		.name = "micro",
		.memory_bytes = MEMORY_BYTES,
		.nr_vcpus = 1,
		.debug_exit_port = DEBUG_EXIT_PORT,
		.com1 = { .write = write_console, .context = side },
	};
	struct acpi_config acpi = { 0 };

	machine_init(&side->machine);
	clock_init_source(&side->machine.clock, read_time, test);
	if (board_create(&side->board, &board, &side->machine, err) < 0 ||
		create_engine(side, mode, err) < 0)
		return -1;
	machine_reset(&side->machine);
	board_describe(side->board, &acpi);
	if (acpi_install(&acpi, &side->machine.memory, &boot->rsdp, err) < 0)
		return -1;
	cpu_state_reset(&side->state, 0);
	cpu_state_firmware(&side->state, 0);
	if (boot_load(boot, &side->machine, &side->state, err) < 0)
		return -1;
	return side->engine->ops->set_state(side->engine, 0, &side->state, err);
}

static void *watch(void *context)
{
	const struct timespec pause = { .tv_nsec = NS_PER_MS };
	struct lockstep *test = context;

	for (;;) {
		nanosleep(&pause, NULL);
		if (atomic_load(&test->watched))
			atomic_fetch_or(&test->translated.vcpu->requests, REQUEST_KICK);
	}
	return NULL;
}

void lockstep_watch(struct lockstep *test, bool on)
{
	atomic_store(&test->watched, on);
}

int lockstep_create(struct lockstep *test, const char *kernel, const char *initrd,
	const char *command_line, struct error *err)
{
	struct boot_config boot = {
		.kernel = kernel,
		.initrds = &initrd,
		.nr_initrds = initrd != NULL,
		.command_line = command_line,
	};
	pthread_t thread;

	memset(test, 0, sizeof(*test));
	/* Once, since the counter's rate is measured. */
	if (choose_model(&test->interpreted.model, err) < 0)
		return -1;
	test->translated.model = test->interpreted.model;
	if (create_side(test, &test->interpreted, SOFT_MODE_INTERPRET, &boot, err) < 0 ||
		create_side(test, &test->translated, SOFT_MODE_TRANSLATE, &boot, err) < 0)
		return -1;
	if (pthread_create(&thread, NULL, watch, test))
		return error_set(err, EXIT_CODE_HOST, "cannot make a thread");
	translate_prepare_thread(test->translated.vcpu);
	return 0;
}

void lockstep_save(struct side *side, struct state_buffer *buffer)
{
	struct machine *machine = &side->machine;

	side->engine->ops->get_state(side->engine, 0, &side->state);
	side->state.rflags &= ~RFLAGS_ARITHMETIC; /* compared where they matter */
	state_encode(buffer, &cpu_state_table, "cpu0", &side->state);
	machine_lock(machine);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device *device = &machine->devices[i];

		state_encode(buffer, device->type->state, device->instance, device_state(device));
	}
	machine_unlock(machine);
}

void lockstep_print_console(const struct lockstep *test, bool in_full)
{
	const char *text = test->translated.console;
	size_t length = test->translated.written, from = 0;

	if (strcmp(test->interpreted.console, text) != 0)
		printf("# what they printed differs\n");
	if (!in_full && length > 600)
		from = length - 600;
	printf("# the end of the guest's console:\n# ");
	for (size_t i = from; i < length; i++)
		if (text[i] == '\n')
			printf("\n# ");
		else if (text[i] != '\r')
			putchar(text[i]);
	putchar('\n');
}
