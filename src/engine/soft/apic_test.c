/*
 * The local APIC against SDM 3A chapter 11: registers, priorities, destinations, delivery modes,
 * the timer. Time is moved by moving the vCPU's TSC offset.
 */
#include "base/host_time.h"
#include "engine/soft/apic.h"
#include "engine/soft/apic_regs.h"
#include "engine/soft/engine_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NR_VCPUS 4
#define ENABLED  0x1ff

static struct engine_fixture fixture;
static struct vcpu *cpu; /* the first one */

static int set_up(void **context)
{
	(void)context;
	engine_fixture_create(&fixture, "max", NR_VCPUS);
	cpu = fixture.vcpus;
	for (unsigned i = 0; i < NR_VCPUS; i++)
		apic_mmio_write(&fixture.vcpus[i], APIC_SVR, ENABLED);
	return 0;
}

static int tear_down(void **context)
{
	(void)context;
	engine_fixture_destroy(&fixture);
	return 0;
}

static void msi(uint8_t destination, bool logical, uint32_t data)
{
	fixture.machine.cpu_bus.msi(fixture.machine.cpu_bus.engine,
		0xfee00000 | (uint32_t)destination << 12 | (logical ? 4 : 0), data);
}

/* Which vCPUs have `vector` in their IRR, as a mask. */
static unsigned requested(uint8_t vector)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < NR_VCPUS; i++) {
		uint32_t word = apic_mmio_read(&fixture.vcpus[i], APIC_IRR + vector / 32 * 0x10);

		if (word >> vector % 32 & 1)
			mask |= 1u << i;
	}
	return mask;
}

static uint64_t read_msr(struct vcpu *vcpu, unsigned offset)
{
	uint64_t value = 0;

	assert_true(apic_msr_read(vcpu, MSR_IA32_X2APIC_FIRST + (offset >> 4), &value));
	return value;
}

static bool write_msr(struct vcpu *vcpu, unsigned offset, uint64_t value)
{
	return apic_msr_write(vcpu, MSR_IA32_X2APIC_FIRST + (offset >> 4), value);
}

static void enter_x2apic(void)
{
	for (unsigned i = 0; i < NR_VCPUS; i++) {
		struct vcpu *vcpu = &fixture.vcpus[i];

		assert_true(apic_base_write(vcpu, vcpu->apic_base | APIC_BASE_X2APIC));
	}
}

static void pass(ns_t ns)
{
	cpu->tsc_offset += (uint64_t)((unsigned __int128)ns * fixture.model.tsc_hz / NS_PER_S);
}

static void test_reset_values(void **context)
{
	struct cpu_state state;

	(void)context;
	cpu_state_reset(&state, 2);
	apic_set_state(&fixture.vcpus[2], &state.apic);
	cpu = &fixture.vcpus[2];
	assert_int_equal(apic_mmio_read(cpu, APIC_ID), 2u << 24);
	assert_int_equal(apic_mmio_read(cpu, APIC_VERSION) & 0xff, 0x14);
	assert_int_equal(apic_mmio_read(cpu, APIC_DFR), 0xffffffff);
	assert_int_equal(apic_mmio_read(cpu, APIC_SVR), 0xff);
	assert_int_equal(apic_mmio_read(cpu, APIC_LVT_TIMER), 0x10000);
	assert_int_equal(apic_mmio_read(cpu, APIC_LVT_LINT0), 0x10000);
	assert_int_equal(apic_mmio_read(cpu, APIC_LVT_ERROR), 0x10000);
	assert_int_equal(apic_mmio_read(cpu, APIC_TPR), 0);
	assert_int_equal(apic_mmio_read(cpu, APIC_TIMER_INITIAL), 0);
}

static void test_priority_classes(void **context)
{
	(void)context;
	assert_false(apic_interrupt_ready(cpu));
	msi(0, false, 0x41);
	msi(0, false, 0x35);
	assert_true(apic_interrupt_ready(cpu));
	assert_int_equal(apic_acknowledge(cpu), 0x41);
	/* 0x35 is of a lower class than what is in service, 0x4f of the same. */
	msi(0, false, 0x4f);
	assert_false(apic_interrupt_ready(cpu));
	assert_int_equal(apic_acknowledge(cpu), -1);
	assert_int_equal(apic_mmio_read(cpu, APIC_PPR), 0x40);
	msi(0, false, 0x52);
	assert_int_equal(apic_acknowledge(cpu), 0x52);
	apic_mmio_write(cpu, APIC_EOI, 0);
	apic_mmio_write(cpu, APIC_EOI, 0);
	assert_int_equal(apic_acknowledge(cpu), 0x4f);
	apic_mmio_write(cpu, APIC_EOI, 0);
	assert_int_equal(apic_acknowledge(cpu), 0x35);
	apic_mmio_write(cpu, APIC_EOI, 0);
	assert_int_equal(apic_mmio_read(cpu, APIC_PPR), 0);
	assert_int_equal(apic_acknowledge(cpu), -1);
}

static void test_task_priority_holds_back(void **context)
{
	(void)context;
	apic_mmio_write(cpu, APIC_TPR, 0x45);
	assert_int_equal(apic_cr8(cpu), 4);
	msi(0, false, 0x4f);
	assert_false(apic_interrupt_ready(cpu));
	assert_int_equal(apic_mmio_read(cpu, APIC_PPR), 0x45);
	atomic_store(&cpu->requests, 0);
	apic_set_cr8(cpu, 3);
	assert_true(atomic_load(&cpu->requests) & REQUEST_INTERRUPT);
	assert_int_equal(apic_mmio_read(cpu, APIC_TPR), 0x30);
	assert_int_equal(apic_acknowledge(cpu), 0x4f);
}

static void test_eoi_broadcast(void **context)
{
	(void)context;
	msi(0, false, 0x41 | LVT_TRIGGER_LEVEL | ICR_LEVEL_ASSERT);
	assert_int_equal(apic_acknowledge(cpu), 0x41);
	assert_int_equal(apic_mmio_read(cpu, APIC_TMR + 0x20), 2);
	apic_mmio_write(cpu, APIC_EOI, 0);
	assert_int_equal(fixture.eois[0x41], 1);
	/* Edge-triggered: no broadcast. */
	msi(0, false, 0x41);
	assert_int_equal(apic_acknowledge(cpu), 0x41);
	apic_mmio_write(cpu, APIC_EOI, 0);
	assert_int_equal(fixture.eois[0x41], 1);
	/* Suppressed by SVR bit 12. */
	apic_mmio_write(cpu, APIC_SVR, ENABLED | SVR_SUPPRESS_EOI);
	msi(0, false, 0x41 | LVT_TRIGGER_LEVEL | ICR_LEVEL_ASSERT);
	assert_int_equal(apic_acknowledge(cpu), 0x41);
	apic_mmio_write(cpu, APIC_EOI, 0);
	assert_int_equal(fixture.eois[0x41], 1);
}

static void test_physical_destination(void **context)
{
	(void)context;
	msi(2, false, 0x60);
	assert_int_equal(requested(0x60), 1 << 2);
	msi(0xff, false, 0x61);
	assert_int_equal(requested(0x61), 0xf);
	msi(9, false, 0x62);
	assert_int_equal(requested(0x62), 0);
}

static void test_flat_logical_destination(void **context)
{
	(void)context;
	for (unsigned i = 0; i < NR_VCPUS; i++)
		apic_mmio_write(&fixture.vcpus[i], APIC_LDR, 1u << (24 + i));
	msi(0x05, true, 0x60);
	assert_int_equal(requested(0x60), 0x5);
	msi(0xff, true, 0x61);
	assert_int_equal(requested(0x61), 0xf);
}

static void test_cluster_logical_destination(void **context)
{
	(void)context;
	for (unsigned i = 0; i < NR_VCPUS; i++) {
		apic_mmio_write(&fixture.vcpus[i], APIC_DFR, 0x0fffffff);
		apic_mmio_write(&fixture.vcpus[i], APIC_LDR, (i / 2 << 4 | 1u << i % 2) << 24);
	}
	msi(0x12, true, 0x60); /* cluster 1, second member */
	assert_int_equal(requested(0x60), 1 << 3);
	msi(0x03, true, 0x61); /* cluster 0, both */
	assert_int_equal(requested(0x61), 0x3);
	msi(0xf1, true, 0x62); /* every cluster's first */
	assert_int_equal(requested(0x62), 0x5);
}

static void test_lowest_priority(void **context)
{
	const uint32_t data = 0x70 | APIC_LOWEST_PRIORITY << 8;

	(void)context;
	for (unsigned i = 0; i < NR_VCPUS; i++) {
		apic_mmio_write(&fixture.vcpus[i], APIC_LDR, 1u << (24 + i));
		apic_mmio_write(&fixture.vcpus[i], APIC_TPR, i == 2 ? 0x10 : 0x20);
	}
	msi(0xff, true, data);
	assert_int_equal(requested(0x70), 1 << 2);
	/* Not among those addressed. */
	msi(0x0b, true, data + 1);
	assert_int_equal(__builtin_popcount(requested(0x71)), 1);
	assert_int_equal(requested(0x71) & 4, 0);
}

static void test_software_disabled(void **context)
{
	(void)context;
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x30);
	assert_int_equal(apic_mmio_read(cpu, APIC_LVT_TIMER), 0x30);
	apic_mmio_write(cpu, APIC_SVR, 0xff);
	assert_int_equal(apic_mmio_read(cpu, APIC_LVT_TIMER), 0x10030);
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x30);
	assert_int_equal(apic_mmio_read(cpu, APIC_LVT_TIMER), 0x10030);
	msi(0, false, 0x60);
	assert_int_equal(requested(0x60), 0);
	msi(0, false, APIC_NMI << 8);
	assert_true(atomic_load(&cpu->requests) & REQUEST_NMI);
}

static void ipi(uint32_t low, uint8_t destination)
{
	apic_mmio_write(cpu, APIC_ICR_HIGH, (uint32_t)destination << 24);
	apic_mmio_write(cpu, APIC_ICR_LOW, low);
}

static void test_ipi_shorthands(void **context)
{
	(void)context;
	cpu = &fixture.vcpus[1];
	ipi(0x80 | ICR_TO_SELF << 18, 0);
	assert_int_equal(requested(0x80), 1 << 1);
	ipi(0x81 | ICR_TO_ALL << 18, 0);
	assert_int_equal(requested(0x81), 0xf);
	ipi(0x82 | ICR_TO_OTHERS << 18, 0);
	assert_int_equal(requested(0x82), 0xd);
	ipi(0x83, 3);
	assert_int_equal(requested(0x83), 1 << 3);
	assert_int_equal(apic_mmio_read(cpu, APIC_ICR_LOW) & BIT(12), 0);
}

/* As Linux starts a processor: INIT assert, INIT de-assert, SIPI twice (SDM 3A 9.4.4). */
static void test_processor_start(void **context)
{
	struct vcpu *other = &fixture.vcpus[3];
	struct cpu_state state;

	(void)context;
	assert_int_equal(other->activity, CPU_WAIT_FOR_SIPI);
	ipi(APIC_INIT << 8 | ICR_LEVEL_ASSERT | ICR_TRIGGER_LEVEL, 3);
	assert_true(atomic_load(&other->requests) & REQUEST_INIT);
	ipi(APIC_INIT << 8 | ICR_TRIGGER_LEVEL, 3);
	ipi(APIC_STARTUP << 8 | 0x9a, 3);
	vcpu_get_state(other, &state);
	assert_int_equal(state.activity, CPU_RUNNING);
	assert_int_equal(state.segment[X86_CS].selector, 0x9a00);
	assert_int_equal(state.segment[X86_CS].base, 0x9a000);
	assert_int_equal(state.rip, 0);
	/* The second finds it running. */
	other->rip = 0x123;
	ipi(APIC_STARTUP << 8 | 0x55, 3);
	vcpu_get_state(other, &state);
	assert_int_equal(state.segment[X86_CS].selector, 0x9a00);
	assert_int_equal(state.rip, 0x123);
	/* Nobody else heard. */
	assert_int_equal(fixture.vcpus[1].activity, CPU_WAIT_FOR_SIPI);
	assert_int_equal(fixture.vcpus[2].activity, CPU_WAIT_FOR_SIPI);
}

static void test_init_after_sipi(void **context)
{
	struct vcpu *other = &fixture.vcpus[1];
	struct cpu_state state;

	(void)context;
	ipi(APIC_STARTUP << 8 | 0x9a, 1);
	ipi(APIC_INIT << 8 | ICR_LEVEL_ASSERT | ICR_TRIGGER_LEVEL, 1);
	vcpu_get_state(other, &state);
	assert_int_equal(state.activity, CPU_WAIT_FOR_SIPI);
}

static void test_illegal_vectors(void **context)
{
	(void)context;
	apic_mmio_write(cpu, APIC_LVT_ERROR, 0x90);
	ipi(0x0f | ICR_TO_SELF << 18, 0);
	assert_int_equal(apic_mmio_read(cpu, APIC_ESR), 0); /* until written */
	assert_int_equal(requested(0x90), 1);
	apic_mmio_write(cpu, APIC_ESR, 0);
	assert_int_equal(apic_mmio_read(cpu, APIC_ESR), ESR_SEND_ILLEGAL);
	msi(0, false, 0x08);
	apic_mmio_write(cpu, APIC_ESR, 0);
	assert_int_equal(apic_mmio_read(cpu, APIC_ESR), ESR_RECEIVE_ILLEGAL);
	apic_mmio_write(cpu, APIC_ESR, 0);
	assert_int_equal(apic_mmio_read(cpu, APIC_ESR), 0);
}

static void test_8259(void **context)
{
	struct cpu_bus *bus = &fixture.machine.cpu_bus;

	(void)context;
	fixture.pic_vector = 0x38;
	bus->intr(bus->engine, true);
	assert_false(apic_interrupt_ready(cpu)); /* LINT0 is masked */
	apic_mmio_write(cpu, APIC_LVT_LINT0, APIC_EXTINT << 8);
	assert_true(apic_interrupt_ready(cpu));
	assert_false(apic_interrupt_ready(&fixture.vcpus[1]));
	/* It goes around the task priority. */
	apic_mmio_write(cpu, APIC_TPR, 0xff);
	assert_int_equal(apic_acknowledge(cpu), 0x38);
	assert_int_equal(fixture.acknowledged, 1);
	bus->intr(bus->engine, false);
	assert_false(apic_interrupt_ready(cpu));
	/* Without an APIC the line is the INTR pin. */
	assert_true(apic_base_write(cpu, APIC_DEFAULT_BASE | APIC_BASE_BSP));
	bus->intr(bus->engine, true);
	assert_int_equal(apic_acknowledge(cpu), 0x38);
	assert_int_equal(fixture.acknowledged, 2);
}

/* LINT0 in fixed mode takes the rising edge. */
static void test_lint0_fixed(void **context)
{
	struct cpu_bus *bus = &fixture.machine.cpu_bus;

	(void)context;
	apic_mmio_write(cpu, APIC_LVT_LINT0, 0x44);
	bus->intr(bus->engine, true);
	bus->intr(bus->engine, true);
	assert_int_equal(apic_acknowledge(cpu), 0x44);
	apic_mmio_write(cpu, APIC_EOI, 0);
	assert_int_equal(apic_acknowledge(cpu), -1);
	assert_int_equal(fixture.acknowledged, 0);
}

static void test_lint1_nmi(void **context)
{
	struct cpu_bus *bus = &fixture.machine.cpu_bus;

	(void)context;
	bus->nmi(bus->engine);
	assert_int_equal(atomic_load(&cpu->requests) & REQUEST_NMI, 0);
	apic_mmio_write(cpu, APIC_LVT_LINT1, APIC_NMI << 8);
	bus->nmi(bus->engine);
	assert_true(atomic_load(&cpu->requests) & REQUEST_NMI);
	assert_int_equal(atomic_load(&fixture.vcpus[1].requests) & REQUEST_NMI, 0);
}

static void test_one_shot_timer(void **context)
{
	uint32_t current;

	(void)context;
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x31);
	apic_mmio_write(cpu, APIC_TIMER_DIVIDE, 3); /* by 16: 62.5 MHz */
	apic_mmio_write(cpu, APIC_TIMER_INITIAL, 62500000);
	assert_true(apic_timer_remaining_ns(cpu) > 900 * NS_PER_MS);
	assert_true(apic_timer_remaining_ns(cpu) <= NS_PER_S);
	pass(NS_PER_S / 2);
	current = apic_mmio_read(cpu, APIC_TIMER_CURRENT);
	assert_true(current <= 31250000 && current > 25000000);
	apic_timer_poll(cpu);
	assert_int_equal(requested(0x31), 0);
	pass(NS_PER_S / 2);
	apic_timer_poll(cpu);
	assert_int_equal(requested(0x31), 1);
	assert_int_equal(apic_mmio_read(cpu, APIC_TIMER_CURRENT), 0);
	assert_int_equal(apic_timer_remaining_ns(cpu), CLOCK_NEVER);
	/* Once. */
	assert_int_equal(apic_acknowledge(cpu), 0x31);
	pass(10 * NS_PER_S);
	apic_timer_poll(cpu);
	assert_int_equal(requested(0x31), 0);
}

static void test_periodic_timer(void **context)
{
	(void)context;
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x32 | LVT_TIMER_PERIODIC << 17);
	apic_mmio_write(cpu, APIC_TIMER_DIVIDE, 0xb); /* by 1: 1 GHz */
	apic_mmio_write(cpu, APIC_TIMER_INITIAL, 1000000000);
	for (int period = 0; period < 3; period++) {
		pass(NS_PER_S);
		apic_timer_poll(cpu);
		assert_int_equal(apic_acknowledge(cpu), 0x32);
		apic_mmio_write(cpu, APIC_EOI, 0);
		assert_true(apic_timer_remaining_ns(cpu) > 900 * NS_PER_MS);
	}
	/* A stop comes from an initial count of 0. */
	apic_mmio_write(cpu, APIC_TIMER_INITIAL, 0);
	pass(NS_PER_S);
	apic_timer_poll(cpu);
	assert_int_equal(requested(0x32), 0);
}

static void test_masked_timer(void **context)
{
	(void)context;
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x33 | LVT_MASKED);
	apic_mmio_write(cpu, APIC_TIMER_INITIAL, 1000);
	pass(NS_PER_S);
	apic_timer_poll(cpu);
	assert_int_equal(requested(0x33), 0);
}

static void test_divisors(void **context)
{
	/* SDM 3A figure 11-10. */
	static const struct {
		uint32_t code;
		unsigned divisor;
	} rows[] = { { 0, 2 }, { 1, 4 }, { 2, 8 }, { 3, 16 }, { 8, 32 }, { 9, 64 }, { 10, 128 },
		{ 11, 1 } };

	(void)context;
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x31);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		ns_t expected = 1000000 * (ns_t)rows[i].divisor, remaining, start_ns = host_now();

		apic_mmio_write(cpu, APIC_TIMER_DIVIDE, rows[i].code);
		apic_mmio_write(cpu, APIC_TIMER_INITIAL, 1000000);
		remaining = apic_timer_remaining_ns(cpu);
		assert_true(remaining <= expected);
		assert_true(remaining + host_now() - start_ns > expected - 100000);
	}
}

static void test_tsc_deadline(void **context)
{
	(void)context;
	/* Ignored in the other modes. */
	apic_set_tsc_deadline(cpu, 1);
	assert_int_equal(cpu->tsc_deadline, 0);
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x34 | LVT_TIMER_DEADLINE << 17);
	apic_mmio_write(cpu, APIC_TIMER_INITIAL, 1000);
	assert_int_equal(apic_mmio_read(cpu, APIC_TIMER_INITIAL), 0);
	apic_set_tsc_deadline(cpu, vcpu_tsc(cpu) + fixture.model.tsc_hz);
	assert_true(apic_timer_remaining_ns(cpu) > 900 * NS_PER_MS);
	apic_timer_poll(cpu);
	assert_int_equal(requested(0x34), 0);
	pass(NS_PER_S);
	apic_timer_poll(cpu);
	assert_int_equal(requested(0x34), 1);
	assert_int_equal(cpu->tsc_deadline, 0);
	/* One in the past fires at once, 0 disarms. */
	apic_acknowledge(cpu);
	apic_set_tsc_deadline(cpu, 5);
	apic_timer_poll(cpu);
	assert_int_equal(requested(0x34), 1);
	apic_set_tsc_deadline(cpu, vcpu_tsc(cpu) + fixture.model.tsc_hz);
	apic_set_tsc_deadline(cpu, 0);
	assert_int_equal(apic_timer_remaining_ns(cpu), CLOCK_NEVER);
	/* A change of mode disarms. */
	apic_set_tsc_deadline(cpu, vcpu_tsc(cpu) + fixture.model.tsc_hz);
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x34);
	assert_int_equal(apic_timer_remaining_ns(cpu), CLOCK_NEVER);
}

static void test_x2apic_registers(void **context)
{
	uint64_t value;

	(void)context;
	assert_false(apic_msr_read(cpu, 0x802, &value)); /* not in xAPIC mode */
	enter_x2apic();
	assert_int_equal(read_msr(&fixture.vcpus[3], APIC_ID), 3);
	assert_int_equal(read_msr(&fixture.vcpus[3], APIC_LDR), 1 << 3);
	assert_int_equal(apic_mmio_read(cpu, APIC_ID), 0xffffffff);
	/* Absent, write-only, read-only, and reserved bits: SDM 3A 11.12.1.2. */
	assert_false(apic_msr_read(cpu, 0x80e, &value));
	assert_false(apic_msr_read(cpu, 0x831, &value));
	assert_false(apic_msr_read(cpu, 0x80b, &value));
	assert_false(apic_msr_read(cpu, 0x83f, &value));
	assert_false(apic_msr_read(cpu, 0x8ff, &value));
	assert_false(write_msr(cpu, APIC_ID, 0));
	assert_false(write_msr(cpu, APIC_LDR, 0));
	assert_false(write_msr(cpu, APIC_TIMER_CURRENT, 0));
	assert_false(write_msr(cpu, APIC_EOI, 1));
	assert_false(write_msr(cpu, APIC_ESR, 1));
	assert_false(write_msr(cpu, APIC_TPR, 0x100));
	assert_false(write_msr(cpu, APIC_SVR, BIT(32)));
	assert_true(write_msr(cpu, APIC_EOI, 0));
	assert_true(write_msr(cpu, APIC_TPR, 0x20));
	assert_int_equal(read_msr(cpu, APIC_TPR), 0x20);
}

static void test_x2apic_ipis(void **context)
{
	(void)context;
	enter_x2apic();
	assert_true(write_msr(cpu, APIC_ICR_LOW, UINT64_C(2) << 32 | 0x80));
	assert_int_equal(read_msr(&fixture.vcpus[2], APIC_IRR + 0x40), 1);
	assert_int_equal(read_msr(&fixture.vcpus[1], APIC_IRR + 0x40), 0);
	/* Logical: cluster 0, members 1 and 3. */
	assert_true(write_msr(cpu, APIC_ICR_LOW, UINT64_C(0xa) << 32 | ICR_LOGICAL | 0xa0));
	assert_int_equal(read_msr(&fixture.vcpus[1], APIC_IRR + 0x50), 1);
	assert_int_equal(read_msr(&fixture.vcpus[2], APIC_IRR + 0x50), 0);
	assert_int_equal(read_msr(&fixture.vcpus[3], APIC_IRR + 0x50), 1);
	/* All of them. */
	assert_true(write_msr(cpu, APIC_ICR_LOW, UINT64_C(0xffffffff) << 32 | 0xc0));
	for (unsigned i = 0; i < NR_VCPUS; i++)
		assert_int_equal(read_msr(&fixture.vcpus[i], APIC_IRR + 0x60), 1);
	assert_true(write_msr(cpu, APIC_SELF_IPI, 0xe0));
	assert_int_equal(read_msr(cpu, APIC_IRR + 0x70), 1);
	assert_int_equal(read_msr(cpu, APIC_ICR_LOW), UINT64_C(0xffffffff) << 32 | 0xc0);
}

static void test_mode_transitions(void **context)
{
	const uint64_t base = APIC_DEFAULT_BASE | APIC_BASE_BSP;

	(void)context;
	assert_false(apic_base_write(cpu, base | APIC_BASE_X2APIC));
	assert_false(apic_base_write(cpu, base | APIC_BASE_ENABLE | BIT(9)));
	assert_false(apic_base_write(cpu, base | APIC_BASE_ENABLE | BIT(52)));
	assert_true(apic_base_write(cpu, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC));
	assert_false(apic_base_write(cpu, base | APIC_BASE_ENABLE));
	assert_true(apic_base_write(cpu, base));
	assert_false(apic_base_write(cpu, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC));
	assert_true(apic_base_write(cpu, base | APIC_BASE_ENABLE));
	assert_int_equal(apic_mmio_read(cpu, APIC_SVR), 0xff); /* as after reset */
}

static void test_state_round_trip(void **context)
{
	struct cpu_state first, second;

	(void)context;
	clock_pause(&fixture.machine.clock);
	apic_mmio_write(cpu, APIC_LVT_TIMER, 0x31 | LVT_TIMER_PERIODIC << 17);
	apic_mmio_write(cpu, APIC_TIMER_DIVIDE, 0xb);
	apic_mmio_write(cpu, APIC_TIMER_INITIAL, 4000000000u);
	msi(0, false, 0x41 | LVT_TRIGGER_LEVEL | ICR_LEVEL_ASSERT);
	msi(0, false, 0x61);
	assert_int_equal(apic_acknowledge(cpu), 0x61);
	vcpu_get_state(cpu, &first);
	assert_true(state_check(&cpu_state_table, &first, NULL));
	assert_int_equal(first.apic.irr[2], 2);
	assert_int_equal(first.apic.tmr[2], 2);
	assert_int_equal(first.apic.isr[3], 2);
	assert_true(first.apic.timer_current > 3900000000u);
	vcpu_set_state(cpu, &first);
	assert_true(atomic_load(&cpu->requests) & REQUEST_INTERRUPT || !apic_interrupt_ready(cpu));
	vcpu_get_state(cpu, &second);
	/* The host's counter goes on; everything else stands. */
	assert_true(first.apic.timer_current - second.apic.timer_current < 100000000);
	second.apic.timer_current = first.apic.timer_current;
	assert_memory_equal(&first.apic, &second.apic, sizeof(first.apic));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_reset_values),
		TEST(test_priority_classes),
		TEST(test_task_priority_holds_back),
		TEST(test_eoi_broadcast),
		TEST(test_physical_destination),
		TEST(test_flat_logical_destination),
		TEST(test_cluster_logical_destination),
		TEST(test_lowest_priority),
		TEST(test_software_disabled),
		TEST(test_ipi_shorthands),
		TEST(test_processor_start),
		TEST(test_init_after_sipi),
		TEST(test_illegal_vectors),
		TEST(test_8259),
		TEST(test_lint0_fixed),
		TEST(test_lint1_nmi),
		TEST(test_one_shot_timer),
		TEST(test_periodic_timer),
		TEST(test_masked_timer),
		TEST(test_divisors),
		TEST(test_tsc_deadline),
		TEST(test_x2apic_registers),
		TEST(test_x2apic_ipis),
		TEST(test_mode_transitions),
		TEST(test_state_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
