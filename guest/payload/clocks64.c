/* Clocks against each other: TSC, PIT, PM timer, RTC, and the paravirtual clock. */
#include "apic.h"

#define PM_TIMER 0x608
#define PM_HZ    3579545
#define PIT_HZ   1193182

static u8 cmos(u8 index)
{
	outb(0x70, index);
	return inb(0x71);
}

static bool near(u64 got, u64 expected, unsigned percent)
{
	return got * 100 > expected * (100 - percent) && got * 100 < expected * (100 + percent);
}

/* A busy host may spoil some tries. */
static void check_rate(bool (*right)(void), const char *name)
{
	for (int i = 0; i < 20; i++) {
		if (right()) {
			ok(name);
			return;
		}
	}
	check(false, name);
}

/* What a clock of `hz` counts since the TSC was `start`. */
static u64 expected_since(u64 start, u64 hz)
{
	return (rdtsc() - start) * hz / tsc_hz();
}

static bool pm_timer_is_right(void)
{
	u64 start = rdtsc();
	u32 first = inl(PM_TIMER), ticks;

	delay_us(20000);
	ticks = (inl(PM_TIMER) - first) & 0xffffff;
	return near(ticks, expected_since(start, PM_HZ), 5);
}

static u16 latch(void)
{
	u16 low;

	outb(0x43, 0x00);
	low = inb(0x40);
	return (u16)(low | inb(0x40) << 8);
}

static bool pit_is_right(void)
{
	u16 first, ticks;
	u64 start;

	outb(0x43, 0x34);
	outb(0x40, 0xff);
	outb(0x40, 0xff);
	start = rdtsc();
	first = latch();
	delay_us(10000);
	ticks = (u16)(first - latch());
	return near(ticks, expected_since(start, PIT_HZ), 5);
}

static void pit(void)
{
	check_rate(pit_is_right, "PIT channel 0's rate");
	outb(0x43, 0xe2);
	check_equal(inb(0x40) & 0x3f, 0x34, "read-back: status of channel 0");
}

static bool updating;

static void wait_for_second(void)
{
	u8 second = cmos(0);

	while (cmos(0) == second)
		updating |= !!(cmos(0x0a) & 0x80);
}

static bool second_is_right(void)
{
	u64 start;

	wait_for_second();
	start = rdtsc();
	wait_for_second();
	return near(rdtsc() - start, tsc_hz(), 5);
}

static void rtc(void)
{
	check(cmos(0x0d) & 0x80, "RTC: the battery is good");
	check_rate(second_is_right, "RTC: a second");
	for (int i = 0; !updating && i < 10; i++)
		wait_for_second();
	check(updating, "RTC: UIP before the update");
	check((cmos(0x32) & 0xf0) == 0x20, "RTC: the century");
	outb(0x70, 0x60);
	outb(0x71, 0xa5);
	check_equal(cmos(0x60), 0xa5, "CMOS memory");
	outb(0x70, 0x60);
	outb(0x71, 0);
}

#define MSR_WALL_CLOCK  0x4b564d00
#define MSR_SYSTEM_TIME 0x4b564d01

struct time_info {
	u32 version, pad;
	u64 tsc, system_time;
	u32 multiplier;
	signed char shift;
	u8 flags, reserved[2];
};

static u64 system_ns(const volatile struct time_info *info)
{
	u64 delta = rdtsc() - info->tsc;

	delta = info->shift >= 0 ? delta << info->shift : delta >> -info->shift;
	return info->system_time + (u64)((unsigned __int128)delta * info->multiplier >> 32);
}

static volatile struct time_info info __attribute__((aligned(64)));

static bool kvmclock_is_right(void)
{
	u64 start = rdtsc(), ns = system_ns(&info);

	delay_us(20000);
	ns = system_ns(&info) - ns;
	return near(ns, expected_since(start, 1000000000), 5);
}

static void paravirtual(void)
{
	static volatile u32 wall[3] __attribute__((aligned(64)));
	struct cpuid signature = cpuid(0x40000000, 0);

	if (signature.ebx != 0x4b4d564b || !(cpuid(0x40000001, 0).eax & BIT(3))) {
		skip("kvmclock", "not in CPUID");
		return;
	}
	wrmsr(MSR_SYSTEM_TIME, (word)&info | 1);
	check(info.version && !(info.version & 1), "kvmclock: an even version");
	check_rate(kvmclock_is_right, "kvmclock: its rate");
	wrmsr(MSR_WALL_CLOCK, (word)wall);
	check(wall[1] > 1600000000, "kvmclock: the wall clock");
	wrmsr(MSR_SYSTEM_TIME, 0);
}

void payload(void)
{
	check(tsc_hz() > 10000000, "the TSC's rate");
	check_rate(pm_timer_is_right, "the PM timer's rate");
	pit();
	rtc();
	paravirtual();
}
