/* S5 through the PM1 control register: ACPI 6.4, 4.8.3.2.1. */
#include "payload.h"

#define PM1_CONTROL 0x604
#define SLEEP       0x2000
#define TYPE(n)     ((u16)((n) << 10))

void payload(void)
{
	check(inw(PM1_CONTROL) & 1, "SCI_EN: ACPI is on");
	outw(PM1_CONTROL, TYPE(5));
	ok("a sleep type without SLP_EN does nothing");
	end_report();
	outw(PM1_CONTROL, TYPE(5) | SLEEP);
	/* Off may take a moment. */
	for (unsigned i = 0; i < 200000; i++)
		inb(0x80);
	check(false, "it is off");
}
