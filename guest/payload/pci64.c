/*
 * PCI: configuration space, BARs, INTx, MSI and MSI-X, doorbells, hotplug registers, and what a
 * hostile guest writes there. Needs the test card of src/pci/pci_test_card.h (--test-card).
 */
#include "apic.h"

#define ECAM    0xfe000000u
#define IOAPIC  0xfec00000u
#define HOTPLUG 0x620
#define CARD    1
#define OTHER   2

#define COMMAND    0x04
#define STATUS     0x06
#define BAR0       0x10
#define CAPABILITY 0x34

#define IO_SPACE     1
#define MEMORY       2
#define MASTER       4
#define INTX_DISABLE 0x400

#define CAP_MSI     0x05
#define CAP_EXPRESS 0x10
#define CAP_MSIX    0x11

/* The card's registers. */
#define ID        0x00
#define SCRATCH   0x04
#define RAISE     0x08
#define LOWER     0x0c
#define RINGS     0x10
#define EVENT     0x14
#define ORDER     0x18
#define DOORBELL  0x20
#define MAGIC     0x6c6f7441
#define PBA       0x1000
#define MSIX_SIZE 8

#define INTX_VECTOR 0x60
#define INTX_PIN    17 /* INTA of device 1 */
#define MSI_BASE    0x70
#define MSIX_BASE   0x80

static volatile unsigned counts[256];
static unsigned lower_at;    /* the interrupt that lowers the card's line */
static word registers, msix; /* where BAR 0 and BAR 2 are */
static u16 ports;            /* BAR 4 */

static u32 get(word address)
{
	return *(volatile u32 *)address;
}

static void put(word address, u32 value)
{
	*(volatile u32 *)address = value;
}

static word config(unsigned device, unsigned offset)
{
	return ECAM + (device << 15) + offset;
}

static u32 config_port(unsigned device, unsigned offset)
{
	outl(0xcf8, 0x80000000 | device << 11 | (offset & 0xfc));
	return inl(0xcfc);
}

static void put16(word address, u16 value)
{
	*(volatile u16 *)address = value;
}

static void set_command(unsigned device, u16 value)
{
	put16(config(device, COMMAND), value);
}

static word find_capability(u8 id)
{
	unsigned at = get(config(CARD, CAPABILITY)) & 0xff;

	for (unsigned i = 0; at && i < 48; i++) {
		u32 head = get(config(CARD, at));

		if ((head & 0xff) == id)
			return config(CARD, at);
		at = head >> 8 & 0xff;
	}
	return 0;
}

static void configuration(void)
{
	check_equal(config_port(0, 8) >> 8, 0x060000, "the bridge's class, by ports");
	check_equal(get(config(0, 8)) >> 8, 0x060000, "and by ECAM");
	check_equal(config_port(CARD, 0), 0x41541234, "the card, by ports");
	check_equal(get(config(CARD, 0)), 0x41541234, "and by ECAM");
	check_equal(config_port(OTHER, 0), 0xffffffff, "an empty slot, by ports");
	check_equal(get(config(OTHER, 0)), 0xffffffff, "and by ECAM");
	check_equal(get(config(CARD, 0) | 0x1000), 0xffffffff, "no function 1");
	check_equal(get(config(CARD, 0x100)), 0, "no extended capabilities");
	outl(0xcf8, 0x80000000 | 1 << 16 | CARD << 11);
	check_equal(inl(0xcfc), 0xffffffff, "no bus 1");
	check_equal(inl(0xcf8), 0x80010800, "CONFIG_ADDRESS is read back");
	check(find_capability(CAP_MSI) && find_capability(CAP_MSIX) && find_capability(CAP_EXPRESS),
		"capabilities");
}

static void bars(void)
{
	static const u32 sizes[6] = { 0xfffff000, 0, 0xffffe00c, 0xffffffff, 0xffffffe1, 0 };
	u32 saved;

	set_command(CARD, 0);
	for (unsigned i = 0; i < 6; i++) {
		saved = get(config(CARD, BAR0 + 4 * i));
		put(config(CARD, BAR0 + 4 * i), 0xffffffff);
		check_equal(get(config(CARD, BAR0 + 4 * i)), sizes[i], "a BAR's size");
		put(config(CARD, BAR0 + 4 * i), saved);
	}
	registers = get(config(CARD, BAR0)) & ~15u;
	msix = get(config(CARD, BAR0 + 8)) & ~15u;
	ports = get(config(CARD, BAR0 + 16)) & ~3u;
	check(registers && msix && ports, "addresses are given at reset");
	check_equal(get(registers + ID), 0xffffffff, "not decoded while disabled");
	set_command(CARD, IO_SPACE | MEMORY | MASTER);
	check_equal(get(registers + ID), MAGIC, "memory");
	check_equal(inl(ports + ID), MAGIC, "ports");
	put(registers + SCRATCH, 0x12345678);
	check_equal(inl(ports + SCRATCH), 0x12345678, "both are the same registers");
	check_equal(*(volatile u8 *)(registers + SCRATCH + 1), 0x56, "a byte");

	put(config(CARD, BAR0), 0xd0000000);
	check_equal(get(registers + ID), 0xffffffff, "moved away");
	check_equal(get(0xd0000000 + SCRATCH), 0x12345678, "moved to");
	put(config(CARD, BAR0), registers);
	check_equal(get(registers + SCRATCH), 0x12345678, "and back");
}

static void interrupt(struct trap *trap)
{
	counts[trap->vector]++;
	if (trap->vector == INTX_VECTOR && counts[trap->vector] >= lower_at)
		put(registers + LOWER, 0);
	apic_eoi();
}

static void set_pin(unsigned pin, u32 low)
{
	put(IOAPIC, 0x11 + 2 * pin);
	put(IOAPIC + 0x10, 0);
	put(IOAPIC, 0x10 + 2 * pin);
	put(IOAPIC + 0x10, low);
}

static void intx(void)
{
	volatile unsigned *count = &counts[INTX_VECTOR];

	set_hook(INTX_VECTOR, interrupt);
	/* Level, active low, as a PCI interrupt is. */
	set_pin(INTX_PIN, 0xa000 | INTX_VECTOR);
	check(!wait_count(count, 1, 5), "INTx: none yet");
	lower_at = 3;
	put(registers + RAISE, 0);
	check(wait_count(count, 3, 1000), "INTx: again until the line is released");
	check(!wait_count(count, 4, 5), "INTx: not after that");
	check(!(get(config(CARD, COMMAND)) & BIT(19)), "INTx: the status bit is clear");

	*count = 0;
	lower_at = 1;
	set_command(CARD, MEMORY | IO_SPACE | MASTER | INTX_DISABLE);
	put(registers + RAISE, 0);
	check(!wait_count(count, 1, 5), "INTx: disabled");
	check(get(config(CARD, COMMAND)) & BIT(19), "INTx: the status bit shows it");
	set_command(CARD, MEMORY | IO_SPACE | MASTER);
	check(wait_count(count, 1, 1000), "INTx: enabled");
	set_pin(INTX_PIN, 0x10000);
}

static void pic_interrupt(struct trap *trap)
{
	counts[trap->vector]++;
	put(registers + LOWER, 0);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

/* Through the 8259s INTA of device 1 is IRQ 11. */
static void intx_through_pic(void)
{
	static const u8 words[][4] = { { 0x11, 0x20, 4, 1 }, { 0x11, 0x28, 2, 1 } };

	for (unsigned i = 0; i < 2; i++) {
		u16 port = i ? 0xa0 : 0x20;

		outb(port, words[i][0]);
		for (unsigned j = 1; j < 4; j++)
			outb(port + 1, words[i][j]);
	}
	outb(0x4d1, 0x0c);
	outb(0x21, 0xfb);
	outb(0xa1, 0xf7);
	set_hook(0x2b, pic_interrupt);
	apic_write(APIC_LVT_LINT0, APIC_EXTINT);
	put(registers + RAISE, 0);
	check(wait_count(&counts[0x2b], 1, 1000), "INTx through the 8259s");
	check(!wait_count(&counts[0x2b], 2, 5), "once");
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

static void msi(void)
{
	word cap = find_capability(CAP_MSI);

	put(cap + 4, 0xfee00000);
	put(cap + 8, 0);
	put16(cap + 12, MSI_BASE);
	put16(cap + 2, 0x21); /* enabled, four vectors */
	for (unsigned i = 0; i < 4; i++) {
		set_hook(MSI_BASE + i, interrupt);
		put(registers + RAISE, i);
		check(wait_count(&counts[MSI_BASE + i], 1, 1000), "MSI: a vector");
	}
	put(registers + RAISE, 4);
	put(cap + 16, 2);
	put(registers + RAISE, 1);
	check(!wait_count(&counts[MSI_BASE + 1], 2, 5), "MSI: masked");
	check_equal(get(cap + 20), 2, "MSI: pending");
	put(cap + 16, 0);
	check(wait_count(&counts[MSI_BASE + 1], 2, 1000), "MSI: unmasked");
	check_equal(get(cap + 20), 0, "MSI: no longer pending");
	check_equal(counts[INTX_VECTOR], 1, "MSI: no INTx besides");
	put16(cap + 2, 0);
}

static void set_vector(unsigned vector, u32 mask)
{
	put(msix + 16 * vector, 0xfee00000);
	put(msix + 16 * vector + 4, 0);
	put(msix + 16 * vector + 8, MSIX_BASE + vector);
	put(msix + 16 * vector + 12, mask);
}

static void msi_x(void)
{
	word cap = find_capability(CAP_MSIX);

	check_equal(get(cap) >> 16 & 0x7ff, MSIX_SIZE - 1, "MSI-X: the table's size");
	check_equal(get(msix + 12), 1, "MSI-X: masked at reset");
	put16(cap + 2, 0x8000);
	for (unsigned i = 0; i < MSIX_SIZE; i++) {
		set_hook(MSIX_BASE + i, interrupt);
		set_vector(i, 0);
		put(registers + RAISE, i);
		check(wait_count(&counts[MSIX_BASE + i], 1, 1000), "MSI-X: a vector");
	}
	put(registers + RAISE, MSIX_SIZE);
	put(registers + RAISE, 0xffffffff);

	set_vector(3, 1);
	put(registers + RAISE, 3);
	check(!wait_count(&counts[MSIX_BASE + 3], 2, 5), "MSI-X: masked");
	check_equal(get(msix + PBA), 1 << 3, "MSI-X: pending");
	set_vector(3, 0);
	check(wait_count(&counts[MSIX_BASE + 3], 2, 1000), "MSI-X: unmasked");
	check_equal(get(msix + PBA), 0, "MSI-X: no longer pending");

	put16(cap + 2, 0xc000);
	put(registers + RAISE, 5);
	check(!wait_count(&counts[MSIX_BASE + 5], 2, 5), "MSI-X: the function masked");
	put16(cap + 2, 0x8000);
	check(wait_count(&counts[MSIX_BASE + 5], 2, 1000), "MSI-X: and unmasked");
	set_command(CARD, MEMORY | IO_SPACE);
	put(registers + RAISE, 6);
	check(!wait_count(&counts[MSIX_BASE + 6], 2, 5), "MSI-X: not without bus mastering");
	set_command(CARD, MEMORY | IO_SPACE | MASTER);
	check(wait_count(&counts[MSIX_BASE + 6], 2, 1000), "MSI-X: with it");

	/* By an eventfd of the host. */
	put(registers + EVENT, 2);
	check(wait_count(&counts[MSIX_BASE + 2], 2, 1000), "an eventfd's vector");
	put(registers + EVENT, 2);
	check(wait_count(&counts[MSIX_BASE + 2], 3, 1000), "again");
	set_vector(2, 1);
	put(registers + EVENT, 2);
	check(!wait_count(&counts[MSIX_BASE + 2], 4, 5), "an eventfd's vector, masked");
	check_equal(get(msix + PBA), 1 << 2, "it is pending");
	set_vector(2, 0);
	check(wait_count(&counts[MSIX_BASE + 2], 4, 1000), "unmasked");
	put(registers + EVENT, 7);
	check(wait_count(&counts[MSIX_BASE + 7], 2, 1000), "moved to another vector");
	put16(cap + 2, 0);
}

static void doorbell(void)
{
	u32 before = get(registers + RINGS);

	put(registers + DOORBELL, 1);
	put16(registers + DOORBELL, 0xffff);
	*(volatile u8 *)(registers + DOORBELL) = 0;
	check_equal(get(registers + RINGS) - before, 3, "the doorbell, by writes of every size");
	put(registers + DOORBELL + 4, 1);
	check_equal(get(registers + RINGS) - before, 3, "not its neighbour");
	put(config(CARD, BAR0), 0xd0000000);
	put(registers + DOORBELL, 1);
	put(0xd0000000 + DOORBELL, 1);
	put(config(CARD, BAR0), registers);
	check_equal(get(registers + RINGS) - before, 4, "it moves with its BAR");
}

static void order(u8 value)
{
	*(volatile u8 *)(registers + ORDER) = value;
}

static void hotplug(void)
{
	check_equal(inl(HOTPLUG + 8), 1 << CARD, "which slots are taken");
	order(1);
	check_equal(inl(HOTPLUG), 1 << OTHER, "a card came");
	check_equal(inw(0x610) & 2, 2, "the event is set");
	outw(0x610, 2);
	outl(HOTPLUG, 1 << OTHER);
	check_equal(inl(HOTPLUG), 0, "noted");
	check_equal(get(config(OTHER, 0)), 0x41541234, "the other card");
	check_equal(get(config(OTHER, BAR0)), 0, "it has no address yet");
	put(config(OTHER, BAR0), 0xd1000000);
	set_command(OTHER, MEMORY);
	check_equal(get(0xd1000000), MAGIC, "it works");
	order(2);
	check_equal(inl(HOTPLUG + 4), 1 << OTHER, "it is asked for");
	outl(HOTPLUG + 8, 1 << OTHER);
	check_equal(get(config(OTHER, 0)), 0xffffffff, "ejected");
	check_equal(get(0xd1000000), 0xffffffff, "its registers too");
	check_equal(get(registers + ORDER), 0, "the host knows");
	outl(HOTPLUG + 8, 0xffffffff & ~(1u << CARD));
	check_equal(get(config(0, 8)) >> 8, 0x060000, "the bridge cannot be ejected");
}

/* Overlaps, BARs on memory and on chips, ones everywhere. */
static void hostile(void)
{
	static const u32 places[] = { 0, 0x200000, 0xfec00000, 0xfee00000, 0xfe000000, 0xfffff000 };
	volatile u32 canary = 0x5aa5;
	unsigned i;

	order(1);
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		put(config(OTHER, BAR0), places[i]);
		set_command(OTHER, MEMORY | IO_SPACE);
	}
	check_equal(canary, 0x5aa5, "memory stays memory");
	check_equal(apic_read(APIC_SVR) & 0x1ff, 0x1ff, "the APIC stays where it is");
	put(IOAPIC, 1);
	check_equal(get(IOAPIC + 0x10) >> 16 & 0xff, 23, "and the I/O APIC");
	put(config(OTHER, BAR0), registers);
	put(registers + SCRATCH, 77);
	put(config(OTHER, BAR0), 0xd1000000);
	check_equal(get(0xd1000000 + SCRATCH), 0, "the first of overlapping BARs has the access");
	put(config(OTHER, BAR0 + 16), 0x3f8);
	put(config(OTHER, BAR0 + 16), ports);
	check_equal(inl(ports + SCRATCH), 77, "of ports as well");

	for (unsigned round = 0; round < 2; round++) {
		for (i = 0; i < 256; i += 4)
			put(config(OTHER, i), round ? 0xa5a5a5a5 : 0xffffffff);
	}
	check_equal(get(config(OTHER, 0)), 0x41541234, "read-only registers");
	put16(find_capability(CAP_EXPRESS) + (1 << 15) + 8, 0x8000);
	check_equal(get(config(OTHER, COMMAND)) & 0xffff, 0, "reset by the function's own bit");
	check_equal(get(config(OTHER, BAR0)), 0, "its BARs too");
	order(3);
	check_equal(get(config(OTHER, 0)), 0xffffffff, "pulled out");
	check_equal(get(registers + SCRATCH), 77, "the neighbour goes on");
}

void payload(void)
{
	if (config_port(CARD, 0) != 0x41541234) {
		skip("pci", "no test card; give --test-card");
		return;
	}
	apic_enable();
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	configuration();
	bars();
	intx();
	intx_through_pic();
	msi();
	msi_x();
	doorbell();
	hotplug();
	hostile();
}
