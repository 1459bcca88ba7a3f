/*
 * The watchdog of Intel's 6300ESB, as a PCI card.
 */
#ifndef WATCHDOG_I6300ESB_H
#define WATCHDOG_I6300ESB_H

#include "base/error.h"
#include "machine/machine.h"
#include "pci/pci.h"

struct i6300esb_state {
	uint64_t deadline_ns; /* of the stage that runs */
	uint32_t preload[2];
	uint8_t stage;    /* 1 or 2; 0: it stands still */
	uint8_t unlocked; /* how much of the sequence was written: 2, the next write counts */
	bool enabled, locked, free_running;
	bool timed_out;  /* since it was last cleared, over resets */
	bool interrupts; /* stage 1 has ended */
	uint8_t reserved;
};

struct i6300esb {
	struct pci_function function;
	struct i6300esb_state state;
	struct machine *machine;
	struct timer timer;
	enum machine_request action; /* MACHINE_REQUEST_NONE: it is said, and that is all */
};

extern const struct device_type i6300esb_type;

/* `name` outlives the card. Plug `function`. Returns 0, or fills `err`. */
int i6300esb_create(struct i6300esb **chip, const char *name, struct machine *machine,
	enum machine_request action, struct error *err);
/* Unplugged already; takes NULL. */
void i6300esb_destroy(struct i6300esb *chip);

#endif
