/*
 * Realtek RTL8139C+, a fast Ethernet card: four buffers to send from and a ring of bytes to receive
 * into, or descriptors (C+ mode).
 */
#ifndef NIC_RTL8139_H
#define NIC_RTL8139_H

#include "nic/nic_cable.h"
#include "pci/pci.h"

struct rtl8139;

/* Not under the machine lock. Returns 0, or fills `err`. */
int rtl8139_create(struct rtl8139 **card, const struct nic_config *config, struct error *err);
/* Off the bus, and not under the machine lock. Takes NULL. */
void rtl8139_destroy(struct rtl8139 *card);

struct pci_function *rtl8139_function(struct rtl8139 *card);

#endif
