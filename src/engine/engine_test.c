/* Which engine a name gives, and what a person reads. Holds on any host, with KVM or without. */
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char why[256];

static void test_soft_runs_everywhere(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_ptr_equal(engine_select("soft", why, sizeof(why), &err), &soft_engine_ops);
	assert_string_equal(err.text, "");
}

static void test_auto_says_why(void **state)
{
	struct error err = { 0 };
	bool has_kvm = kvm_engine_ops.probe(NULL) == 0;
	const struct engine_ops *ops = engine_select("auto", why, sizeof(why), &err);

	(void)state;
	assert_ptr_equal(ops, has_kvm ? &kvm_engine_ops : &soft_engine_ops);
	assert_int_equal(strncmp(why, has_kvm ? "engine kvm: " : "engine soft: ", 12), 0);
	assert_null(strchr(why, '\n'));
	/* That there is no KVM is no error of `auto`. */
	assert_string_equal(err.text, "");
}

static void test_kvm_is_refused_with_the_reason(void **state)
{
	struct error err = { 0 }, reason = { 0 };
	const struct engine_ops *ops = engine_select("kvm", why, sizeof(why), &err);

	(void)state;
	if (kvm_engine_ops.probe(&reason) == 0) {
		assert_ptr_equal(ops, &kvm_engine_ops);
		return;
	}
	assert_null(ops);
	assert_string_equal(err.text, reason.text);
	assert_true(
		err.exit_code == EXIT_CODE_UNAVAILABLE || err.exit_code == EXIT_CODE_PERMISSION);
}

static void test_unknown_name(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_null(engine_select("xen", why, sizeof(why), &err));
	assert_int_equal(err.exit_code, EXIT_CODE_USAGE);
	assert_non_null(strstr(err.text, "xen"));
	assert_non_null(strstr(err.text, "auto, kvm or soft"));
}

static void test_short_buffer(void **state)
{
	char small[8];

	(void)state;
	assert_non_null(engine_select("auto", small, sizeof(small), NULL));
	assert_int_equal(strlen(small), sizeof(small) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_soft_runs_everywhere),
		cmocka_unit_test(test_auto_says_why),
		cmocka_unit_test(test_kvm_is_refused_with_the_reason),
		cmocka_unit_test(test_unknown_name),
		cmocka_unit_test(test_short_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
