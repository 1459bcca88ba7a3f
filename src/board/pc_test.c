/*
 * The board "pc" with firmware, on both chipsets: flash memory as the processors see it, SMRAM,
 * TSEG and their locks, and for every device that it has that the state is declared whole and
 * survives a restore.
 */
#include "board/pc.h"

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
	unsigned smis;
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

static void fixture_smi(void *engine)
{
	((struct fixture *)engine)->smis++;
}

static struct fixture *create(const char *chipset, bool has_floppies, bool smm)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct board_config config = {
		.name = "pc",
		.chipset = chipset,
		.memory_bytes = UINT64_C(64) << 20,
		.nr_vcpus = 2,
		.debug_exit_port = -1,
		.has_floppies = has_floppies,
		.firmware = { .code = f->code,
			.code_size = CODE_SIZE,
			.variables = f->variables,
			.variables_size = VARS_SIZE,
			.smm = smm },
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
	f->machine.cpu_bus.smi = fixture_smi;
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
	*context = create("q35", true, false);
	return 0;
}

static int setup_i440fx(void **context)
{
	*context = create("i440fx", true, false);
	return 0;
}

static int setup_smm(void **context)
{
	*context = create("q35", true, true);
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

	assert_states_are_declared_whole(&f->machine, 22);
}

static void test_save_restore_save(void **context)
{
	struct fixture *f = *context;

	store(f, VARS_BASE, 0x70);
	assert_state_comes_back(&f->machine);
	assert_false(is_ram(f, VARS_BASE));
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	machine_pio_write(&f->machine, port, 1, value);
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	return (uint8_t)machine_pio_read(&f->machine, port, 1);
}

/* Channel 2, to which the floppy controller is wired, at `page`:`address`. */
static void program_dma(struct fixture *f, uint8_t mode, uint8_t page, uint16_t address)
{
	out(f, 0x0a, 6);
	out(f, 0x0c, 0);
	out(f, 0x0b, mode);
	out(f, 0x04, (uint8_t)address);
	out(f, 0x04, (uint8_t)(address >> 8));
	out(f, 0x05, 3);
	out(f, 0x05, 0);
	out(f, 0x81, page);
	out(f, 0x0a, 2);
}

static void test_dma(void **context)
{
	struct fixture *f = *context;
	struct at_dma *dma = &((struct pc *)f->board)->dma;
	uint8_t bytes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	bool terminal;

	program_dma(f, 0x46, 2, 0x3000);
	assert_int_equal(at_dma_move(dma, 2, bytes, sizeof(bytes), true, &terminal), 4);
	assert_true(terminal);
	assert_int_equal(load(f, 0x23000), 1);
	assert_int_equal(load(f, 0x23003), 4);
	assert_int_equal(load(f, 0x23004), 0);
	assert_int_equal(in(f, 0x08), 0x04);
	assert_int_equal(at_dma_move(dma, 2, bytes, sizeof(bytes), true, &terminal), 0);
	assert_false(terminal);
	/* Back, downwards. */
	program_dma(f, 0x6a, 2, 0x3003);
	assert_int_equal(at_dma_move(dma, 2, bytes, sizeof(bytes), false, &terminal), 4);
	assert_memory_equal(bytes, ((uint8_t[]){ 4, 3, 2, 1, 5, 6, 7, 8 }), sizeof(bytes));
	/* The screen's registers are not RAM. */
	program_dma(f, 0x4a, 0x0a, 0);
	assert_int_equal(at_dma_move(dma, 2, bytes, 4, false, &terminal), 4);
	assert_memory_equal(bytes, ((uint8_t[]){ 0xff, 0xff, 0xff, 0xff, 5 }), 5);
	/* Registers of the second chip are two apart, and no channel has the page at 0x80. */
	out(f, 0xd8, 0);
	out(f, 0xc4, 0x34);
	out(f, 0xc4, 0x12);
	out(f, 0xd8, 0);
	assert_int_equal(in(f, 0xc4), 0x34);
	assert_int_equal(in(f, 0xc4), 0x12);
	out(f, 0x80, 0x77);
	assert_int_equal(in(f, 0x80), 0x77);
}

static void test_floppy_controller(void **context)
{
	struct fixture *f = *context, *without = create("q35", false, false);

	assert_int_equal(in(f, 0x3f2), 0);
	out(f, 0x3f2, 0x0c);
	assert_int_equal(in(f, 0x3f4), 0x80);
	assert_int_equal(in(f, 0x3f7), 0);
	/* 0x3f6 is IDE's, of which there is none. */
	assert_int_equal(in(f, 0x3f6), 0xff);
	/* Not asked for, not there. */
	for (uint16_t port = 0x3f0; port < 0x3f8; port++)
		assert_int_equal(in(without, port), 0xff);
	destroy(without);
}

/* What a BIOS tells systems of the drives. */
static void test_floppy_kinds(void **context)
{
	struct fixture *f = *context;
	static const struct {
		uint8_t kinds, equipment;
	} expected[] = { { 0x00, 0x02 }, { 0x40, 0x03 }, { 0x45, 0x43 } };

	for (unsigned drives = 0; drives <= 2; drives++) {
		if (drives > 0)
			assert_int_equal(i82077_plug(board_fdc(f->board), drives - 1, "floppy",
						 drives == 2, NULL),
				0);
		assert_int_equal(board_start(f->board, NULL), 0);
		out(f, 0x70, 0x10);
		assert_int_equal(in(f, 0x71), expected[drives].kinds);
		out(f, 0x70, 0x14);
		assert_int_equal(in(f, 0x71), expected[drives].equipment);
	}
}

static uint32_t config_read(struct fixture *f, unsigned device, unsigned offset, unsigned size)
{
	machine_pio_write(&f->machine, 0xcf8, 4, 0x80000000 | device << 11 | (offset & 0xfc));
	return (uint32_t)machine_pio_read(&f->machine, 0xcfc + offset % 4, size);
}

static void config_write(
	struct fixture *f, unsigned device, unsigned offset, unsigned size, uint32_t value)
{
	machine_pio_write(&f->machine, 0xcf8, 4, 0x80000000 | device << 11 | (offset & 0xfc));
	machine_pio_write(&f->machine, 0xcfc + offset % 4, size, value);
}

#define MCH     0
#define LPC     31
#define SMRAM   0x9d
#define ESMRAMC 0x9e
#define LOW_END (UINT64_C(64) << 20)

static bool is_smram(struct fixture *f, gpa_t address)
{
	struct ram_place place;

	return !is_ram(f, address) && guest_memory_find_smm(&f->machine.memory, address, &place) &&
	       !place.read_only;
}

/* 316966, 5.1.35: T_EN with G_SMRAME makes the last 1, 2 or 8 MiB SMM's; QEMU's fourth size is told
 * in a register of its own. */
static void test_tseg(void **context)
{
	static const unsigned mib[] = { 1, 2, 8, 16 };
	struct fixture *f = *context;

	config_write(f, MCH, 0x50, 2, 0xffff);
	assert_int_equal(config_read(f, MCH, 0x50, 2), 16);
	assert_int_equal(config_read(f, MCH, ESMRAMC, 1), 0x38);
	for (unsigned i = 0; i < ARRAY_SIZE(mib); i++) {
		gpa_t base = LOW_END - ((uint64_t)mib[i] << 20);

		config_write(f, MCH, ESMRAMC, 1, 1 | i << 1);
		assert_true(is_ram(f, LOW_END - 1));
		config_write(f, MCH, SMRAM, 1, 0x08);
		assert_true(is_smram(f, LOW_END - 1));
		assert_true(is_smram(f, base));
		assert_true(is_ram(f, base - 1));
		assert_int_equal(load(f, base), 0xff);
		config_write(f, MCH, ESMRAMC, 1, i << 1);
		assert_true(is_ram(f, base));
		config_write(f, MCH, SMRAM, 1, 0);
	}
}

/* 316966, 5.1.34: D_LCK clears D_OPEN and makes what could open SMRAM again read-only until a
 * reset.
 */
static void test_smram_is_locked(void **context)
{
	struct fixture *f = *context;

	config_write(f, MCH, SMRAM, 1, 0x08);
	assert_true(is_smram(f, 0xa0000));
	config_write(f, MCH, SMRAM, 1, 0x48);
	assert_true(is_ram(f, 0xa0000));
	config_write(f, MCH, ESMRAMC, 1, 0x07);
	config_write(f, MCH, SMRAM, 1, 0x58);
	assert_int_equal(config_read(f, MCH, SMRAM, 1), 0x1a);
	assert_true(is_smram(f, 0xa0000));
	config_write(f, MCH, SMRAM, 1, 0x48);
	config_write(f, MCH, ESMRAMC, 1, 0x00);
	config_write(f, MCH, SMRAM - 1, 4, 0);
	config_write(f, MCH, 0xac, 4, UINT32_MAX);
	assert_int_equal(config_read(f, MCH, SMRAM, 1), 0x1a);
	assert_int_equal(config_read(f, MCH, ESMRAMC, 1), 0x3f);
	assert_int_equal(config_read(f, MCH, 0xac, 4), 0);
	assert_true(is_smram(f, 0xa0000));
	assert_true(is_smram(f, LOW_END - 1));
	machine_reset(&f->machine);
	assert_int_equal(config_read(f, MCH, SMRAM, 1), 0x02);
	assert_true(is_ram(f, LOW_END - 1));
	config_write(f, MCH, SMRAM, 1, 0x48);
	assert_true(is_ram(f, 0xa0000));
}

static void test_software_smi(void **context)
{
	struct fixture *f = *context;

	config_write(f, LPC, 0x40, 4, 0x600);
	config_write(f, LPC, 0x44, 1, 0x80);
	out(f, 0xb2, 1);
	assert_int_equal(f->smis, 0);
	machine_pio_write(&f->machine, 0x630, 4, 0x21);
	out(f, 0xb3, 0x33);
	out(f, 0xb2, 1);
	assert_int_equal(f->smis, 1);
	assert_int_equal(in(f, 0xb3), 0x33);
	assert_int_equal(machine_pio_read(&f->machine, 0x634, 4), 0x20);
	/* SMI_LOCK. */
	config_write(f, LPC, 0xa0, 2, 0x10);
	machine_pio_write(&f->machine, 0x630, 4, 0x20);
	assert_int_equal(machine_pio_read(&f->machine, 0x630, 4), 0x21);
	config_write(f, LPC, 0xa0, 2, 0);
	assert_int_equal(config_read(f, LPC, 0xa0, 2), 0x10);
	machine_reset(&f->machine);
	assert_int_equal(config_read(f, LPC, 0xa0, 2), 0);
	out(f, 0xb2, 1);
	assert_int_equal(f->smis, 1);
}

/* What is not SMM sees the array, and its commands are nothing. */
static void test_flash_of_smm(void **context)
{
	struct fixture *f = *context;

	store(f, VARS_BASE + 3, 0x10);
	store(f, VARS_BASE + 3, 0);
	assert_int_equal(load(f, VARS_BASE + 3), 0x5a);
	assert_true(is_ram(f, VARS_BASE));
	machine_mmio_write_smm(&f->machine, VARS_BASE + 3, 1, 0x10);
	machine_mmio_write_smm(&f->machine, VARS_BASE + 3, 1, 0x0a);
	assert_int_equal(machine_mmio_read_smm(&f->machine, VARS_BASE + 3, 1), 0x80);
	assert_int_equal(load(f, VARS_BASE + 3), 0x0a);
	store(f, VARS_BASE + 3, 0xff);
	assert_int_equal(machine_mmio_read_smm(&f->machine, VARS_BASE + 3, 1), 0x80);
	machine_mmio_write_smm(&f->machine, VARS_BASE, 1, 0xff);
	assert_int_equal(f->variables[3], 0x0a);
}

/* The state of what is locked is restored with it. */
static void test_locks_come_back(void **context)
{
	struct fixture *f = *context;

	config_write(f, MCH, ESMRAMC, 1, 0x03);
	config_write(f, MCH, SMRAM, 1, 0x18);
	config_write(f, LPC, 0xa0, 2, 0x10);
	assert_state_comes_back(&f->machine);
	assert_true(is_smram(f, LOW_END - 1));
	config_write(f, MCH, ESMRAMC, 1, 0);
	config_write(f, LPC, 0xa0, 2, 0);
	assert_int_equal(config_read(f, MCH, ESMRAMC, 1), 0x3b);
	assert_int_equal(config_read(f, LPC, 0xa0, 2), 0x10);
}

static void test_smm_is_q35s(void **context)
{
	struct board_config config = {
		.name = "pc",
		.chipset = "i440fx",
		.memory_bytes = UINT64_C(64) << 20,
		.nr_vcpus = 1,
		.debug_exit_port = -1,
		.firmware = { .code = "", .code_size = 4096, .smm = true },
	};
	struct machine machine;
	struct board *board;
	struct error err = { 0 };

	(void)context;
	machine_init(&machine);
	assert_int_not_equal(board_create(&board, &config, &machine, &err), 0);
	assert_non_null(strstr(err.text, "chipset=q35"));
	machine_finish(&machine);
	machine_init(&machine);
	config.chipset = "q35";
	config.memory_bytes = UINT64_C(32) << 20;
	assert_int_not_equal(board_create(&board, &config, &machine, &err), 0);
	machine_finish(&machine);
}

#define smm_test(name) cmocka_unit_test_setup_teardown(name, setup_smm, teardown)
#define pc_tests(name)                                                                             \
	cmocka_unit_test_setup_teardown(name, setup_q35, teardown),                                \
		cmocka_unit_test_setup_teardown(name, setup_i440fx, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pc_tests(test_flash),
		pc_tests(test_states_are_declared_whole),
		pc_tests(test_save_restore_save),
		pc_tests(test_dma),
		pc_tests(test_floppy_controller),
		pc_tests(test_floppy_kinds),
		smm_test(test_states_are_declared_whole),
		smm_test(test_tseg),
		smm_test(test_smram_is_locked),
		smm_test(test_software_smi),
		smm_test(test_flash_of_smm),
		smm_test(test_locks_come_back),
		cmocka_unit_test(test_smm_is_q35s),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
