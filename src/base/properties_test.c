/*
 * Option values: words, properties, mistakes; sizes.
 */
#include "base/properties.h"

#include "base/bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

static void word_and_properties(void **state)
{
	struct properties properties;
	uint64_t size = 7, number = 7;
	bool on = false;

	(void)state;
	assert_int_equal(
		properties_parse(&properties, "disk", "a,,b.img,size=2G,ro=on,n=3,e=", NULL), 0);
	assert_string_equal(properties.word, "a,b.img");
	assert_int_equal(properties_take_size(&properties, "size", &size, NULL), 0);
	assert_int_equal(size, UINT64_C(2) << 30);
	assert_int_equal(properties_take_bool(&properties, "ro", &on, NULL), 0);
	assert_true(on);
	assert_int_equal(properties_take_number(&properties, "n", 1, 3, &number, NULL), 0);
	assert_int_equal(number, 3);
	assert_int_equal(properties_take_number(&properties, "absent", 1, 3, &number, NULL), 0);
	assert_int_equal(number, 3);
	assert_int_equal(properties_check(&properties, "size", NULL), -EINVAL);
	assert_string_equal(properties_take(&properties, "e"), "");
	assert_int_equal(properties_check(&properties, "size", NULL), 0);
	properties_finish(&properties);
}

static void no_word(void **state)
{
	struct properties properties;

	(void)state;
	assert_int_equal(properties_parse(&properties, "net", "mac=1:2", NULL), 0);
	assert_null(properties.word);
	assert_string_equal(properties_take(&properties, "mac"), "1:2");
	properties_finish(&properties);
	assert_int_equal(properties_parse(&properties, "net", "", NULL), 0);
	assert_null(properties.word);
	properties_finish(&properties);
}

static void mistakes(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "a,b", "--disk cannot read 'b'; give key=value, separated by commas" },
		{ "a,=b", "--disk cannot read '=b'; give key=value, separated by commas" },
		{ "a,k=1,k=2", "--disk has 'k' twice; give it once" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct properties properties;
		struct error err = { 0 };

		assert_int_equal(
			properties_parse(&properties, "disk", cases[i].text, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].message);
		assert_int_equal(err.exit_code, EXIT_CODE_USAGE);
	}
}

static void sizes(void **state)
{
	uint64_t bytes;

	(void)state;
	assert_int_equal(size_parse("512", 1 << 20, &bytes), 0);
	assert_int_equal(bytes, 512 << 20);
	assert_int_equal(size_parse("512B", 1 << 20, &bytes), 0);
	assert_int_equal(bytes, 512);
	assert_int_equal(size_parse("3kiB", 1, &bytes), 0);
	assert_int_equal(bytes, 3072);
	assert_int_equal(size_parse("1T", 1, &bytes), 0);
	assert_int_equal(bytes, UINT64_C(1) << 40);
	assert_int_equal(size_parse("16777216T", 1, &bytes), -EINVAL);
	assert_int_equal(size_parse("", 1, &bytes), -EINVAL);
	assert_int_equal(size_parse("-1", 1, &bytes), -EINVAL);
	assert_int_equal(size_parse("1X", 1, &bytes), -EINVAL);
	assert_int_equal(size_parse("1Kx", 1, &bytes), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(word_and_properties),
		cmocka_unit_test(no_word),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
