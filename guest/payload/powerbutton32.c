/*
 * The power button through the PM1 event registers: ACPI 4.8.3.1. Waits until somebody presses it,
 * then powers off as an operating system would. Run by tests/integration, which sends SIGTERM.
 */
#include "payload.h"

#define PM1_STATUS  0x600
#define PM1_ENABLE  0x602
#define PM1_CONTROL 0x604
#define BUTTON      BIT(8)
#define SLEEP_S5    (5 << 10 | 0x2000)

void payload(void)
{
	check_equal(inw(PM1_STATUS) & BUTTON, 0, "not pressed yet");
	outw(PM1_ENABLE, BUTTON);
	print("waiting\n");
	while (!(inw(PM1_STATUS) & BUTTON))
		;
	ok("pressed");
	outw(PM1_STATUS, BUTTON);
	check_equal(inw(PM1_STATUS) & BUTTON, 0, "the status bit is cleared by writing 1");
	end_report();
	outw(PM1_CONTROL, SLEEP_S5);
	for (;;)
		inb(0x80);
}
