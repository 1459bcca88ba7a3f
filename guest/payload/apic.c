/* The local APIC in xAPIC mode (SDM 3A chapter 11), and time. */
#include "apic.h"

#define APIC_BASE 0xfee00000
#define PENDING   0x1000

#define PIT_HZ 1193182

u32 apic_read(u32 offset)
{
	return *(volatile u32 *)(word)(APIC_BASE + offset);
}

void apic_write(u32 offset, u32 value)
{
	*(volatile u32 *)(word)(APIC_BASE + offset) = value;
}

void apic_enable(void)
{
	apic_write(APIC_SVR, 0x100 | SPURIOUS_VECTOR);
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

void apic_send(u32 destination, u32 low)
{
	apic_write(APIC_ICR_HIGH, destination << 24);
	apic_write(APIC_ICR, low);
	while (apic_read(APIC_ICR) & PENDING)
		pause();
}

bool apic_bit(u32 base, unsigned vector)
{
	return apic_read(base + vector / 32 * 0x10) >> (vector % 32) & 1;
}

/* TSC ticks that `ms` milliseconds of channel 2 take, whose output is bit 5 of port 0x61; and a
 * port access or two. */
static u64 measure(u32 ms)
{
	u32 count = PIT_HZ * ms / 1000;
	u64 start;

	outb(0x61, (inb(0x61) & ~2) | 1);
	outb(0x43, 0xb0);
	outb(0x42, (u8)count);
	start = rdtsc();
	outb(0x42, (u8)(count >> 8));
	while (!(inb(0x61) & 0x20))
		pause();
	return rdtsc() - start;
}

/* A busy host can only make it longer; some tries will be undisturbed. */
static u64 shortest(u32 ms)
{
	u64 least = measure(ms);

	for (int i = 0; i < 12; i++) {
		u64 again = measure(ms);

		if (again < least)
			least = again;
	}
	return least;
}

u64 tsc_hz(void)
{
	static u64 hz;

	/* The difference of two, for in it the port accesses cancel out: nested, one takes a tenth
	 * of a millisecond. */
	if (!hz)
		hz = (shortest(11) - shortest(1)) * 100;
	return hz;
}

void delay_us(u64 us)
{
	u64 end = rdtsc() + tsc_hz() / 1000000 * us;

	while (rdtsc() < end)
		pause();
}

bool wait_count(volatile unsigned *counter, unsigned value, unsigned ms)
{
	u64 end = rdtsc() + tsc_hz() / 1000 * ms;

	while (*counter < value && rdtsc() < end)
		asm volatile("sti; nop; nop; cli" ::: "memory");
	return *counter >= value;
}

bool poll_count(volatile unsigned *counter, unsigned value, unsigned ms)
{
	u64 end = rdtsc() + tsc_hz() / 1000 * ms;

	while (*counter < value && rdtsc() < end)
		pause();
	return *counter >= value;
}
