/* Address line 20: port 0x92, and the 8042's output port. */
#include "payload.h"

static volatile u32 *const low = (volatile u32 *)0x7000;
static volatile u32 *const high = (volatile u32 *)0x107000;

static bool wraps(void)
{
	*low = 0x11111111;
	*high = 0x22222222;
	return *low == 0x22222222;
}

static void wait_8042(void)
{
	while (inb(0x64) & 2)
		pause();
}

static void write_output_port(u8 value)
{
	wait_8042();
	outb(0x64, 0xd1);
	wait_8042();
	outb(0x60, value);
	wait_8042();
}

static void write_port_92(bool enabled)
{
	outb(0x92, (u8)((inb(0x92) & ~3) | enabled << 1));
}

void payload(void)
{
	check(!wraps(), "enabled at start");
	write_output_port(0xdd);
	write_port_92(false);
	if (!wraps()) {
		skip("A20", "the engine has no gate");
		write_port_92(true);
		return;
	}
	ok("disabled by both: 1 MiB and 0 are the same");
	check_equal(*(volatile u32 *)0x207000, *(volatile u32 *)0x307000, "so are 2 MiB and 3 MiB");
	check(!(inb(0x92) & 2), "port 0x92 reads it");
	write_port_92(true);
	check(!wraps(), "enabled by port 0x92");
	check_equal(*low, 0x11111111, "the two places are apart");
	check(inb(0x92) & 2, "port 0x92 reads it");
	write_port_92(false);
	check(wraps(), "disabled by port 0x92");
	write_output_port(0xdf);
	check(!wraps(), "enabled by the 8042");
	write_output_port(0xdd);
	check(wraps(), "disabled by the 8042");
	write_port_92(true);
}
