/* The second processor: SDM 3A 9.4. */
#include "apic.h"

#define TRAMPOLINE 0x8000
#define OTHER      1

extern u8 smp_trampoline[], smp_trampoline_end[];

static volatile unsigned starts, work_given, work_done;
static void (*volatile work)(void *);
static void *volatile work_argument;

void smp_main(void);

void smp_main(void)
{
	unsigned done = work_done;

	load_segments();
	idt_load(256);
	apic_enable();
	starts++;
	for (;;) {
		while (work_given == done)
			pause();
		done = work_given;
		work(work_argument);
		work_done = done;
	}
}

bool smp_start(void)
{
	unsigned before = starts;

	memcpy((void *)TRAMPOLINE, smp_trampoline, (size_t)(smp_trampoline_end - smp_trampoline));
	work_given = work_done = 0;
	apic_enable();
	apic_send(OTHER, ICR_INIT | ICR_ASSERT);
	delay_us(10000);
	for (int i = 0; i < 2; i++) {
		apic_send(OTHER, ICR_SIPI | ICR_ASSERT | TRAMPOLINE >> 12);
		if (poll_count(&starts, before + 1, 1000))
			return true;
	}
	return false;
}

void smp_run(void (*function)(void *), void *argument)
{
	work = function;
	work_argument = argument;
	barrier();
	work_given = work_done + 1;
}

bool smp_wait(unsigned ms)
{
	return poll_count(&work_done, work_given, ms);
}
