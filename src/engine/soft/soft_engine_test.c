/*
 * The software engine as its users see it: state in and out, time through pauses and restores, the
 * paravirtual clock, kicks and waits.
 */
#include "base/host_time.h"
#include "engine/soft/apic.h"
#include "engine/soft/engine_fixture.h"
#include "engine/soft/kvmclock.h"
#include "engine/soft/tsc.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NR_VCPUS 3

static struct engine_fixture fixture;
static struct vcpu *cpu;
static struct cpu_state first, second;

static int set_up(void **context)
{
	(void)context;
	engine_fixture_create(&fixture, "max", NR_VCPUS);
	cpu = fixture.vcpus;
	return 0;
}

static int tear_down(void **context)
{
	(void)context;
	engine_fixture_destroy(&fixture);
	return 0;
}

static void get(unsigned index, struct cpu_state *state)
{
	assert_int_equal(soft_engine_ops.get_state(fixture.engine, index, state), 0);
}

static int set(unsigned index, const struct cpu_state *state, struct error *err)
{
	return soft_engine_ops.set_state(fixture.engine, index, state, err);
}

/* Something different in every field that can hold anything. */
static void fill(struct cpu_state *state)
{
	cpu_state_reset(state, 0);
	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		state->gpr[i] = UINT64_C(0x1111111111111111) * i;
	state->rip = 0xffffffff81000000;
	state->rflags = RFLAGS_ONE | RFLAGS_ARITHMETIC | RFLAGS_IF | RFLAGS_IOPL | RFLAGS_AC;
	for (unsigned i = 0; i < X86_NR_SEGMENTS; i++) {
		state->segment[i].selector = (uint16_t)(8 * i);
		state->segment[i].limit = 0xfff + i;
	}
	state->segment[X86_CS].attributes = SEG_P | SEG_S | SEG_L | 11;
	state->segment[X86_FS].base = 0x7f0000001000;
	state->segment[X86_GS].base = 0xffff888000001000;
	state->gdtr = (struct cpu_table_register){ .base = 0xfffffe0000001000, .limit = 0x7f };
	state->idtr = (struct cpu_table_register){ .base = 0xfffffe0000000000, .limit = 0xfff };
	state->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_WP | CR0_NE | CR0_AM;
	state->cr2 = 0x7fffdeadbeef;
	state->cr3 = 0x123456000;
	state->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE | CR4_PGE;
	state->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	for (unsigned i = 0; i < 4; i++) {
		state->dr[i] = 0x1000 * i;
		state->pdpte[i] = 0x2001 + 0x1000 * i;
	}
	state->dr6 = 0xffff4ff0;
	state->star = 0x23001000000000;
	state->lstar = 0xffffffff81a00000;
	state->cstar = 0xffffffff81a00100;
	state->sfmask = 0x47700;
	state->kernel_gs_base = 0x7f0000002000;
	state->sysenter_cs = 0x10;
	state->sysenter_esp = 0xfffffe0000003000;
	state->sysenter_eip = 0xffffffff81a00200;
	state->tsc_adjust = 77;
	state->tsc_aux = 3;
	state->spec_ctrl = 1;
	state->debugctl = 2;
	state->mtrr_def_type = 0xc06;
	state->mtrr_fixed[10] = 0x0505050505050505;
	state->mtrr_base[7] = 0x80000000;
	state->mtrr_mask[7] = 0xf80000800;
	state->mcg_status = 1;
	state->mc_bank[9][3] = 5;
	state->kvm_poll_control = 0;
	state->activity = CPU_HALTED;
	state->interrupt_shadow = state->interrupt_shadow_mov_ss = true;
	state->nmi_blocked = state->nmi_pending = true;
	state->exception_pending = state->exception_has_error = true;
	state->exception_vector = 14;
	state->exception_error = 6;
	state->apic.svr = 0x1ff;
	state->apic.tpr = 0x20;
	state->apic.irr[7] = 0x80;
	state->apic.isr[6] = 1;
	state->apic.tmr[7] = 0x80;
	state->apic.lvt_lint0 = 0x700;
	state->xsave.fcw = 0x37f;
	state->xsave.xmm[15][15] = 0xaa;
	state->xsave.xstate_bv = XCR0_X87 | XCR0_SSE;
}

/* Every field comes back; the counter and its time go on. */
static void test_state_round_trip(void **context)
{
	struct error err = { 0 };

	(void)context;
	clock_pause(&fixture.machine.clock);
	fill(&first);
	if (set(0, &first, &err) < 0)
		fail_msg("%s", err.text);
	get(0, &second);
	assert_int_equal(second.tsc_time_ns, clock_now(&fixture.machine.clock));
	second.tsc = first.tsc;
	second.tsc_time_ns = first.tsc_time_ns;
	second.xsave.mxcsr_mask = first.xsave.mxcsr_mask;
	assert_memory_equal(&first.xsave, &second.xsave, sizeof(first.xsave));
	assert_memory_equal(&first, &second, sizeof(first));
	assert_true(state_check(&cpu_state_table, &second, NULL));
}

static void test_impossible_state_is_refused(void **context)
{
	struct error err = { 0 };

	(void)context;
	get(0, &first);
	second = first;
	second.cr0 = CR0_PG | CR0_ET;
	second.gpr[0] = 42;
	assert_int_equal(set(0, &second, &err), -22);
	assert_true(err.text[0]);
	assert_int_equal(cpu->gpr[0], first.gpr[0]);
}

static void test_reset_counters_are_equal(void **context)
{
	(void)context;
	for (unsigned i = 1; i < NR_VCPUS; i++)
		assert_int_equal(fixture.vcpus[i].tsc_offset, cpu->tsc_offset);
}

/* A pause of the machine, as vmm does it: the counter must not see it. */
static void test_counter_stands_while_paused(void **context)
{
	const struct timespec pause = { .tv_nsec = 20 * NS_PER_MS };
	uint64_t before, after;
	ns_t start_ns, took_ns;

	(void)context;
	tsc_follow_clock(cpu);
	start_ns = host_now();
	before = vcpu_tsc(cpu);
	clock_pause(&fixture.machine.clock);
	nanosleep(&pause, NULL);
	clock_resume(&fixture.machine.clock);
	for (unsigned i = 0; i < NR_VCPUS; i++)
		assert_true(tsc_follow_clock(&fixture.vcpus[i]));
	after = vcpu_tsc(cpu);
	took_ns = host_now() - start_ns;
	assert_true(after > before);
	/* What it took without 10 ms of the 20. */
	assert_true((after - before) / (fixture.model.tsc_hz / 1000000) <
		    (uint64_t)(took_ns - 10 * NS_PER_MS) / NS_PER_US);
	for (unsigned i = 1; i < NR_VCPUS; i++)
		assert_int_equal(fixture.vcpus[i].tsc_offset, cpu->tsc_offset);
	assert_false(tsc_follow_clock(cpu));
}

/* Saved at one time and restored at another, the counter is where its clock says. */
static void test_counter_follows_a_restored_clock(void **context)
{
	struct cpu_state state;
	struct error err = { 0 };
	uint64_t expected;

	(void)context;
	cpu_state_reset(&state, 0);
	state.tsc = BIT(40);
	state.tsc_time_ns = 100 * NS_PER_S;
	clock_pause(&fixture.machine.clock);
	clock_set(&fixture.machine.clock, 101 * NS_PER_S);
	for (unsigned i = 0; i < NR_VCPUS; i++)
		assert_int_equal(set(i, &state, &err), 0);
	clock_resume(&fixture.machine.clock);
	for (unsigned i = 0; i < NR_VCPUS; i++)
		tsc_follow_clock(&fixture.vcpus[i]);
	expected = BIT(40) + fixture.model.tsc_hz;
	assert_true(vcpu_tsc(cpu) - expected < fixture.model.tsc_hz / 50);
	for (unsigned i = 1; i < NR_VCPUS; i++)
		assert_int_equal(fixture.vcpus[i].tsc_offset, cpu->tsc_offset);
}

static void reset_all(void)
{
	struct error err = { 0 };

	for (unsigned i = 0; i < NR_VCPUS; i++) {
		cpu_state_reset(&first, i);
		assert_int_equal(set(i, &first, &err), 0);
	}
}

/* With host_tsc it is the host's from a reset to the first pause, on every vCPU. */
static void test_counter_begins_as_the_hosts(void **context)
{
	struct clock *clock = &fixture.machine.clock;

	(void)context;
	cpu->engine->host_tsc = true;
	for (unsigned round = 0; round < 2; round++) {
		reset_all();
		tsc_follow_clock(cpu);
		assert_int_equal(cpu->tsc_offset, 0);
		/* One that has not run yet is saved as it would run. */
		clock_pause(clock);
		get(1, &second);
		get(0, &first);
		assert_int_equal(first.tsc_time_ns, second.tsc_time_ns);
		assert_int_equal(first.tsc, second.tsc);
		clock_resume(clock);
		for (unsigned i = 0; i < NR_VCPUS; i++) {
			tsc_follow_clock(&fixture.vcpus[i]);
			assert_int_equal(fixture.vcpus[i].tsc_offset, cpu->tsc_offset);
		}
		assert_true((int64_t)cpu->tsc_offset < 0);
	}
	cpu->engine->host_tsc = false;
	reset_all();
	tsc_follow_clock(cpu);
	assert_int_not_equal(cpu->tsc_offset, 0);
}

/* As a guest reads it, msr.rst. */
struct time_info {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
};

static ns_t guest_time(const struct time_info *info, uint64_t tsc)
{
	uint64_t delta = tsc - info->tsc_timestamp;

	delta = info->tsc_shift < 0 ? delta >> -info->tsc_shift : delta << info->tsc_shift;
	return (ns_t)(info->system_time +
		      (uint64_t)((unsigned __int128)delta * info->tsc_to_system_mul >> 32));
}

static void test_kvmclock(void **context)
{
	struct time_info info;
	ns_t shown, actual;

	(void)context;
	tsc_follow_clock(cpu);
	kvmclock_set_system_time(cpu, 0x10000 | 1);
	assert_int_equal(
		guest_memory_read(&fixture.machine.memory, 0x10000, &info, sizeof(info)), 0);
	assert_int_equal(info.version & 1, 0);
	assert_true(info.version > 0);
	for (int i = 0; i < 3; i++) {
		const struct timespec wait = { .tv_nsec = 5 * NS_PER_MS };

		actual = clock_now(&fixture.machine.clock);
		shown = guest_time(&info, vcpu_tsc(cpu));
		assert_true(shown > actual - NS_PER_MS);
		assert_true(shown < clock_now(&fixture.machine.clock) + NS_PER_MS);
		nanosleep(&wait, NULL);
	}
	/* A vCPU that joins later shows the same line. */
	kvmclock_set_system_time(&fixture.vcpus[1], 0x11000 | 1);
	guest_memory_read(&fixture.machine.memory, 0x11000, &info, sizeof(info));
	shown = guest_time(&info, vcpu_tsc(cpu));
	guest_memory_read(&fixture.machine.memory, 0x10000, &info, sizeof(info));
	assert_true(guest_time(&info, vcpu_tsc(cpu)) >= shown);
	/* Disabled, or where no RAM is: nothing happens. */
	kvmclock_set_system_time(cpu, 0x10000);
	kvmclock_set_system_time(cpu, 0xfffffff000 | 1);
	kvmclock_set_wall_clock(cpu, 0xfffffff000);
}

static void test_wall_clock(void **context)
{
	uint32_t wall[3];
	time_t epoch;

	(void)context;
	kvmclock_set_wall_clock(cpu, 0x12000);
	assert_int_equal(guest_memory_read(&fixture.machine.memory, 0x12000, wall, 12), 0);
	assert_int_equal(wall[0] & 1, 0);
	epoch = time(NULL) - clock_now(&fixture.machine.clock) / NS_PER_S;
	assert_true((int64_t)wall[1] - epoch <= 1 && (int64_t)wall[1] - epoch >= -2);
	assert_true(wall[2] < NS_PER_S);
}

static void *wait_for_requests(void *opaque)
{
	vcpu_wait(opaque);
	return NULL;
}

static void test_wait_ends_with_a_kick(void **context)
{
	const struct timespec soon = { .tv_nsec = 5 * NS_PER_MS };
	pthread_t thread;

	(void)context;
	cpu->activity = CPU_HALTED;
	pthread_create(&thread, NULL, wait_for_requests, cpu);
	nanosleep(&soon, NULL);
	soft_engine_ops.kick(fixture.engine, 0);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&cpu->requests) & REQUEST_KICK);
}

static void test_wait_ends_with_an_interrupt_only_if_enabled(void **context)
{
	const struct timespec soon = { .tv_nsec = 5 * NS_PER_MS };
	struct cpu_bus *bus = &fixture.machine.cpu_bus;
	pthread_t thread;

	(void)context;
	apic_mmio_write(cpu, 0xf0, 0x1ff);
	cpu->activity = CPU_HALTED;
	cpu->flags_system = 0;
	pthread_create(&thread, NULL, wait_for_requests, cpu);
	bus->msi(bus->engine, 0xfee00000, 0x41);
	nanosleep(&soon, NULL);
	assert_int_equal(pthread_tryjoin_np(thread, NULL), 16 /* EBUSY */);
	bus->msi(bus->engine, 0xfee00000, 0x400); /* NMI */
	pthread_join(thread, NULL);

	atomic_store(&cpu->requests, 0);
	cpu->flags_system = RFLAGS_IF;
	vcpu_wait(cpu); /* 41h is still there */
	assert_true(apic_interrupt_ready(cpu));
}

static void test_wait_ends_with_the_timer(void **context)
{
	struct timespec start, end;
	int64_t ns;

	(void)context;
	apic_mmio_write(cpu, 0xf0, 0x1ff);
	apic_mmio_write(cpu, 0x320, 0x31);
	apic_mmio_write(cpu, 0x3e0, 0xb);
	cpu->activity = CPU_HALTED;
	cpu->flags_system = RFLAGS_IF;
	clock_gettime(CLOCK_MONOTONIC, &start);
	apic_mmio_write(cpu, 0x380, 20000000); /* 20 ms */
	vcpu_wait(cpu);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ns = (end.tv_sec - start.tv_sec) * NS_PER_S + end.tv_nsec - start.tv_nsec;
	assert_true(ns >= 19 * NS_PER_MS);
	assert_int_equal(apic_acknowledge(cpu), 0x31);
}

static void test_a20(void **context)
{
	struct cpu_bus *bus = &fixture.machine.cpu_bus;

	(void)context;
	bus->set_a20(bus->engine, true);
	assert_int_equal(atomic_load(&cpu->requests), 0);
	bus->set_a20(bus->engine, false);
	for (unsigned i = 0; i < NR_VCPUS; i++) {
		assert_true(atomic_load(&fixture.vcpus[i].requests) & REQUEST_FLUSH_TLB);
		vcpu_take_flush(&fixture.vcpus[i]);
		assert_int_equal(fixture.vcpus[i].a20_mask, ~BIT(20));
	}
}

/* Two regions that change places, and what the guest wrote to one that was ROM. */
struct switching {
	struct ram_region *regions[2];
	unsigned shown;
	uint64_t written;
};

#define SWITCHED UINT64_C(0x200000)

static void show(struct switching *switching, enum ram_kind kind)
{
	struct guest_memory *memory = &fixture.machine.memory;

	guest_memory_place(memory, switching->regions[!switching->shown], SWITCHED, RAM_HIDDEN);
	guest_memory_place(memory, switching->regions[switching->shown], SWITCHED, kind);
}

static void write_switch(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct switching *switching = device;

	(void)size;
	(void)value;
	if (offset == 1) {
		soft_engine_ops.kick(fixture.engine, 0);
		return;
	}
	switching->shown ^= 1;
	show(switching, RAM_ROM);
}

static void write_rom(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	((struct switching *)device)->written = offset << 16 | value;
}

/* Memory that changes under the code that runs in it: the next instruction is the new one's. */
static void test_memory_is_switched(void **context)
{
	/* out 0x80; mov bx, 0x1111; out 0x80; mov cx, 0x1111; mov dx, [0x20]; mov byte [0x20],
	 * 0x55; out 0x81 */
	static const uint8_t code[2][21] = {
		"\xe6\x80\xbb\x11\x11\xe6\x80\xb9\x11\x11\x8b\x16\x20\x00\xc6\x06\x20\x00\x55\xe6"
		"\x81",
		"\xe6\x80\xbb\x22\x22\xe6\x80\xb9\x22\x22\x8b\x16\x20\x00\xc6\x06\x20\x00\x55\xe6"
		"\x81",
	};
	static const struct io_ops switch_ops = { .write = write_switch };
	static const struct io_ops rom_ops = { .write = write_rom };
	struct machine *machine = &fixture.machine;
	struct switching switching = { 0 };
	struct vcpu_exit exit;

	(void)context;
	for (unsigned i = 0; i < 2; i++) {
		switching.regions[i] = guest_memory_add_movable(&machine->memory, 0x1000, NULL);
		memcpy(switching.regions[i]->host, code[i], sizeof(code[i]));
		memset(switching.regions[i]->host + 0x20, 0xaa + 0x11 * (int)i, 2);
	}
	address_space_map(
		&machine->pio, &(struct io_region){ 0x80, 2, &switch_ops, &switching, "switch" });
	address_space_map(&machine->mmio,
		&(struct io_region){ SWITCHED, 0x1000, &rom_ops, &switching, "rom" });
	show(&switching, RAM_ROM);
	/* The second time with what was decoded in the first. */
	for (unsigned round = 0; round < 3; round++) {
		cpu_state_reset(&first, 0);
		first.rip = 0;
		first.segment[X86_CS].base = first.segment[X86_DS].base = SWITCHED;
		assert_int_equal(set(0, &first, NULL), 0);
		switching.written = 0;
		soft_engine_ops.run(fixture.engine, 0, &exit);
		assert_int_equal(exit.reason, VCPU_EXIT_KICKED);
		get(0, &second);
		assert_int_equal(second.gpr[X86_RBX] & 0xffff, 0x2222);
		assert_int_equal(second.gpr[X86_RCX] & 0xffff, 0x1111);
		assert_int_equal(second.gpr[X86_RDX] & 0xffff, 0xaaaa);
		assert_int_equal(switching.written, 0x20 << 16 | 0x55);
		assert_int_equal(switching.regions[0]->host[0x20], 0xaa);
	}
	/* Its owner changes what is hidden, as flash that is programmed. */
	switching.regions[1]->host[3] = 0x33;
	assert_int_equal(set(0, &first, NULL), 0);
	soft_engine_ops.run(fixture.engine, 0, &exit);
	get(0, &second);
	assert_int_equal(second.gpr[X86_RBX] & 0xffff, 0x2233);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_state_round_trip),
		TEST(test_impossible_state_is_refused),
		TEST(test_reset_counters_are_equal),
		TEST(test_counter_stands_while_paused),
		TEST(test_counter_follows_a_restored_clock),
		TEST(test_counter_begins_as_the_hosts),
		TEST(test_kvmclock),
		TEST(test_wall_clock),
		TEST(test_wait_ends_with_a_kick),
		TEST(test_wait_ends_with_an_interrupt_only_if_enabled),
		TEST(test_wait_ends_with_the_timer),
		TEST(test_a20),
		TEST(test_memory_is_switched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
