/*
 * Fuzz target: a guest's accesses to the PS/2 controller with a keyboard and a mouse, while
 * somebody types and points. The states must be ones that a guest could be in, and an answer always
 * comes out.
 */
#include "chip/chip_fixture.h"
#include "chip/i8042.h"
#include "chip/i8042_regs.h"

static void check(const struct device_type *type, void *object)
{
	if (!state_check(type->state, (char *)object + type->state_offset, NULL))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const struct i8042_lines lines = { 0 };
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
	struct i8042 chip;
	struct fake_clock clock;
	unsigned left;

	fake_clock_init(&clock);
	ps2_keyboard_init(&keyboard, &clock.clock);
	ps2_mouse_init(&mouse, &clock.clock);
	i8042_init(&chip, &lines);
	i8042_plug(&chip, &keyboard, &mouse);
	for (size_t i = 0; i + 2 < size; i += 3) {
		uint8_t value = bytes[i + 1], other = bytes[i + 2];

		switch (bytes[i] % 8) {
		case 0:
		case 1: i8042_write(&chip, I8042_REG_DATA, value); break;
		case 2: i8042_write(&chip, I8042_REG_COMMAND, value); break;
		case 3: i8042_read(&chip, value & 1); break;
		case 4: ps2_keyboard_key(&keyboard, value, other & 1); break;
		case 5:
			ps2_mouse_act(&mouse, (int8_t)value * 100, (int8_t)other * 100,
				(int8_t)value, other);
			break;
		case 6: fake_clock_advance(&clock, (ns_t)value * other * NS_PER_MS); break;
		case 7:
			i8042_write(&chip, I8042_REG_COMMAND, I8042_WRITE_AUX);
			i8042_write(&chip, I8042_REG_DATA, value);
			break;
		}
	}
	check(&i8042_type, &chip);
	check(&ps2_keyboard_type, &keyboard);
	check(&ps2_mouse_type, &mouse);
	/* Nothing more comes when everything has been read and time stands still. */
	for (left = 0; left < 4 * PS2_QUEUE_SIZE; left++) {
		if (!(i8042_read(&chip, I8042_REG_COMMAND) & I8042_STATUS_OUTPUT_FULL))
			return 0;
		i8042_read(&chip, I8042_REG_DATA);
	}
	abort();
}
