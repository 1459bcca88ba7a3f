/*
 * The board "pc" with firmware, on both chipsets: flash memory as the processors see it, and for
 * every device that it has that the state is declared whole and survives a restore.
 */
#include "board/board.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "board/board_fixture.h"

#define CODE_SIZE 0x20000u
#define VARS_SIZE 0x4000u
#define VARS_BASE (UINT64_C(0x100000000) - CODE_SIZE - VARS_SIZE)

struct fixture {
	struct machine machine;
	struct board *board;
	ns_t now_ns;
	uint8_t code[CODE_SIZE], variables[VARS_SIZE];
};

static ns_t fixture_now(void *context)
{
	return ((struct fixture *)context)->now_ns;
}

static void fixture_line(void *engine, bool level)
{
	(void)engine;
	(void)level;
}

static void fixture_msi(void *engine, gpa_t address, uint32_t data)
{
	(void)engine;
	(void)address;
	(void)data;
}

static struct fixture *create(const char *chipset)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct board_config config = {
		.name = "pc",
		.chipset = chipset,
		.memory_bytes = UINT64_C(64) << 20,
		.nr_vcpus = 2,
		.debug_exit_port = -1,
		.firmware = { .code = f->code,
			.code_size = CODE_SIZE,
			.variables = f->variables,
			.variables_size = VARS_SIZE },
		.wall_clock_ns = INT64_C(1700000000) * NS_PER_S,
	};

	memset(f->code, 0x90, CODE_SIZE);
	memset(f->variables, 0xff, VARS_SIZE);
	f->variables[3] = 0x5a;
	machine_init(&f->machine);
	clock_init_source(&f->machine.clock, fixture_now, f);
	f->machine.cpu_bus.engine = f;
	f->machine.cpu_bus.intr = fixture_line;
	f->machine.cpu_bus.set_a20 = fixture_line;
	f->machine.cpu_bus.msi = fixture_msi;
	assert_int_equal(board_create(&f->board, &config, &f->machine, NULL), 0);
	machine_reset(&f->machine);
	assert_int_equal(board_start(f->board, NULL), 0);
	return f;
}

static void destroy(struct fixture *f)
{
	board_destroy(f->board);
	machine_finish(&f->machine);
	free(f);
}

static int setup_q35(void **context)
{
	*context = create("q35");
	return 0;
}

static int setup_i440fx(void **context)
{
	*context = create("i440fx");
	return 0;
}

static int teardown(void **context)
{
	destroy(*context);
	return 0;
}

static uint8_t load(struct fixture *f, gpa_t address)
{
	uint8_t value;

	if (guest_memory_read(&f->machine.memory, address, &value, 1) == 0)
		return value;
	return (uint8_t)machine_mmio_read(&f->machine, address, 1);
}

static bool is_ram(struct fixture *f, gpa_t address)
{
	uint8_t value;

	return guest_memory_read(&f->machine.memory, address, &value, 1) == 0;
}

static void store(struct fixture *f, gpa_t address, uint8_t value)
{
	assert_true(guest_memory_write(&f->machine.memory, address, &value, 1) < 0);
	machine_mmio_write(&f->machine, address, 1, value);
}

/* Its array is read as ROM; what is written is in the copy that outlives the machine. */
static void test_flash(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(load(f, VARS_BASE + VARS_SIZE), 0x90);
	assert_int_equal(load(f, VARS_BASE + 3), 0x5a);
	assert_true(is_ram(f, VARS_BASE));
	store(f, VARS_BASE + 4, 0x10);
	assert_false(is_ram(f, VARS_BASE));
	store(f, VARS_BASE + 4, 0x77);
	assert_int_equal(load(f, VARS_BASE + 4), 0x80);
	store(f, VARS_BASE, 0xff);
	assert_true(is_ram(f, VARS_BASE));
	assert_int_equal(load(f, VARS_BASE + 4), 0x77);
	assert_int_equal(f->variables[4], 0x77);
	/* A reset in the middle of an operation. */
	store(f, VARS_BASE, 0x20);
	machine_reset(&f->machine);
	assert_int_equal(load(f, VARS_BASE + 4), 0x77);
	/* The code is no flash memory. */
	store(f, VARS_BASE + VARS_SIZE, 0x70);
	assert_int_equal(load(f, VARS_BASE + VARS_SIZE), 0x90);
}

static void test_states_are_declared_whole(void **context)
{
	struct fixture *f = *context;

	assert_states_are_declared_whole(&f->machine, 18);
}

static void test_save_restore_save(void **context)
{
	struct fixture *f = *context;

	store(f, VARS_BASE, 0x70);
	assert_state_comes_back(&f->machine);
	assert_false(is_ram(f, VARS_BASE));
}

#define pc_tests(name)                                                                             \
	cmocka_unit_test_setup_teardown(name, setup_q35, teardown),                                \
		cmocka_unit_test_setup_teardown(name, setup_i440fx, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pc_tests(test_flash),
		pc_tests(test_states_are_declared_whole),
		pc_tests(test_save_restore_save),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
