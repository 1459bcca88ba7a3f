#include "block/rate_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void nothing_is_limited_by_default(void **state)
{
	struct rate_limit limit;

	(void)state;
	rate_limit_init(&limit, &(struct block_limits){ 0 }, 0);
	assert_false(rate_limit_is_set(&limit));
	for (int i = 0; i < 1000; i++)
		assert_int_equal(rate_limit_take(&limit, i & 1, 1u << 30, 0), 0);
}

/* How many requests of `bytes` pass in `for_ns`, asking again whenever told to. */
static unsigned pass(
	struct rate_limit *limit, bool is_write, uint64_t bytes, ns_t from_ns, ns_t for_ns)
{
	ns_t now_ns = from_ns;
	unsigned passed = 0;

	while (now_ns < from_ns + for_ns) {
		ns_t wait_ns = rate_limit_take(limit, is_write, bytes, now_ns);

		if (wait_ns == 0)
			passed++;
		now_ns += wait_ns;
	}
	return passed;
}

static void requests_pass_at_their_rate_after_a_burst(void **state)
{
	const struct block_limits limits = { .requests = { .per_s = 100, .burst = 50 } };
	struct rate_limit limit;

	(void)state;
	rate_limit_init(&limit, &limits, 0);
	assert_true(rate_limit_is_set(&limit));
	assert_in_range(pass(&limit, false, 512, 0, NS_PER_S), 148, 152);
	assert_in_range(pass(&limit, true, 512, NS_PER_S, NS_PER_S), 98, 102);
	/* A pause fills the bucket no further than its burst. */
	assert_in_range(pass(&limit, false, 512, 100 * NS_PER_S, NS_PER_S), 148, 152);
}

static void bytes_of_one_direction_leave_the_other_alone(void **state)
{
	const struct block_limits limits = { .write_bytes = { .per_s = 1 << 20, .burst = 1 } };
	struct rate_limit limit;

	(void)state;
	rate_limit_init(&limit, &limits, 0);
	assert_in_range(pass(&limit, true, 1 << 16, 0, 10 * NS_PER_S), 159, 163);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(rate_limit_take(&limit, false, 1 << 20, 10 * NS_PER_S), 0);
}

static void a_request_larger_than_the_burst_passes(void **state)
{
	const struct block_limits limits = { .bytes = { .per_s = 1000, .burst = 10 } };
	struct rate_limit limit;
	ns_t wait_ns;

	(void)state;
	rate_limit_init(&limit, &limits, 0);
	assert_int_equal(rate_limit_take(&limit, false, 5010, 0), 0);
	wait_ns = rate_limit_take(&limit, false, 1, 0);
	assert_in_range(wait_ns, 5 * NS_PER_S - 10, 5 * NS_PER_S + 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_limited_by_default),
		cmocka_unit_test(requests_pass_at_their_rate_after_a_burst),
		cmocka_unit_test(bytes_of_one_direction_leave_the_other_alone),
		cmocka_unit_test(a_request_larger_than_the_burst_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
