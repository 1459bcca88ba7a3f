/*
 * Fuzz target: what a guest, the console and time can do to the chips of a board.
 *
 * The first byte picks the chips whose ports are used, so that the fuzzer can go deep into one;
 * and its upper half the board: micro, or pc with either chipset, with SMM or without;
 * then each byte picks an action; one of them restores a forged state. Afterwards every device must
 * be in a state that its table accepts, and must be the same after being saved and restored.
 */
#include "board/board.h"

#include "base/bits.h"
#include "machine/fuzz.h"

struct port_group {
	uint16_t ports[9];
	unsigned nr_ports;
};

static const struct port_group groups[] = {
	{ { 0x40, 0x41, 0x42, 0x43, 0x61 }, 5 },
	{ { 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 }, 6 },
	{ { 0x70, 0x71 }, 2 },
	{ { 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff }, 8 },
	{ { 0x60, 0x64, 0x92, 0xcf9 }, 4 },
	{ { 0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x608, 0x60b }, 8 },
	{ { 0x40, 0x43, 0x20, 0x21, 0x71, 0x3f8, 0x3f9, 0x3fc, 0x600 }, 9 },
	{ { 0xcf8, 0xcf9, 0xcfc, 0xcfe, 0x610, 0x612, 0x600, 0x620, 0x628 }, 9 },
	{ { 0xcf8, 0xcfc, 0xcfd, 0xcfe, 0xcff, 0xae00, 0xae08, 0xafe0, 0x634 }, 9 },
	{ { 0x510, 0x511, 0x514, 0x518, 0x402, 0x505 }, 6 },
	{ { 0x0, 0x4, 0x5, 0x8, 0xb, 0xf, 0x81, 0xc4, 0xda }, 9 },
	{ { 0x3f2, 0x3f4, 0x3f5, 0x3f7, 0x5, 0xa, 0xb, 0xc, 0x81 }, 9 },
	{ { 0xb2, 0xb3, 0x630, 0x634, 0xcf8, 0xcfc, 0xcfd, 0xcfe, 0x511 }, 9 },
	{ { 0x378, 0x379, 0x37a, 0x2f8, 0x2fc, 0x3e9, 0x3ec, 0x2e8, 0x2ec }, 9 },
};

struct fuzz {
	struct machine machine;
	struct board *board;
	ns_t now_ns;
	size_t outside_room;
};

static ns_t fuzz_now(void *context)
{
	return ((struct fuzz *)context)->now_ns;
}

static size_t fuzz_char_write(void *context, const uint8_t *bytes, size_t size)
{
	struct fuzz *fuzz = context;
	size_t taken = size < fuzz->outside_room ? size : fuzz->outside_room;

	(void)bytes;
	fuzz->outside_room -= taken;
	return taken;
}

/* A host that wakes up late, at most 100 times. */
static void advance(struct fuzz *fuzz, ns_t ns)
{
	ns_t end_ns = fuzz->now_ns + ns;

	for (unsigned i = 0; i < 100; i++) {
		if (clock_next_deadline(&fuzz->machine.clock) > end_ns)
			break;
		if (clock_next_deadline(&fuzz->machine.clock) > fuzz->now_ns)
			fuzz->now_ns = clock_next_deadline(&fuzz->machine.clock);
		clock_run(&fuzz->machine.clock);
	}
	fuzz->now_ns = end_ns;
	clock_run(&fuzz->machine.clock);
}

/* A restored state that nobody saved: a change that the table accepts, at a random place. */
static void poke_state(struct fuzz *fuzz, struct fuzz_input *input)
{
	const struct device *device =
		&fuzz->machine.devices[fuzz_u8(input) % fuzz->machine.nr_devices];
	uint8_t *state = device_state(device);
	uint8_t *at = state + fuzz_u8(input) % device->type->state->size;
	uint8_t before = *at;

	*at = fuzz_u8(input);
	if (!state_check(device->type->state, state, NULL))
		*at = before;
	if (device->type->restored)
		device->type->restored(device->object);
}

static void act(struct fuzz *fuzz, const struct port_group *group, struct fuzz_input *input)
{
	struct machine *machine = &fuzz->machine;
	uint8_t action = fuzz_u8(input);
	uint16_t port = group->ports[fuzz_u8(input) % group->nr_ports];
	uint8_t text[20] = "0123456789abcdefghi";

	switch (action % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4: machine_pio_write(machine, port, 1, fuzz_u8(input)); break;
	case 5: machine_pio_write(machine, port, 1u << action / 16 % 3, fuzz_u32(input)); break;
	case 6:
	case 7: machine_pio_read(machine, port, 1); break;
	case 8: machine_pio_read(machine, port, 1u << action / 16 % 3); break;
	case 9: advance(fuzz, fuzz_u8(input) * 1000); break;
	case 10: advance(fuzz, fuzz_u32(input)); break;
	case 11: advance(fuzz, (ns_t)(fuzz_u32(input) & BITS(19, 0)) * NS_PER_S); break;
	case 12:
		machine_mmio_write(machine, 0xfec00000 + (fuzz_u8(input) & 0x7f),
			1u << action / 16 % 4, fuzz_u32(input));
		break;
	case 13:
		if (action & 0x80)
			poke_state(fuzz, input);
		machine_mmio_read(machine, 0xfec00000 + fuzz_u8(input), 1u << action / 16 % 4);
		break;
	case 14:
		machine->cpu_bus.acknowledge(machine->cpu_bus.board);
		machine->cpu_bus.end_of_interrupt(machine->cpu_bus.board, fuzz_u8(input));
		break;
	case 15:
		fuzz->outside_room = fuzz_u8(input);
		board_line_receive(fuzz->board, (enum board_line)(action / 16 % BOARD_NR_LINES),
			text, fuzz_u8(input) % sizeof(text));
		for (unsigned i = 0; i < BOARD_NR_LINES; i++)
			board_line_writable(fuzz->board, (enum board_line)i);
		if (action & 0x80)
			board_line_receive_break(fuzz->board, BOARD_COM1);
		if (action & 0x40)
			board_power_button(fuzz->board);
		board_renew_generation(fuzz->board);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const uint8_t rom[128 << 10];
	struct fuzz fuzz = { .outside_room = 100 };
	struct fuzz_input input = { bytes, size };
	struct board_config config = {
		.name = "micro",
		.memory_bytes = 1 << 20,
		.nr_vcpus = 1,
		.debug_exit_port = 0xf4,
		.has_pci = true,
		.com1 = { .write = fuzz_char_write, .context = &fuzz },
		.has_pvpanic = true,
		.has_generation = true,
		.has_floppies = true,
		.wall_clock_ns = INT64_C(1700000000123456789),
	};
	uint8_t first = fuzz_u8(&input);
	const struct port_group *group = &groups[first % 128 % ARRAY_SIZE(groups)];

	for (unsigned i = BOARD_COM2; i < BOARD_NR_LINES; i++)
		config.lines[i] = (struct board_line_config){ true, config.com1 };
	if (first & 128) {
		config.name = "pc";
		config.chipset = first & 64 ? "i440fx" : "q35";
		config.memory_bytes = 4 << 20;
		config.firmware = (struct board_firmware){ rom, sizeof(rom) };
		config.firmware.smm = (first & 96) == 32;
		if (config.firmware.smm)
			config.memory_bytes = 64 << 20;
	}

	log_set_level(LOG_ERROR);
	machine_init(&fuzz.machine);
	clock_init_source(&fuzz.machine.clock, fuzz_now, &fuzz);
	if (board_create(&fuzz.board, &config, &fuzz.machine, NULL) < 0)
		abort();
	machine_reset(&fuzz.machine);
	if (board_start(fuzz.board, NULL) < 0)
		abort();
	while (input.left > 0)
		act(&fuzz, group, &input);
	fuzz_check_states(&fuzz.machine, true);
	board_destroy(fuzz.board);
	machine_finish(&fuzz.machine);
	return 0;
}
