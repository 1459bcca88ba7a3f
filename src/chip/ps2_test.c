/*
 * PS/2 keyboard and mouse, alone and behind their controller. Expected bytes are those of the IBM
 * PS/2 Hardware Interface Technical Reference, and of Microsoft's for what came later.
 */
#include "chip/chip_fixture.h"
#include "chip/i8042.h"
#include "chip/i8042_regs.h"
#include "chip/ps2_keys_table.h"

struct fixture {
	struct fake_clock clock;
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
	struct i8042 chip;
	struct line_probe keyboard_irq, aux_irq;
};

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct i8042_lines lines = {
		.keyboard_irq = line_probe_line(&f->keyboard_irq),
		.aux_irq = line_probe_line(&f->aux_irq),
	};

	fake_clock_init(&f->clock);
	fake_clock_advance(&f->clock, NS_PER_S);
	ps2_keyboard_init(&f->keyboard, &f->clock.clock);
	ps2_mouse_init(&f->mouse, &f->clock.clock);
	i8042_init(&f->chip, &lines);
	*context = f;
	return 0;
}

static int setup_plugged(void **context)
{
	struct fixture *f;

	setup(context);
	f = *context;
	i8042_plug(&f->chip, &f->keyboard, &f->mouse);
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

/* Everything that the device or the controller has now must be `bytes`. */
static void expect_keyboard(struct fixture *f, const char *bytes, size_t count)
{
	uint8_t byte;

	for (size_t i = 0; i < count; i++) {
		assert_true(ps2_keyboard_read(&f->keyboard, &byte));
		assert_int_equal(byte, (uint8_t)bytes[i]);
	}
	assert_false(ps2_keyboard_read(&f->keyboard, &byte));
}

static void expect_mouse(struct fixture *f, const char *bytes, size_t count)
{
	uint8_t byte;

	for (size_t i = 0; i < count; i++) {
		assert_true(ps2_mouse_read(&f->mouse, &byte));
		assert_int_equal(byte, (uint8_t)bytes[i]);
	}
	assert_false(ps2_mouse_read(&f->mouse, &byte));
}

static void expect_port(struct fixture *f, const char *bytes, size_t count, uint8_t aux)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(i8042_read(&f->chip, I8042_REG_COMMAND) &
					 (I8042_STATUS_OUTPUT_FULL | I8042_STATUS_AUX),
			I8042_STATUS_OUTPUT_FULL | aux);
		assert_int_equal(i8042_read(&f->chip, I8042_REG_DATA), (uint8_t)bytes[i]);
	}
	assert_false(i8042_read(&f->chip, I8042_REG_COMMAND) & I8042_STATUS_OUTPUT_FULL);
}

#define KEYBOARD(f, bytes)      expect_keyboard(f, bytes, sizeof(bytes) - 1)
#define MOUSE(f, bytes)         expect_mouse(f, bytes, sizeof(bytes) - 1)
#define FROM_KEYBOARD(f, bytes) expect_port(f, bytes, sizeof(bytes) - 1, 0)
#define FROM_MOUSE(f, bytes)    expect_port(f, bytes, sizeof(bytes) - 1, I8042_STATUS_AUX)

static void press(struct fixture *f, unsigned key)
{
	assert_true(ps2_keyboard_key(&f->keyboard, key, true));
}

static void release(struct fixture *f, unsigned key)
{
	assert_true(ps2_keyboard_key(&f->keyboard, key, false));
}

static void to_keyboard(struct fixture *f, uint8_t byte)
{
	ps2_keyboard_write(&f->keyboard, byte);
}

static void to_mouse(struct fixture *f, uint8_t byte)
{
	ps2_mouse_write(&f->mouse, byte);
}

static void test_set_2(void **context)
{
	struct fixture *f = *context;

	press(f, KEY_A);
	release(f, KEY_A);
	KEYBOARD(f, "\x1c\xf0\x1c");
	press(f, KEY_UP);
	release(f, KEY_UP);
	KEYBOARD(f, "\xe0\x75\xe0\xf0\x75");
	press(f, KEY_PAUSE);
	release(f, KEY_PAUSE);
	KEYBOARD(f, "\xe1\x14\x77\xe1\xf0\x14\xf0\x77");
	press(f, KEY_SYSRQ);
	release(f, KEY_SYSRQ);
	KEYBOARD(f, "\xe0\x12\xe0\x7c\xe0\xf0\x7c\xe0\xf0\x12");
	press(f, KEY_LEFTALT);
	press(f, KEY_SYSRQ);
	KEYBOARD(f, "\x11\x84");
	press(f, KEY_SYSRQ); /* is down already */
	KEYBOARD(f, "");
	assert_false(ps2_keyboard_key(&f->keyboard, KEY_F24, true));
}

static void test_sets_1_and_3(void **context)
{
	struct fixture *f = *context;

	to_keyboard(f, 0xf0);
	to_keyboard(f, 1);
	press(f, KEY_A);
	release(f, KEY_A);
	press(f, KEY_DELETE);
	release(f, KEY_DELETE);
	KEYBOARD(f, "\xfa\xfa\x1e\x9e\xe0\x53\xe0\xd3");
	press(f, KEY_PAUSE);
	release(f, KEY_PAUSE);
	KEYBOARD(f, "\xe1\x1d\x45\xe1\x9d\xc5");

	to_keyboard(f, 0xf0);
	to_keyboard(f, 3);
	to_keyboard(f, 0xf0);
	to_keyboard(f, 0);
	KEYBOARD(f, "\xfa\xfa\xfa\xfa\x03");
	press(f, KEY_A); /* typematic: no break code */
	release(f, KEY_A);
	press(f, KEY_LEFTCTRL); /* make and break */
	release(f, KEY_LEFTCTRL);
	press(f, KEY_F1); /* make only */
	release(f, KEY_F1);
	KEYBOARD(f, "\x1c\x11\xf0\x11\x07");
	to_keyboard(f, 0xf8);
	press(f, KEY_A);
	release(f, KEY_A);
	KEYBOARD(f, "\xfa\x1c\xf0\x1c");
	to_keyboard(f, 0xfd);
	to_keyboard(f, 0x1c);
	press(f, KEY_A);
	release(f, KEY_A);
	KEYBOARD(f, "\xfa\xfa\x1c");
	to_keyboard(f, 0xf0); /* ends the list of keys */
	to_keyboard(f, 4);
	KEYBOARD(f, "\xfa\xfe");
}

static void test_keyboard_commands(void **context)
{
	struct fixture *f = *context;

	to_keyboard(f, 0xff);
	KEYBOARD(f, "\xfa\xaa");
	to_keyboard(f, 0xf2);
	KEYBOARD(f, "\xfa\xab\x83");
	to_keyboard(f, 0xee);
	KEYBOARD(f, "\xee");
	to_keyboard(f, 0xfe);
	KEYBOARD(f, "\xee");
	to_keyboard(f, 0xed);
	to_keyboard(f, 0x02);
	KEYBOARD(f, "\xfa\xfa");
	assert_int_equal(f->keyboard.state.leds, PS2_LED_NUM);
	to_keyboard(f, 0xed);
	to_keyboard(f, 0xf4); /* a command instead of the LEDs */
	KEYBOARD(f, "\xfa");
	to_keyboard(f, 0xf5);
	press(f, KEY_A);
	release(f, KEY_A);
	KEYBOARD(f, "\xfa");
	to_keyboard(f, 0xf4);
	press(f, KEY_A);
	KEYBOARD(f, "\xfa\x1c");
	to_keyboard(f, 0xf1);
	KEYBOARD(f, "\xfe");
}

static void test_typematic(void **context)
{
	struct fixture *f = *context;

	press(f, KEY_A);
	KEYBOARD(f, "\x1c");
	fake_clock_advance(&f->clock, 499 * NS_PER_MS);
	KEYBOARD(f, "");
	fake_clock_advance(&f->clock, 2 * NS_PER_MS);
	KEYBOARD(f, "\x1c");
	fake_clock_advance(&f->clock, 90 * NS_PER_MS); /* 10.9 a second: every 91.7 ms */
	KEYBOARD(f, "");
	fake_clock_advance(&f->clock, 2 * NS_PER_MS);
	KEYBOARD(f, "\x1c");
	press(f, KEY_B); /* the last one repeats */
	KEYBOARD(f, "\x32");
	fake_clock_advance(&f->clock, 501 * NS_PER_MS);
	KEYBOARD(f, "\x32");
	fake_clock_advance(&f->clock, 10 * NS_PER_S); /* nobody reads: one is kept */
	KEYBOARD(f, "\x32");
	release(f, KEY_B);
	KEYBOARD(f, "\xf0\x32");
	fake_clock_advance(&f->clock, NS_PER_S);
	KEYBOARD(f, "");
	to_keyboard(f, 0xf3);
	to_keyboard(f, 0x00); /* 30 a second after a quarter of one */
	press(f, KEY_C);
	KEYBOARD(f, "\xfa\xfa\x21");
	fake_clock_advance(&f->clock, 251 * NS_PER_MS);
	KEYBOARD(f, "\x21");
	fake_clock_advance(&f->clock, 34 * NS_PER_MS);
	KEYBOARD(f, "\x21");
}

static void test_keyboard_is_bounded(void **context)
{
	struct fixture *f = *context;
	unsigned taken = 0;

	while (ps2_keyboard_key(&f->keyboard, KEY_A, taken % 2 == 0))
		taken++;
	assert_in_range(taken, 8, 24);
	to_keyboard(f, 0xf2); /* an answer still finds room */
	assert_true(f->keyboard.state.queue.count <= PS2_QUEUE_SIZE);
	to_keyboard(f, 0xff);
	KEYBOARD(f, "\xfa\xaa");
}

/* Up to F10, Linux's key codes are those of set 1. */
static void test_translation(void **context)
{
	(void)context;
	for (unsigned key = 1; key <= KEY_KPDOT; key++) {
		if (ps2_keys[key].set_2)
			assert_int_equal(ps2_translate((uint8_t)ps2_keys[key].set_2), key);
	}
	assert_int_equal(ps2_translate((uint8_t)ps2_keys[KEY_F11].set_2), 0x57);
	assert_int_equal(ps2_translate((uint8_t)ps2_keys[KEY_F12].set_2), 0x58);
	assert_int_equal(ps2_translate((uint8_t)ps2_keys[KEY_102ND].set_2), 0x56);
	assert_int_equal(ps2_translate(0xfa), 0xfa);
}

static void test_mouse_reports(void **context)
{
	struct fixture *f = *context;

	ps2_mouse_act(&f->mouse, 5, 5, 0, 0); /* not enabled */
	MOUSE(f, "");
	to_mouse(f, 0xf4);
	MOUSE(f, "\xfa");
	ps2_mouse_act(&f->mouse, 5, 3, 0, PS2_BUTTON_LEFT);
	MOUSE(f, "\x29\x05\xfd"); /* down is negative */
	fake_clock_advance(&f->clock, 10 * NS_PER_MS);
	ps2_mouse_act(&f->mouse, -300, 0, 0, 0);
	MOUSE(f, "\x18\x01\x00"); /* -255 */
	fake_clock_advance(&f->clock, 10 * NS_PER_MS);
	MOUSE(f, "\x18\xd3\x00"); /* and the rest */
	ps2_mouse_act(&f->mouse, 1, 0, 0, 0);
	MOUSE(f, ""); /* 100 reports a second */
	fake_clock_advance(&f->clock, 10 * NS_PER_MS);
	MOUSE(f, "\x08\x01\x00");
}

static void test_mouse_commands(void **context)
{
	struct fixture *f = *context;

	to_mouse(f, 0xff);
	MOUSE(f, "\xfa\xaa\x00");
	to_mouse(f, 0xe9);
	MOUSE(f, "\xfa\x00\x02\x64");
	to_mouse(f, 0xe7);
	to_mouse(f, 0xe8);
	MOUSE(f, "\xfa"); /* the first answer was dropped for the second command's */
	to_mouse(f, 0x03);
	MOUSE(f, "\xfa");
	to_mouse(f, 0xf3);
	to_mouse(f, 0x28);
	MOUSE(f, "\xfa\xfa");
	to_mouse(f, 0xf3);
	to_mouse(f, 0x29); /* no such rate */
	MOUSE(f, "\xfa\xfc");
	to_mouse(f, 0xe9);
	MOUSE(f, "\xfa\x10\x03\x28");
	to_mouse(f, 0xf0);
	MOUSE(f, "\xfa");
	ps2_mouse_act(&f->mouse, 1, 0, 0, PS2_BUTTON_RIGHT);
	MOUSE(f, "");
	to_mouse(f, 0xeb);
	MOUSE(f, "\xfa\x0a\x01\x00");
	to_mouse(f, 0xee);
	MOUSE(f, "\xfa");
	to_mouse(f, 0xeb);
	to_mouse(f, 0x12);
	MOUSE(f, "\xeb\x12");
	to_mouse(f, 0xec);
	MOUSE(f, "\xfa");
	to_mouse(f, 0xf6);
	to_mouse(f, 0xe9);
	MOUSE(f, "\xfa\x01\x02\x64");
	to_mouse(f, 0x55);
	MOUSE(f, "\xfe");
}

static void set_rates(struct fixture *f, uint8_t one, uint8_t two, uint8_t three)
{
	const uint8_t rates[] = { one, two, three };

	for (unsigned i = 0; i < 3; i++) {
		to_mouse(f, 0xf3);
		to_mouse(f, rates[i]);
		MOUSE(f, "\xfa\xfa");
	}
}

static void test_wheel_and_five_buttons(void **context)
{
	struct fixture *f = *context;

	set_rates(f, 200, 200, 80); /* not without the wheel first */
	to_mouse(f, 0xf2);
	MOUSE(f, "\xfa\x00");
	set_rates(f, 200, 100, 80);
	to_mouse(f, 0xf2);
	MOUSE(f, "\xfa\x03");
	to_mouse(f, 0xf4);
	MOUSE(f, "\xfa");
	ps2_mouse_act(&f->mouse, 0, 0, 1, 0);
	MOUSE(f, "\x08\x00\x00\xff");
	set_rates(f, 200, 200, 80);
	to_mouse(f, 0xf2);
	MOUSE(f, "\xfa\x04");
	fake_clock_advance(&f->clock, NS_PER_S);
	ps2_mouse_act(&f->mouse, 0, 0, -1, PS2_BUTTON_SIDE);
	MOUSE(f, "\x08\x00\x00\x11");
	fake_clock_advance(&f->clock, NS_PER_S);
	ps2_mouse_act(&f->mouse, 0, 0, 0, PS2_BUTTON_EXTRA);
	MOUSE(f, "\x08\x00\x00\x20");
}

/* Behind the controller. */

static void test_controller_translates(void **context)
{
	struct fixture *f = *context;

	i8042_write(&f->chip, I8042_REG_DATA, 0xf2); /* opens the port */
	FROM_KEYBOARD(f, "\xfa\xab\x41");
	press(f, KEY_UP);
	release(f, KEY_UP);
	FROM_KEYBOARD(f, "\xe0\x48\xe0\xc8");
	i8042_write(&f->chip, I8042_REG_COMMAND, 0x60);
	i8042_write(&f->chip, I8042_REG_DATA, 0x04);
	press(f, KEY_F7);
	release(f, KEY_F7);
	FROM_KEYBOARD(f, "\x83\xf0\x83");
}

static void test_controller_interrupts(void **context)
{
	struct fixture *f = *context;

	i8042_write(&f->chip, I8042_REG_COMMAND, 0x60);
	i8042_write(&f->chip, I8042_REG_DATA, 0x47);
	press(f, KEY_A);
	release(f, KEY_A);
	assert_true(f->keyboard_irq.level);
	assert_int_equal(f->keyboard_irq.rises, 1);
	i8042_read(&f->chip, I8042_REG_DATA);
	assert_true(f->keyboard_irq.level);
	assert_int_equal(f->keyboard_irq.rises, 2); /* an edge for each byte */
	i8042_read(&f->chip, I8042_REG_DATA);
	assert_false(f->keyboard_irq.level);
	i8042_write(&f->chip, I8042_REG_COMMAND, 0xd4);
	i8042_write(&f->chip, I8042_REG_DATA, 0xf4);
	assert_true(f->aux_irq.level);
	assert_false(f->keyboard_irq.level);
	FROM_MOUSE(f, "\xfa");
}

static void test_controller_holds_back(void **context)
{
	struct fixture *f = *context;

	i8042_write(&f->chip, I8042_REG_COMMAND, 0xae);
	press(f, KEY_A);
	press(f, KEY_B);
	i8042_write(&f->chip, I8042_REG_COMMAND, 0xad);
	/* What was in the output buffer stays; the answer comes next; the rest waits for the port.
	 */
	i8042_write(&f->chip, I8042_REG_COMMAND, 0x20);
	FROM_KEYBOARD(f, "\x1e\x74");
	i8042_write(&f->chip, I8042_REG_COMMAND, 0xae);
	FROM_KEYBOARD(f, "\x30");
	i8042_write(&f->chip, I8042_REG_COMMAND, 0xd3); /* the loop of the auxiliary port */
	i8042_write(&f->chip, I8042_REG_DATA, 0xa5);
	FROM_MOUSE(f, "\xa5");
}

static void test_state_tables(void **context)
{
	struct error err = { 0 };

	(void)context;
	assert_true(state_covers(i8042_type.state, &err));
	assert_true(state_covers(ps2_keyboard_type.state, &err));
	assert_true(state_covers(ps2_mouse_type.state, &err));
}

#define ps2_test(name)     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define plugged_test(name) cmocka_unit_test_setup_teardown(name, setup_plugged, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ps2_test(test_set_2),
		ps2_test(test_sets_1_and_3),
		ps2_test(test_keyboard_commands),
		ps2_test(test_typematic),
		ps2_test(test_keyboard_is_bounded),
		cmocka_unit_test(test_translation),
		ps2_test(test_mouse_reports),
		ps2_test(test_mouse_commands),
		ps2_test(test_wheel_and_five_buttons),
		plugged_test(test_controller_translates),
		plugged_test(test_controller_interrupts),
		plugged_test(test_controller_holds_back),
		cmocka_unit_test(test_state_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
