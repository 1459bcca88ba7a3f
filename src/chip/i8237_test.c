/*
 * The 8237A against its data sheet (231466), and the 82C37A's (2004) registers that can be read.
 */
#include "chip/chip_fixture.h"
#include "chip/i8237.h"
#include "chip/i8237_regs.h"

/* Single mode, as a PC uses it. */
#define MODE(channel, transfer) ((uint8_t)(0x40 | (transfer) << 2 | (channel)))

static int setup(void **context)
{
	struct i8237 *chip = calloc(1, sizeof(*chip));

	i8237_init(chip);
	*context = chip;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static void put_word(struct i8237 *chip, unsigned reg, uint16_t value)
{
	i8237_write(chip, I8237_REG_FLIP_FLOP, 0);
	i8237_write(chip, reg, (uint8_t)value);
	i8237_write(chip, reg, (uint8_t)(value >> 8));
}

static uint16_t get_word(struct i8237 *chip, unsigned reg)
{
	uint8_t low;

	i8237_write(chip, I8237_REG_FLIP_FLOP, 0);
	low = i8237_read(chip, reg);
	return (uint16_t)(i8237_read(chip, reg) << 8 | low);
}

static void program(
	struct i8237 *chip, unsigned channel, uint8_t mode, uint16_t address, uint16_t count)
{
	i8237_write(chip, I8237_REG_MASK_BIT, (uint8_t)(4 | channel));
	i8237_write(chip, I8237_REG_MODE, mode);
	put_word(chip, 2 * channel, address);
	put_word(chip, 2 * channel + 1, count);
	i8237_write(chip, I8237_REG_MASK_BIT, (uint8_t)channel);
}

static void test_reset_masks_all(void **context)
{
	struct i8237 *chip = *context;

	assert_int_equal(i8237_read(chip, I8237_REG_MASK), 0xff);
	assert_int_equal(i8237_read(chip, I8237_REG_STATUS), 0);
	for (unsigned i = 0; i < I8237_NR_CHANNELS; i++)
		assert_int_equal(i8237_request(chip, i, 1).units, 0);
}

static void test_a_run(void **context)
{
	struct i8237 *chip = *context;
	struct i8237_run run;

	/* A count of n is n + 1 transfers. */
	program(chip, 2, MODE(2, 1), 0x1000, 0x1ff);
	run = i8237_request(chip, 2, 256);
	assert_int_equal(run.units, 256);
	assert_int_equal(run.address, 0x1000);
	assert_int_equal(run.transfer, I8237_WRITE_MEMORY);
	assert_false(run.terminal);
	assert_int_equal(get_word(chip, 4), 0x1100);
	assert_int_equal(get_word(chip, 5), 0xff);
	run = i8237_request(chip, 2, 1000);
	assert_int_equal(run.units, 256);
	assert_int_equal(run.address, 0x1100);
	assert_true(run.terminal);
	/* The count has gone past zero, and the channel is masked. */
	assert_int_equal(get_word(chip, 5), 0xffff);
	assert_int_equal(i8237_read(chip, I8237_REG_MASK), 0xff);
	assert_int_equal(i8237_request(chip, 2, 1).units, 0);
	assert_int_equal(i8237_read(chip, I8237_REG_STATUS), 0x04);
	assert_int_equal(i8237_read(chip, I8237_REG_STATUS), 0);
}

static void test_autoinitialization(void **context)
{
	struct i8237 *chip = *context;

	program(chip, 1, MODE(1, 2) | I8237_MODE_AUTO, 0x8000, 9);
	for (unsigned i = 0; i < 3; i++) {
		struct i8237_run run = i8237_request(chip, 1, 100);

		assert_int_equal(run.units, 10);
		assert_int_equal(run.address, 0x8000);
		assert_int_equal(run.transfer, I8237_READ_MEMORY);
		assert_true(run.terminal);
	}
	assert_int_equal(i8237_read(chip, I8237_REG_MASK) & 2, 0);
	assert_int_equal(get_word(chip, 3), 9);
}

static void test_decrement(void **context)
{
	struct i8237 *chip = *context;
	struct i8237_run run;

	program(chip, 0, MODE(0, 1) | I8237_MODE_DECREMENT, 3, 0xff);
	run = i8237_request(chip, 0, 100);
	/* Down to address 0; the next begins at the segment's end. */
	assert_true(run.decrement);
	assert_int_equal(run.units, 4);
	assert_int_equal(run.address, 3);
	run = i8237_request(chip, 0, 100);
	assert_int_equal(run.address, 0xffff);
	assert_int_equal(run.units, 100);
}

static void test_addresses_wrap(void **context)
{
	struct i8237 *chip = *context;

	program(chip, 3, MODE(3, 0), 0xfff0, 0xffff);
	assert_int_equal(i8237_request(chip, 3, 0x100).units, 0x10);
	assert_int_equal(i8237_request(chip, 3, 0x100).address, 0);
	assert_int_equal(i8237_request(chip, 3, 1).transfer, I8237_VERIFY);
}

static void test_what_holds_a_channel_up(void **context)
{
	struct i8237 *chip = *context;

	program(chip, 2, MODE(2, 1), 0, 100);
	i8237_write(chip, I8237_REG_COMMAND, I8237_COMMAND_DISABLE);
	assert_int_equal(i8237_request(chip, 2, 1).units, 0);
	assert_int_equal(i8237_read(chip, I8237_REG_COMMAND_READ), I8237_COMMAND_DISABLE);
	i8237_write(chip, I8237_REG_COMMAND, 0);
	i8237_write(chip, I8237_REG_MASK, 0x4);
	assert_int_equal(i8237_request(chip, 2, 1).units, 0);
	i8237_write(chip, I8237_REG_CLEAR_MASK, 0);
	assert_int_equal(i8237_request(chip, 2, 1).units, 1);
	i8237_write(chip, I8237_REG_MODE, 0xc2); /* cascade */
	assert_int_equal(i8237_request(chip, 2, 1).units, 0);
	i8237_write(chip, I8237_REG_MASTER_CLEAR, 0);
	assert_int_equal(i8237_read(chip, I8237_REG_MASK), 0xff);
}

static void test_read_backs(void **context)
{
	struct i8237 *chip = *context;

	for (unsigned i = 0; i < 4; i++)
		i8237_write(chip, I8237_REG_MODE, (uint8_t)(0x44 + 0x10 * i + i));
	i8237_read(chip, I8237_REG_MODE_COUNTER);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(i8237_read(chip, I8237_REG_MODE), (0x44 + 0x10 * i) | 3);
	i8237_write(chip, I8237_REG_REQUEST, 0x05);
	assert_int_equal(i8237_read(chip, I8237_REG_REQUEST), 0xf2);
	assert_int_equal(i8237_read(chip, I8237_REG_STATUS), 0x20);
	i8237_write(chip, I8237_REG_REQUEST, 0x01);
	assert_int_equal(i8237_read(chip, I8237_REG_REQUEST), 0xf0);
	assert_int_equal(i8237_read(chip, I8237_REG_TEMPORARY), 0);
	/* The flip-flop can be set, so that the high byte comes first. */
	put_word(chip, 0, 0x1234);
	i8237_read(chip, I8237_REG_FLIP_FLOP);
	assert_int_equal(i8237_read(chip, 0), 0x12);
	assert_int_equal(i8237_read(chip, 0), 0x34);
}

static void test_state_is_whole(void **context)
{
	struct error err = { 0 };

	(void)context;
	if (!state_covers(i8237_type.state, &err))
		fail_msg("%s", err.text);
}

#define dma_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		dma_test(test_reset_masks_all),
		dma_test(test_a_run),
		dma_test(test_autoinitialization),
		dma_test(test_decrement),
		dma_test(test_addresses_wrap),
		dma_test(test_what_holds_a_channel_up),
		dma_test(test_read_backs),
		dma_test(test_state_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
