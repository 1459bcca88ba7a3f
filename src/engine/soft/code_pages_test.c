/*
 * A page starts to hold code while another processor may be about to write to it; code in memory
 * that a device changes.
 */
#include "engine/soft/code_pages.h"
#include "engine/soft/engine_fixture.h"
#include "engine/soft/mmu.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PAGE       0x3000
#define OTHER_PAGE 0x5000

static struct engine_fixture fixture;
static struct vcpu *reader, *writer;
static _Atomic bool added;

static int set_up(void **context)
{
	(void)context;
	engine_fixture_create(&fixture, "max", 2);
	reader = &fixture.vcpus[0];
	writer = &fixture.vcpus[1];
	atomic_store(&added, false);
	return 0;
}

static int tear_down(void **context)
{
	(void)context;
	engine_fixture_destroy(&fixture);
	return 0;
}

static bool may_write_directly(struct vcpu *vcpu, gva_t page)
{
	return atomic_load(&vcpu->tlb_data[tlb_index(page)].write_tag) == page;
}

/* As a running vCPU that has checked a write to the page. */
static void begin_write(struct vcpu *vcpu, gva_t page)
{
	mmu_write_u8(vcpu, page, 1);
	assert_true(may_write_directly(vcpu, page));
	atomic_store(&vcpu->quiescent, false);
}

static void *add_page(void *unused)
{
	(void)unused;
	code_pages_add(reader, PAGE, 64);
	atomic_store(&added, true);
	return NULL;
}

static void await_request(struct vcpu *vcpu)
{
	while (!(atomic_load(&vcpu->requests) & REQUEST_WRITES))
		sched_yield();
}

static void test_waits_for_writes_under_way(void **context)
{
	pthread_t thread;

	(void)context;
	begin_write(writer, PAGE);
	assert_int_equal(pthread_create(&thread, NULL, add_page, NULL), 0);
	await_request(writer);
	assert_false(may_write_directly(writer, PAGE));
	assert_false(atomic_load(&added));
	code_pages_answer(writer);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&added));
}

static void test_one_that_comes_to_rest_has_written(void **context)
{
	pthread_t thread;

	(void)context;
	begin_write(writer, PAGE);
	assert_int_equal(pthread_create(&thread, NULL, add_page, NULL), 0);
	await_request(writer);
	atomic_store(&writer->quiescent, true);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&added));
}

static void test_waits_for_nobody_else(void **context)
{
	(void)context;
	/* Another page; one at rest; itself; a page that holds code already. */
	begin_write(writer, OTHER_PAGE);
	code_pages_add(reader, PAGE, 64);
	mmu_write_u8(writer, 0x7000, 1);
	atomic_store(&writer->quiescent, true);
	code_pages_add(reader, 0x7000, 64);
	begin_write(reader, 0x8000);
	code_pages_add(reader, 0x8000, 64);
	assert_false(atomic_load(&reader->quiescent));
	begin_write(writer, PAGE + 0x6000);
	code_pages_add(reader, PAGE, 128);
	assert_false(atomic_load(&reader->requests) & REQUEST_WRITES);
}

static void *add_other_page(void *unused)
{
	(void)unused;
	code_pages_add(writer, OTHER_PAGE, 64);
	return NULL;
}

static void test_two_that_wait_for_each_other(void **context)
{
	pthread_t threads[2];

	(void)context;
	for (unsigned round = 0; round < 30; round++) {
		atomic_store(&added, false);
		mmu_flush_all(writer);
		mmu_flush_all(reader);
		begin_write(writer, PAGE);
		begin_write(reader, OTHER_PAGE);
		assert_int_equal(pthread_create(&threads[0], NULL, add_page, NULL), 0);
		assert_int_equal(pthread_create(&threads[1], NULL, add_other_page, NULL), 0);
		/* Each is quiescent while it waits, and then goes on to a boundary. */
		while (!atomic_load(&added))
			code_pages_answer(writer);
		pthread_join(threads[0], NULL);
		atomic_store(&reader->quiescent, true);
		pthread_join(threads[1], NULL);
		assert_true(code_pages_written(reader->engine, PAGE, 1));
		assert_true(code_pages_written(reader->engine, OTHER_PAGE, 1));
	}
}

static void test_a_device_changes_its_memory(void **context)
{
	const gpa_t base = 0x40000000;
	struct guest_memory *memory = &reader->engine->base.machine->memory;
	struct ram_region *region = guest_memory_add_movable(memory, 0x1000, NULL);
	const _Atomic uint32_t *generation;
	uint32_t before;

	(void)context;
	guest_memory_place(memory, region, base, RAM_WRITABLE);
	generation = code_pages_generation_at(reader->engine, base);
	guest_memory_changed(memory, region, 0, 4);
	before = code_pages_add(reader, base, 64);
	assert_int_equal(*generation, before);
	guest_memory_changed(memory, region, 0x80, 4); /* another line */
	assert_int_equal(*generation, before);
	guest_memory_changed(memory, region, 0x3c, 4);
	assert_int_not_equal(*generation, before);
	/* And where it moves to. */
	guest_memory_place(memory, region, base + 0x1000, RAM_WRITABLE);
	code_pages_settle(reader);
	before = code_pages_add(reader, base + 0x1000, 64);
	guest_memory_changed(memory, region, 0, 1);
	assert_int_not_equal(*generation, before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_waits_for_writes_under_way),
		TEST(test_one_that_comes_to_rest_has_written),
		TEST(test_waits_for_nobody_else),
		TEST(test_two_that_wait_for_each_other),
		TEST(test_a_device_changes_its_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
