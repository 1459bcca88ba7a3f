/*
 * Intel 82540EM, a gigabit Ethernet card that every operating system since 2002 knows.
 */
#ifndef NIC_E1000_H
#define NIC_E1000_H

#include "nic/nic_cable.h"
#include "pci/pci.h"

struct e1000;

/* Not under the machine lock. Returns 0, or fills `err`. */
int e1000_create(struct e1000 **card, const struct nic_config *config, struct error *err);
/* Off the bus, and not under the machine lock. Takes NULL. */
void e1000_destroy(struct e1000 *card);

struct pci_function *e1000_function(struct e1000 *card);

#endif
