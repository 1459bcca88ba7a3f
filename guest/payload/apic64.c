/* The local APIC: priorities, in-service, self-IPIs, errors, the timer. SDM 3A chapter 11. */
#include "apic.h"

#define LOW  0x41
#define HIGH 0x62

static volatile unsigned count;
static unsigned order[8];
static bool in_service;

static void keep(struct trap *trap)
{
	if (count < ARRAY_SIZE(order))
		order[count] = (unsigned)trap->vector;
	count++;
	in_service = apic_bit(APIC_ISR, (unsigned)trap->vector);
	apic_eoi();
}

static void reset(void)
{
	count = 0;
	memset(order, 0, sizeof(order));
}

static void self(unsigned vector)
{
	apic_send(0, ICR_SELF | ICR_ASSERT | vector);
}

static void registers(void)
{
	check_equal(apic_read(APIC_ID) >> 24, 0, "the id");
	check((apic_read(APIC_VERSION) & 0xff) >= 0x10, "the version");
	check((rdmsr(MSR_APIC_BASE) & ~0x400ull) == (0xfee00000 | 0x900),
		"APIC_BASE: enabled, BSP");
	check_equal(
		apic_read(APIC_LVT_ERROR) & APIC_MASKED, APIC_MASKED, "LVTs are masked at reset");
	apic_write(APIC_LVT_ERROR, SPURIOUS_VECTOR);
	apic_write(APIC_SVR, SPURIOUS_VECTOR);
	check_equal(apic_read(APIC_LVT_ERROR) & APIC_MASKED, APIC_MASKED,
		"a software disable masks LVTs");
	apic_write(APIC_LVT_ERROR, SPURIOUS_VECTOR);
	check_equal(apic_read(APIC_LVT_ERROR) & APIC_MASKED, APIC_MASKED,
		"which stay so while disabled");
	apic_enable();
}

static void priorities(void)
{
	u64 cr8;

	set_hook(LOW, keep);
	set_hook(HIGH, keep);
	reset();
	self(LOW);
	check(apic_bit(APIC_IRR, LOW), "IRR while interrupts are off");
	open_interrupts();
	check_equal(count, 1, "a self-IPI");
	check(in_service, "ISR inside");
	check(!apic_bit(APIC_ISR, LOW) && !apic_bit(APIC_IRR, LOW), "neither after EOI");

	reset();
	self(LOW);
	self(LOW);
	self(HIGH);
	open_interrupts();
	check(count == 2 && order[0] == HIGH && order[1] == LOW, "the higher vector comes first");

	reset();
	apic_write(APIC_TPR, 0x60);
	self(HIGH);
	self(LOW);
	open_interrupts();
	check_equal(count, 0, "TPR holds back its class and lower ones");
	apic_write(APIC_TPR, 0x50);
	open_interrupts();
	check(count == 1 && order[0] == HIGH, "a higher class passes");
	asm volatile("mov %0, %%cr8" ::"r"(0ull));
	check_equal(apic_read(APIC_TPR), 0, "CR8 is TPR");
	open_interrupts();
	check_equal(count, 2, "all pass with TPR 0");
	apic_write(APIC_TPR, 0x70);
	asm volatile("mov %%cr8, %0" : "=r"(cr8));
	check_equal(cr8, 7, "TPR is CR8");
	apic_write(APIC_TPR, 0);
}

static void nest(struct trap *trap)
{
	(void)trap;
	order[count++] = 0x50;
	self(LOW);
	self(HIGH);
	open_interrupts();
	order[count++] = 0x51;
	apic_eoi();
}

static void nesting(void)
{
	reset();
	set_hook(0x50, nest);
	self(0x50);
	open_interrupts();
	open_interrupts();
	check(order[0] == 0x50 && order[1] == HIGH,
		"a higher vector interrupts a lower one's handler");
	check(order[2] == 0x51 && order[3] == LOW, "a lower one waits for EOI");
	set_hook(0x50, NULL);
}

static void shadows(void)
{
	reset();
	self(LOW);
	asm volatile("sti; cli" ::: "memory");
	check_equal(count, 0, "STI; CLI lets nothing in");
	asm volatile("sti; nop; cli" ::: "memory");
	check_equal(count, 1, "STI; NOP; CLI does");
	reset();
	self(LOW);
	asm volatile("sti; mov %0, %%ss; cli" ::"r"(SEL_DATA) : "memory");
	check(count <= 1, "MOV SS after STI");
	open_interrupts();
	reset();
	self(LOW);
	asm volatile("sti; hlt; cli" ::: "memory");
	check_equal(count, 1, "STI; HLT with an interrupt pending");
	/* POPF has no shadow. */
	reset();
	self(LOW);
	asm volatile("pushf; orl $0x200, (%%rsp); popf; cli" ::: "memory", "cc");
	check_equal(count, 1, "POPF that sets IF lets one in before the next instruction");
}

static void errors(void)
{
	apic_write(APIC_ESR, 0);
	apic_write(APIC_ESR, 0);
	apic_write(APIC_ICR_HIGH, 0);
	apic_write(APIC_ICR, ICR_SELF | ICR_ASSERT | 5);
	delay_us(100);
	apic_write(APIC_ESR, 0);
	check(apic_read(APIC_ESR) & 0x60, "ESR: an illegal vector");
	apic_write(APIC_ESR, 0);
	check_equal(apic_read(APIC_ESR), 0, "a write latches anew");
}

static void one_shot(void)
{
	u32 first, second;

	set_hook(LOW, keep);
	reset();
	apic_write(APIC_TIMER_DIVIDE, 0xb); /* by 1 */
	apic_write(APIC_LVT_TIMER, LOW);
	apic_write(APIC_TIMER_INITIAL, 0xffffffff);
	first = apic_read(APIC_TIMER_CURRENT);
	delay_us(100);
	second = apic_read(APIC_TIMER_CURRENT);
	check(second < first, "the count goes down");
	apic_write(APIC_TIMER_INITIAL, 0);
	check_equal(apic_read(APIC_TIMER_CURRENT), 0, "0 stops it");
	apic_write(APIC_TIMER_INITIAL, 10000);
	check(wait_count(&count, 1, 1000), "one-shot fires");
	check(!wait_count(&count, 2, 20), "once");
	check_equal(apic_read(APIC_TIMER_CURRENT), 0, "the count is 0 then");
	apic_write(APIC_LVT_TIMER, LOW | APIC_MASKED);
	apic_write(APIC_TIMER_INITIAL, 1000);
	delay_us(10000);
	open_interrupts();
	check(count == 1 && !apic_bit(APIC_IRR, LOW), "a masked timer raises nothing");
}

/* Counts of the masked timer in a second. */
static u64 measure_hz(u32 divide)
{
	u64 start, ticks;

	apic_write(APIC_LVT_TIMER, LOW | APIC_MASKED);
	apic_write(APIC_TIMER_DIVIDE, divide);
	start = rdtsc();
	apic_write(APIC_TIMER_INITIAL, 0xffffffff);
	delay_us(20000);
	ticks = 0xffffffff - apic_read(APIC_TIMER_CURRENT);
	ticks = ticks * (tsc_hz() / 1000) / ((rdtsc() - start) / 1000);
	apic_write(APIC_TIMER_INITIAL, 0);
	return ticks;
}

/* A busy host can only make it less; some tries will be undisturbed. */
static u64 timer_hz(u32 divide)
{
	u64 most = 0;

	for (int i = 0; i < 4; i++) {
		u64 hz = measure_hz(divide);

		if (hz > most)
			most = hz;
	}
	return most;
}

static void periodic(void)
{
	u64 hz, start, used;
	u32 initial;

	/* A hundred ticks of a millisecond. */
	hz = timer_hz(0xb);
	initial = (u32)(hz / 1000);
	reset();
	apic_write(APIC_LVT_TIMER, LOW | APIC_PERIODIC);
	apic_write(APIC_TIMER_INITIAL, initial);
	start = rdtsc();
	check(wait_count(&count, 100, 2000), "periodic: a hundred ticks");
	used = (rdtsc() - start) * 1000 / tsc_hz();
	check(used >= 95 && used <= 2000, "in a hundred milliseconds, or more if the host is busy");
	apic_write(APIC_LVT_TIMER, LOW | APIC_MASKED);
	apic_write(APIC_TIMER_INITIAL, 0);
	used = timer_hz(0);
	check(used > hz * 4 / 10 && used < hz * 6 / 10, "divided by 2");
	open_interrupts();
}

static void deadline(void)
{
	u64 when;

	if (!(cpuid(1, 0).ecx & BIT(24))) {
		skip("TSC deadline", "not in CPUID");
		return;
	}
	reset();
	apic_write(APIC_LVT_TIMER, LOW | APIC_DEADLINE);
	when = rdtsc() + tsc_hz() / 100;
	wrmsr(MSR_DEADLINE, when);
	check_equal(rdmsr(MSR_DEADLINE), when, "the deadline reads back");
	check(wait_count(&count, 1, 1000), "the deadline fires");
	check(rdtsc() >= when, "not before it");
	check_equal(rdmsr(MSR_DEADLINE), 0, "the register is 0 then");
	check(!wait_count(&count, 2, 20), "it fires once");
	wrmsr(MSR_DEADLINE, 1);
	check(wait_count(&count, 2, 2000), "a deadline in the past fires at once");
	wrmsr(MSR_DEADLINE, rdtsc() + tsc_hz() / 50);
	wrmsr(MSR_DEADLINE, 0);
	check(!wait_count(&count, 3, 60), "0 disarms");
	apic_write(APIC_TIMER_INITIAL, 1000);
	check(!wait_count(&count, 3, 20), "the initial count has no effect in this mode");
	apic_write(APIC_LVT_TIMER, LOW | APIC_MASKED);
	wrmsr(MSR_DEADLINE, rdtsc() + 1000);
	check_equal(rdmsr(MSR_DEADLINE), 0, "in other modes the register is not there");
}

static volatile unsigned nmis;
static volatile unsigned nmi_depth, nmi_deepest;

static void on_nmi(struct trap *trap)
{
	(void)trap;
	nmis++;
	nmi_depth++;
	if (nmi_depth > nmi_deepest)
		nmi_deepest = nmi_depth;
	if (nmis == 1)
		apic_send(0, ICR_NMI | ICR_ASSERT);
	delay_us(100);
	nmi_depth--;
}

static void nmi(void)
{
	set_hook(NMI, on_nmi);
	apic_send(0, ICR_NMI | ICR_ASSERT);
	check(poll_count(&nmis, 2, 2000), "an NMI to oneself, and one sent during it");
	check_equal(nmi_deepest, 1, "which waits for IRET");
	set_hook(NMI, NULL);
}

static void write_x2apic(void *value)
{
	wrmsr(0x80b, (word)value);
}

static void set_base(void *value)
{
	wrmsr(MSR_APIC_BASE, (word)value);
}

static void keep_x2(struct trap *trap)
{
	(void)trap;
	count++;
	wrmsr(0x80b, 0);
}

static void x2apic(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	if (!(cpuid(1, 0).ecx & BIT(21))) {
		skip("x2APIC", "not in CPUID");
		return;
	}
	check_trap(attempt(write_x2apic, NULL), GP, 0, "an x2APIC register in xAPIC mode");
	wrmsr(MSR_APIC_BASE, base | 0x400);
	check_equal(rdmsr(0x802), 0, "x2APIC: the id");
	check_equal(rdmsr(0x803) & 0xff, 0x14, "x2APIC: the version");
	check_equal(rdmsr(0x80d), 1, "x2APIC: the logical id follows from it");
	check_equal(rdmsr(0x80f), 0x100 | SPURIOUS_VECTOR, "x2APIC: SVR is the same");
	reset();
	set_hook(LOW, keep_x2);
	wrmsr(0x83f, LOW);
	open_interrupts();
	check_equal(count, 1, "x2APIC: the self-IPI register");
	wrmsr(0x830, ICR_SELF | ICR_ASSERT | LOW);
	open_interrupts();
	check_equal(count, 2, "x2APIC: ICR");
	check_trap(attempt(write_x2apic, (void *)1), GP, 0, "x2APIC: EOI of other than 0");
	check_trap(attempt(set_base, (void *)base), GP, 0, "x2APIC to xAPIC");
	wrmsr(MSR_APIC_BASE, base & ~0xc00ull);
	wrmsr(MSR_APIC_BASE, base);
	check_equal(rdmsr(MSR_APIC_BASE), base, "through disabled back to xAPIC");
	apic_enable();
}

void payload(void)
{
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	registers();
	priorities();
	nesting();
	shadows();
	errors();
	one_shot();
	periodic();
	deadline();
	nmi();
	x2apic();
}
