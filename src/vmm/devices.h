/*
 * What is plugged into a virtual machine's PCI bus.
 */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "board/board.h"
#include "pci/pci_test_card.h"
#include "vmm/vm.h"

struct devices {
	/* Two: the second is for the guest to plug and unplug. NULL: not asked for. */
	struct pci_test_card *test_cards;
};

/* Does anything of the configuration need a PCI bus? */
bool devices_need_pci(const struct vm_config *config);

/* Plugs what `config` asks for, before the engine is created. Returns 0, or fills `err`. */
int devices_create(struct devices *devices, const struct vm_config *config, struct board *board,
	struct error *err);

/* Before the engine and the board are destroyed; no vCPU runs. Takes half-built ones. */
void devices_destroy(struct devices *devices);

#endif
