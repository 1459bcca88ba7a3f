/*
 * A card with which PCI itself is tested, by unit tests and by guests (`--test-card`): BARs of
 * every kind, INTx, MSI and MSI-X at a register's push, and a doorbell.
 */
#ifndef PCI_PCI_TEST_CARD_H
#define PCI_PCI_TEST_CARD_H

#include "pci/pci_host.h"

#define PCI_TEST_CARD_VENDOR 0x1234 /* nobody's; emulators use it for such cards */
#define PCI_TEST_CARD_DEVICE 0x4154

/* 32-bit registers of BAR 0 (memory) and of BAR 4 (ports). */
#define PCI_TEST_CARD_ID       0x00 /* PCI_TEST_CARD_MAGIC */
#define PCI_TEST_CARD_SCRATCH  0x04
#define PCI_TEST_CARD_RAISE    0x08 /* raises the vector written, the way the guest enabled */
#define PCI_TEST_CARD_LOWER    0x0c /* a write lowers INTx */
#define PCI_TEST_CARD_RINGS    0x10 /* how often the doorbell rang; its eventfd is read here */
#define PCI_TEST_CARD_DOORBELL 0x20 /* its address: a write of any size and value rings */
/* Raises the MSI-X vector written through an eventfd, by the host's kernel where it can. */
#define PCI_TEST_CARD_EVENT 0x14
/*
 * The other card, if there is one: reads 1 while it is plugged. A byte written: 1 plugs it in, 2
 * asks the guest to give it up, 3 pulls it out.
 */
#define PCI_TEST_CARD_OTHER 0x18
#define PCI_TEST_CARD_MAGIC 0x6c6f7441 /* "Atol" */

/* BAR 2, 64-bit and prefetchable. */
#define PCI_TEST_CARD_MSIX_TABLE 0x0000
#define PCI_TEST_CARD_MSIX_PBA   0x1000
#define PCI_TEST_CARD_VECTORS    8

struct pci_test_card {
	struct pci_function function;
	struct pci_doorbell doorbell;
	uint32_t scratch; /* machine lock */
	uint32_t rings;
	int event_fd; /* -1: the host refused one */
	uint32_t event_vector;
	struct pci_test_card *other;
	unsigned nr_ejects;
};

/* The caller plugs card->function. `name` and `other` (which may be NULL) must outlive the card. */
void pci_test_card_init(struct pci_test_card *card, const char *name, struct pci_test_card *other);
/* Unplugs it if it is plugged. */
void pci_test_card_finish(struct pci_test_card *card);

#endif
