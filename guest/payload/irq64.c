/* ISA interrupts: PIT, RTC and UART through the 8259s and through the I/O APIC. */
#include "apic.h"

#define PIC_MASTER  0x20
#define PIC_SLAVE   0xa0
#define MASTER_BASE 0x20
#define SLAVE_BASE  0x28

#define PIN_BASE 0x50 /* vectors of I/O APIC pins */
#define IOAPIC   0xfec00000

#define LEVEL  BIT(15)
#define MASKED BIT(16)
#define REMOTE BIT(14)

#define COM1 0x3f8
#define THRI 2

static volatile unsigned counts[256];
static volatile unsigned *const pit_pic = &counts[MASTER_BASE];

static void pic_interrupt(struct trap *trap)
{
	counts[trap->vector]++;
	if (trap->vector >= SLAVE_BASE)
		outb(PIC_SLAVE, 0x20);
	outb(PIC_MASTER, 0x20);
}

static void apic_interrupt(struct trap *trap)
{
	counts[trap->vector]++;
	apic_eoi();
}

static void start_pics(void)
{
	outb(PIC_MASTER, 0x11);
	outb(PIC_SLAVE, 0x11);
	outb(PIC_MASTER + 1, MASTER_BASE);
	outb(PIC_SLAVE + 1, SLAVE_BASE);
	outb(PIC_MASTER + 1, 4);
	outb(PIC_SLAVE + 1, 2);
	outb(PIC_MASTER + 1, 1);
	outb(PIC_SLAVE + 1, 1);
	outb(PIC_MASTER + 1, 0xff);
	outb(PIC_SLAVE + 1, 0xff);
	for (int i = 0; i < 16; i++)
		set_hook(MASTER_BASE + i, pic_interrupt);
}

static void start_pit(unsigned hz)
{
	unsigned count = 1193182 / hz;

	outb(0x43, 0x34);
	outb(0x40, (u8)count);
	outb(0x40, (u8)(count >> 8));
}

static u8 pic_read(u16 port, u8 what)
{
	outb(port, what);
	return inb(port);
}

static void pit_through_pic(void)
{
	u64 start, ms;

	apic_enable();
	apic_write(APIC_LVT_LINT0, APIC_EXTINT);
	start_pit(1000);
	delay_us(5000);
	open_interrupts();
	check_equal(*pit_pic, 0, "a masked request does not arrive");
	check(pic_read(PIC_MASTER, 0x0a) & 1, "it is in IRR");
	outb(PIC_MASTER + 1, 0xfe);
	start = rdtsc();
	check(wait_count(pit_pic, 50, 2000), "50 ticks of 1 kHz");
	ms = (rdtsc() - start) * 1000 / tsc_hz();
	check(ms >= 45 && ms <= 2000, "in 50 ms, or more if the host is busy");
	check_equal(pic_read(PIC_MASTER, 0x0b), 0, "ISR after EOI");
	outb(PIC_MASTER + 1, 0xff);
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
}

/* Keeps ISR, and ends with a specific EOI. */
static u8 isr_inside;

static void look_at_isr(struct trap *trap)
{
	counts[trap->vector]++;
	isr_inside = pic_read(PIC_MASTER, 0x0b);
	outb(PIC_MASTER, 0x60);
}

static void in_service(void)
{
	*pit_pic = 0;
	apic_write(APIC_LVT_LINT0, APIC_EXTINT);
	set_hook(MASTER_BASE, look_at_isr);
	outb(PIC_MASTER + 1, 0xfe);
	check(wait_count(pit_pic, 2, 2000), "a specific EOI ends it");
	check_equal(isr_inside, 1, "ISR inside");
	outb(PIC_MASTER + 1, 0xff);
	set_hook(MASTER_BASE, pic_interrupt);
	/* Poll mode acknowledges without an interrupt. */
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	outb(PIC_MASTER + 1, 0xfe);
	delay_us(3000);
	check_equal(pic_read(PIC_MASTER, 0x0c), 0x80, "poll: level 0 waits");
	check_equal(pic_read(PIC_MASTER, 0x0b) & 1, 1, "poll acknowledges");
	outb(PIC_MASTER, 0x20);
	outb(PIC_MASTER + 1, 0xff);
}

static void start_rtc(void)
{
	outb(0x70, 0x8a);
	outb(0x71, 0x26); /* 1024 Hz */
	outb(0x70, 0x8b);
	outb(0x71, (inb(0x71) & 0x0f) | 0x42);
	outb(0x70, 0x0c);
	inb(0x71);
}

static void stop_rtc(void)
{
	outb(0x70, 0x8b);
	outb(0x71, 2);
	outb(0x70, 0x0c);
	inb(0x71);
}

static u8 register_c;

static void rtc_interrupt(struct trap *trap)
{
	counts[trap->vector]++;
	outb(0x70, 0x0c);
	register_c = inb(0x71);
	if (trap->vector < PIN_BASE) {
		outb(PIC_SLAVE, 0x20);
		outb(PIC_MASTER, 0x20);
	} else {
		apic_eoi();
	}
}

static void rtc_through_slave(void)
{
	set_hook(SLAVE_BASE, rtc_interrupt);
	start_rtc();
	apic_write(APIC_LVT_LINT0, APIC_EXTINT);
	outb(PIC_MASTER + 1, 0xfb);
	outb(PIC_SLAVE + 1, 0xfe);
	check(wait_count(&counts[SLAVE_BASE], 20, 1000),
		"the RTC's periodic interrupt, by the slave");
	check_equal(register_c & 0xc0, 0xc0, "register C: IRQF and PF");
	outb(PIC_SLAVE + 1, 0xff);
	outb(PIC_MASTER + 1, 0xff);
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	stop_rtc();
}

static u32 ioapic_read(u8 index)
{
	*(volatile u32 *)(word)IOAPIC = index;
	return *(volatile u32 *)(word)(IOAPIC + 0x10);
}

static void ioapic_write(u8 index, u32 value)
{
	*(volatile u32 *)(word)IOAPIC = index;
	*(volatile u32 *)(word)(IOAPIC + 0x10) = value;
}

static void set_pin(unsigned pin, u64 entry)
{
	ioapic_write((u8)(0x11 + 2 * pin), (u32)(entry >> 32));
	ioapic_write((u8)(0x10 + 2 * pin), (u32)entry);
}

static void io_apic(void)
{
	check_equal(ioapic_read(1) >> 16 & 0xff, 23, "24 pins");
	check((ioapic_read(1) & 0xff) >= 0x11, "the version");
	check(ioapic_read(0x10) & MASKED, "a pin is masked at reset");
	set_hook(PIN_BASE + 2, apic_interrupt);
	start_pit(1000);
	set_pin(2, PIN_BASE + 2);
	check(wait_count(&counts[PIN_BASE + 2], 20, 1000), "PIT by pin 2");
	set_pin(2, MASKED);
	wait_count(&counts[PIN_BASE + 2], ~0u, 3); /* one may have been on its way */
	counts[PIN_BASE + 2] = 0;
	check(!wait_count(&counts[PIN_BASE + 2], 1, 10), "none while masked");
	outb(0x43, 0x30);

	set_hook(PIN_BASE + 8, rtc_interrupt);
	set_pin(8, PIN_BASE + 8);
	start_rtc();
	check(wait_count(&counts[PIN_BASE + 8], 20, 1000), "RTC by pin 8");
	stop_rtc();
	set_pin(8, MASKED);
}

static bool end_at_source;

static void uart_interrupt(struct trap *trap)
{
	counts[trap->vector]++;
	if (end_at_source || counts[trap->vector] >= 5)
		outb(COM1 + 1, 0);
	apic_eoi();
}

static void wait_for_uart(void)
{
	while ((inb(COM1 + 5) & 0x60) != 0x60)
		pause();
}

static void uart(void)
{
	volatile unsigned *count = &counts[PIN_BASE + 4];

	set_hook(PIN_BASE + 4, uart_interrupt);
	outb(COM1 + 4, 0x0b); /* OUT2 lets the interrupt out */
	wait_for_uart();
	outb(COM1 + 1, 0);
	inb(COM1 + 2);
	set_pin(4, PIN_BASE + 4);
	end_at_source = true;
	outb(COM1 + 1, THRI);
	check(wait_count(count, 1, 2000), "UART: an empty transmitter interrupts, edge");
	check(!wait_count(count, 2, 10), "once");
	set_pin(4, MASKED);

	/* Level: as long as the line is high it comes again after EOI. */
	*count = 0;
	end_at_source = false;
	set_pin(4, LEVEL | (PIN_BASE + 4));
	wait_for_uart();
	outb(COM1 + 1, THRI);
	check(ioapic_read(0x10 + 2 * 4) & REMOTE, "level: remote IRR while it waits");
	check(wait_count(count, 5, 2000), "level: again after each EOI");
	check(!wait_count(count, 6, 10), "level: until the line falls");
	check(!(ioapic_read(0x10 + 2 * 4) & REMOTE), "level: no remote IRR then");
	set_pin(4, MASKED);
	outb(COM1 + 1, 0);
	outb(COM1 + 4, 3);
}

void payload(void)
{
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	start_pics();
	pit_through_pic();
	in_service();
	rtc_through_slave();
	io_apic();
	uart();
}
