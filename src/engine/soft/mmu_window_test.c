/*
 * The window: what it takes in, and when it goes.
 */
#include "engine/soft/mmu_window.h"

#include "engine/soft/vcpu_fixture.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* As Linux maps all memory: four pages of 2 MiB, all that there is. */
#define MAP        UINT64_C(0xffff888000000000)
#define LARGE      UINT64_C(0x200000)
#define LARGE_PAGE (PTE_P | PTE_W | PTE_A | PTE_D | PTE_G | PTE_PS)

static struct vcpu_fixture fixture;

static int setup(void **state)
{
	vcpu_fixture_create(&fixture, 8);
	vcpu_fixture_enter(&fixture, FIXTURE_LONG);
	fixture.vcpu->cr4 |= CR4_PGE;
	for (unsigned i = 0; i < 4; i++)
		vcpu_fixture_entry(&fixture, MAP, 2)[i] = i * LARGE | LARGE_PAGE;
	mmu_flush_all(fixture.vcpu);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	vcpu_fixture_destroy(*state);
	return 0;
}

static const struct mmu_window *window_after_read(struct vcpu_fixture *f, gva_t address)
{
	f->vcpu->tlb.window.next_tsc = 0;
	f->vcpu->tlb.window.fills = UINT_MAX - 1;
	f->vcpu->rip = FIXTURE_CODE;
	f->vcpu->gpr[X86_RBX] = address;
	FIXTURE_LOAD_CODE(f, 0x8a, 0x03); /* mov al, [rbx] */
	assert_int_equal(interpret_try(f->vcpu), -1);
	return &f->vcpu->tlb.window;
}

static void takes_in_all_of_a_run(void **state)
{
	struct vcpu_fixture *f = *state;
	const struct mmu_window *window = window_after_read(f, MAP + 2 * LARGE + 0x123456);

	assert_int_equal(window->from, MAP);
	assert_int_equal(window->size, 4 * LARGE);
	assert_int_equal(window->limit, 4 * LARGE - MMU_WINDOW_SPAN);
	assert_ptr_equal(window->host, f->ram);
}

static void ends_where_a_page_is_another_kind(void **state)
{
	struct vcpu_fixture *f = *state;
	static const uint64_t others[] = {
		0,
		2 * LARGE | (LARGE_PAGE & ~PTE_A),
		2 * LARGE | (LARGE_PAGE & ~PTE_G),
		2 * LARGE | LARGE_PAGE | PTE_U,
		3 * LARGE | LARGE_PAGE,
		UINT64_C(0x80000000) | LARGE_PAGE,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		const struct mmu_window *window;

		mmu_flush_all(f->vcpu);
		vcpu_fixture_entry(f, MAP, 2)[2] = others[i];
		window = window_after_read(f, MAP);
		assert_int_equal(window->from, MAP);
		assert_int_equal(window->size, 2 * LARGE);
	}
}

/* A page under the one that was read is no part of it if something else is shown in its place. */
static void leaves_out_what_is_hidden(void **state)
{
	struct vcpu_fixture *f = *state;

	f->vcpu->apic_base = (f->vcpu->apic_base & ~APIC_BASE_ADDRESS) | 0x10000 | APIC_BASE_ENABLE;
	assert_int_equal(window_after_read(f, MAP + LARGE)->from, MAP + LARGE);
}

static void a_user_page_opens_none(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_entry(f, MAP, 2)[1] |= PTE_U;
	assert_int_equal(window_after_read(f, MAP + LARGE)->limit, 0);
	/* Nor does one that a flush of what is not global takes away. */
	vcpu_fixture_entry(f, MAP, 2)[0] &= ~PTE_G;
	assert_int_equal(window_after_read(f, MAP)->limit, 0);
}

static void goes_as_global_entries_go(void **state)
{
	struct vcpu_fixture *f = *state;
	const struct mmu_window *window = window_after_read(f, MAP);

	mmu_flush_non_global(f->vcpu);
	mmu_flush_page(f->vcpu, MAP - 1);
	mmu_flush_page(f->vcpu, MAP + 4 * LARGE);
	assert_int_equal(window->size, 4 * LARGE);
	mmu_flush_page(f->vcpu, MAP + 4 * LARGE - 1);
	assert_int_equal(window->limit, 0);
	window_after_read(f, MAP + LARGE);
	assert_int_equal(window->size, 4 * LARGE);
	mmu_flush_all(f->vcpu);
	assert_int_equal(window->limit, 0);
	assert_int_equal(window->size, 0);
}

static void is_not_looked_for_all_the_time(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t next;

	next = window_after_read(f, MAP)->next_tsc;
	mmu_flush_all(f->vcpu);
	for (unsigned i = 0; i < 1000; i++) {
		f->vcpu->tlb.window.next_tsc = UINT64_MAX;
		mmu_window_consider(f->vcpu, MAP);
	}
	assert_int_equal(f->vcpu->tlb.window.limit, 0);
	f->vcpu->tlb.window.next_tsc = next;
	while (f->vcpu->tlb.window.limit == 0)
		mmu_window_consider(f->vcpu, MAP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(takes_in_all_of_a_run, setup, teardown),
		cmocka_unit_test_setup_teardown(ends_where_a_page_is_another_kind, setup, teardown),
		cmocka_unit_test_setup_teardown(leaves_out_what_is_hidden, setup, teardown),
		cmocka_unit_test_setup_teardown(a_user_page_opens_none, setup, teardown),
		cmocka_unit_test_setup_teardown(goes_as_global_entries_go, setup, teardown),
		cmocka_unit_test_setup_teardown(is_not_looked_for_all_the_time, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
