/*
 * The TPM's interface as a driver uses it (PTP 1.05, 6.5.3): locality, ready, a command and its
 * answer.
 */
#include "tpm/tpm_crb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct tpm_crb crb;
	uint8_t command[64];
	size_t size;
	bool refuses;
};

static bool take(void *context, const uint8_t *command, size_t size)
{
	struct fixture *f = context;

	if (f->refuses || size > sizeof(f->command))
		return false;
	memcpy(f->command, command, size);
	f->size = size;
	return true;
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct tpm_backend backend = { .start = take, .context = f };

	tpm_crb_init(&f->crb, &backend);
	tpm_crb_type.reset(&f->crb);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static uint32_t get(struct fixture *f, unsigned offset)
{
	return (uint32_t)tpm_crb_read(&f->crb, offset, 4);
}

static void set(struct fixture *f, unsigned offset, uint32_t value)
{
	tpm_crb_write(&f->crb, offset, 4, value);
}

/* TPM2_GetRandom of 8 bytes. */
static const uint8_t command[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8 };

static void write_command(struct fixture *f)
{
	set(f, 0x08, 1);
	set(f, 0x40, 1);
	for (unsigned i = 0; i < sizeof(command); i++)
		tpm_crb_write(&f->crb, 0x80 + i, 1, command[i]);
}

static void test_registers(void **context)
{
	struct fixture *f = *context;

	/* A CRB of version 1, selected; registers are valid, nobody has the locality; idle. */
	assert_int_equal(get(f, 0x30) & 0xff, 0x11);
	assert_int_equal(get(f, 0x30) >> 17 & 3, 1);
	assert_int_equal(get(f, 0x00), 0x81);
	assert_int_equal(get(f, 0x44), 2);
	assert_int_equal(get(f, 0x58), 0xf80);
	assert_int_equal(tpm_crb_read(&f->crb, 0x68, 8), 0xfed40080);
	set(f, 0x08, 1);
	assert_int_equal(get(f, 0x00), 0x83);
	assert_int_equal(get(f, 0x0c), 1);
	set(f, 0x08, 2);
	assert_int_equal(get(f, 0x0c), 0);
}

static void test_command(void **context)
{
	struct fixture *f = *context;

	write_command(f);
	set(f, 0x4c, 1);
	assert_int_equal(f->size, sizeof(command));
	assert_memory_equal(f->command, command, sizeof(command));
	assert_int_equal(get(f, 0x4c), 1);
	/* Meanwhile it cannot be changed. */
	set(f, 0x80, 0);
	assert_int_equal(get(f, 0x80) & 0xff, 0x80);
	tpm_crb_respond(&f->crb, (const uint8_t *)"\x80\1\0\0\0\x0a\0\0\0\0", 10);
	assert_int_equal(get(f, 0x4c), 0);
	assert_int_equal(get(f, 0x84) & 0xffff, 0x0a00);
	assert_int_equal(get(f, 0x44), 0);
}

static void test_what_goes_wrong(void **context)
{
	struct fixture *f = *context;

	/* Not ready. */
	set(f, 0x4c, 1);
	assert_int_equal(f->size, 0);
	write_command(f);
	f->refuses = true;
	set(f, 0x4c, 1);
	assert_int_equal(get(f, 0x4c), 0);
	assert_int_equal(get(f, 0x44), 1);
	/* Ready again. Sizes that cannot be. */
	f->refuses = false;
	set(f, 0x40, 1);
	assert_int_equal(get(f, 0x44), 0);
	tpm_crb_write(&f->crb, 0x82, 4, 0xffffffff);
	set(f, 0x4c, 1);
	assert_int_equal(f->size, 0);
	assert_int_equal(get(f, 0x44), 1);
	set(f, 0x40, 1);
	tpm_crb_write(&f->crb, 0x82, 4, 0);
	set(f, 0x4c, 1);
	assert_int_equal(get(f, 0x44), 1);
	/* An answer that nobody waits for. */
	tpm_crb_respond(&f->crb, command, sizeof(command));
	assert_int_equal(get(f, 0x80) & 0xff, 0x80);
}

static void test_state_table(void **context)
{
	struct error err = { 0 };

	(void)context;
	assert_true(state_covers(tpm_crb_type.state, &err));
}

#define crb_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		crb_test(test_registers),
		crb_test(test_command),
		crb_test(test_what_goes_wrong),
		crb_test(test_state_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
