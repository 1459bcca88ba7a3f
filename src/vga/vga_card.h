/*
 * The VGA as a PCI function that Linux's bochs-drm, the firmwares and X know: 1234:1111, as Bochs
 * and QEMU's stdvga have it.
 *
 *	BAR 0   video memory, which is RAM to the processors
 *	BAR 2   registers: EDID at 0, the ports 0x3c0 to 0x3df at 0x400, the DISPI at 0x500
 *
 * The legacy ports and the window at 0xa0000 are a board's to map (vga_card_map_legacy): a board
 * that has RAM there has none of them.
 */
#ifndef VGA_VGA_CARD_H
#define VGA_VGA_CARD_H

#include "machine/machine.h"
#include "pci/pci.h"
#include "vga/vga.h"

#define VGA_CARD_MEMORY_SIZE UINT32_C(0x1000000)

struct vga_card {
	struct pci_function function;
	struct vga vga;
	struct machine *machine;
	struct ram_region *memory; /* shown where BAR 0 is */
	uint8_t edid[128];
	bool is_legacy; /* its ports and window are mapped */
};

/* `name` outlives the card. Plug `function`, then it is there. Returns 0, or fills `err`. */
int vga_card_create(
	struct vga_card **card, const char *name, struct machine *machine, struct error *err);
/* Unplugged already; takes NULL. */
void vga_card_destroy(struct vga_card *card);

/* Maps ports and the window. Nothing else may be there. */
void vga_card_map_legacy(struct vga_card *card);

#endif
