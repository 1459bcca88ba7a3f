/*
 * Every way to reset the machine, with the other processor at work. CMOS memory tells one run from
 * the next; its first value may be anything.
 */
#include "apic.h"

#define STAGE_INDEX 0x60
#define STAGE_MAGIC 0xa0

static unsigned stage(void)
{
	u8 value;

	outb(0x70, STAGE_INDEX);
	value = inb(0x71);
	return (value & 0xf0) == STAGE_MAGIC ? value & 0xf : 0;
}

static void set_stage(u8 value)
{
	outb(0x70, STAGE_INDEX);
	outb(0x71, value);
}

static void by_reset_control(void)
{
	outb(0xcf9, 2);
	outb(0xcf9, 6);
}

static void by_8042(void)
{
	while (inb(0x64) & 2)
		pause();
	outb(0x64, 0xfe);
}

static void by_port_92(void)
{
	outb(0x92, inb(0x92) & ~1);
	outb(0x92, inb(0x92) | 1);
}

static void by_triple_fault(void)
{
	idt_load(0x20);
	memset(idt, 0, sizeof(idt));
	asm volatile("ud2");
}

static void (*const resets[])(void) = { by_reset_control, by_8042, by_port_92, by_triple_fault };
static const char *const names[] = { "port 0xcf9", "the 8042", "port 0x92", "a triple fault" };

static volatile unsigned spinning;

static void spin(void *unused)
{
	(void)unused;
	for (;;)
		spinning++;
}

static u32 data_survives = 0x1234;

void payload(void)
{
	unsigned at = stage();

	if (data_survives != 0x1234) {
		check(false, "the kernel is loaded again");
		return;
	}
	data_survives = 0;
	if (at == ARRAY_SIZE(resets)) {
		for (unsigned i = 0; i < at; i++)
			ok(names[i]);
		check_equal(
			rdmsr(MSR_APIC_BASE) & 0xfffff900, 0xfee00900, "the APIC is as at reset");
		check_equal(apic_read(APIC_LVT_TIMER), APIC_MASKED, "its timer, too");
		check_equal(read_cr4() & ~CR4_PAE, 0, "CR4 is as at entry");
		check_equal(read_dr7(), 0x400, "DR7 is as at reset");
		set_stage(0);
		return;
	}
	/* Something that a reset has to undo. */
	if (smp_start())
		smp_run(spin, NULL);
	apic_write(APIC_LVT_TIMER, 0x50);
	apic_write(APIC_TIMER_INITIAL, 0x7fffffff);
	write_dr7(0x455);
	set_stage((u8)(STAGE_MAGIC | (at + 1)));
	resets[at]();
	delay_us(5000000);
	set_stage(0);
	check(false, names[at]);
}
