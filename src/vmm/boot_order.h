/*
 * `--boot` and `boot=N`: which devices firmware tries, in which order, and whether it asks.
 */
#ifndef VMM_BOOT_ORDER_H
#define VMM_BOOT_ORDER_H

#include "vmm/devices.h"
#include "vmm/floppies.h"

struct boot_order {
	char letters[5]; /* of "cadn": disk, floppy, disc, network; "": not said */
	bool menu;
	uint16_t wait_ms;
};

/* Reads the value of --boot. Returns 0, or fills `err`. */
int boot_order_parse(struct boot_order *order, const char *value, struct error *err);

/* Does a value of --boot name the network? NULL: no. */
bool boot_order_has_network(const char *value);

/* What the board is told (board_set_boot): a text for board_boot.order, to be freed; NULL in
 * `*text` if nobody said anything. Returns 0, or fills `err`. */
int boot_order_text(const struct boot_order *order, const struct devices *devices,
	const struct floppies *floppies, char **text, struct error *err);

#endif
