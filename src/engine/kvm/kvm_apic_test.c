/* The local APIC's page: register offsets of SDM 3A table 11-1, and no register lost. */
#include "engine/kvm/kvm_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint32_t page_word(const struct kvm_lapic_state *page, unsigned offset)
{
	uint32_t value;

	memcpy(&value, page->regs + offset, sizeof(value));
	return value;
}

static struct cpu_apic every_register_different(void)
{
	struct cpu_apic apic;
	uint32_t words[sizeof(apic) / 4];

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = 0x11000000 + i;
	memcpy(&apic, words, sizeof(apic));
	memset(apic.reserved, 0, sizeof(apic.reserved));
	apic.esr_pending = 0; /* KVM has no place for it */
	return apic;
}

static void test_round_trip(void **state)
{
	struct cpu_apic apic = every_register_different(), back;
	struct kvm_lapic_state page = { 0 };

	(void)state;
	kvm_apic_from_state(&apic, true, &page);
	kvm_apic_to_state(&page, true, &back);
	assert_memory_equal(&apic, &back, sizeof(apic));
}

static void test_layout(void **state)
{
	struct cpu_apic apic = every_register_different();
	struct kvm_lapic_state page = { 0 };

	(void)state;
	kvm_apic_from_state(&apic, true, &page);
	assert_int_equal(page_word(&page, 0x80), apic.tpr);
	assert_int_equal(page_word(&page, 0xf0), apic.svr);
	assert_int_equal(page_word(&page, 0x170), apic.isr[7]);
	assert_int_equal(page_word(&page, 0x180), apic.tmr[0]);
	assert_int_equal(page_word(&page, 0x210), apic.irr[1]);
	assert_int_equal(page_word(&page, 0x310), apic.icr_high);
	assert_int_equal(page_word(&page, 0x320), apic.lvt_timer);
	assert_int_equal(page_word(&page, 0x350), apic.lvt_lint0);
	assert_int_equal(page_word(&page, 0x360), apic.lvt_lint1);
	assert_int_equal(page_word(&page, 0x380), apic.timer_initial);
	assert_int_equal(page_word(&page, 0x3e0), apic.timer_divide);
}

/* xAPIC: the id is the top byte; x2APIC: the whole register (SDM 3A 11.4.6, 11.12.1). */
static void test_id(void **state)
{
	struct cpu_apic apic = { .id = 5 }, back;
	struct kvm_lapic_state page = { 0 };

	(void)state;
	kvm_apic_from_state(&apic, false, &page);
	assert_int_equal(page_word(&page, 0x20), 0x05000000);
	kvm_apic_to_state(&page, false, &back);
	assert_int_equal(back.id, 5);
	kvm_apic_from_state(&apic, true, &page);
	assert_int_equal(page_word(&page, 0x20), 5);
}

/* KVM's own version register must survive. */
static void test_version_stays(void **state)
{
	struct cpu_apic apic = every_register_different();
	struct kvm_lapic_state page = { 0 };

	(void)state;
	page.regs[0x30] = 0x14;
	kvm_apic_from_state(&apic, true, &page);
	assert_int_equal(page_word(&page, 0x30), 0x14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_id),
		cmocka_unit_test(test_version_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
