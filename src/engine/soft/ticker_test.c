/*
 * Tickers: the request comes when the last deadline has passed, whatever was armed before, and not
 * to a vCPU that rests.
 */
#include "engine/soft/ticker.h"
#include "engine/soft/tsc.h"
#include "engine/soft/vcpu_fixture.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define SOON  NS_PER_MS
#define LATER (100 * NS_PER_MS)
#define NEVER (3600 * NS_PER_S)

static struct vcpu_fixture fixture;

static int setup(void **state)
{
	struct error err = { 0 };

	vcpu_fixture_create(&fixture, 1);
	assert_int_equal(tickers_create(&fixture.engine, &err), 0);
	*state = fixture.vcpu;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tickers_destroy(&fixture.engine);
	vcpu_fixture_destroy(&fixture);
	return 0;
}

static void arm(struct vcpu *vcpu, ns_t after)
{
	ticker_arm(vcpu, vcpu_tsc(vcpu) + tsc_of_ns(vcpu, after));
}

static bool is_due(const struct vcpu *vcpu)
{
	return atomic_load(&vcpu->requests) & REQUEST_TIMER;
}

static void becomes_due(struct vcpu *vcpu)
{
	while (!is_due(vcpu))
		sched_yield();
	atomic_fetch_and(&vcpu->requests, ~REQUEST_TIMER);
}

static void stays_quiet(const struct vcpu *vcpu)
{
	usleep(2 * LATER / NS_PER_US);
	assert_false(is_due(vcpu));
}

static void deadlines_pass(void **state)
{
	struct vcpu *vcpu = *state;
	uint64_t deadline;

	for (unsigned i = 0; i < 20; i++) {
		deadline = vcpu_tsc(vcpu) + tsc_of_ns(vcpu, SOON);
		ticker_arm(vcpu, deadline);
		becomes_due(vcpu);
		assert_true(vcpu_tsc(vcpu) >= deadline);
	}
	/* What has passed already. */
	ticker_arm(vcpu, vcpu_tsc(vcpu) - 1);
	becomes_due(vcpu);
}

static void the_last_one_counts(void **state)
{
	struct vcpu *vcpu = *state;

	arm(vcpu, NEVER);
	arm(vcpu, SOON);
	becomes_due(vcpu);
	/* The timer that was set for the first expires in vain. */
	arm(vcpu, LATER);
	arm(vcpu, NEVER);
	stays_quiet(vcpu);
	arm(vcpu, SOON);
	becomes_due(vcpu);
	ticker_arm(vcpu, UINT64_MAX);
	stays_quiet(vcpu);
}

static void who_rests_is_left_alone(void **state)
{
	struct vcpu *vcpu = *state;

	arm(vcpu, LATER);
	ticker_rest(vcpu);
	stays_quiet(vcpu);
	arm(vcpu, SOON);
	becomes_due(vcpu);
}

static void follows_the_guests_counter(void **state)
{
	struct vcpu *vcpu = *state;

	vcpu->tsc_offset = UINT64_C(1) << 60;
	arm(vcpu, SOON);
	becomes_due(vcpu);
	vcpu->tsc_offset = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadlines_pass),
		cmocka_unit_test(the_last_one_counts),
		cmocka_unit_test(who_rests_is_left_alone),
		cmocka_unit_test(follows_the_guests_counter),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
