/*
 * A function's interrupts: the INTx pin (PCI 3.0, 2.2.6), MSI (6.8.1) and MSI-X (6.8.2).
 *
 * A message goes out when its vector is neither masked nor held back by the bus master bit, without
 * which a function cannot write; otherwise its pending bit is set. Messages are sent under the
 * function's lock, so that after a guest's mask none is on its way. Messages to other addresses
 * than the local APICs' are dropped: they would be writes to memory.
 */
#include "pci/pci_bus.h"

#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define MSI_ADDRESS_BASE UINT64_C(0xfee00000)
#define MSI_ADDRESS_MASK BITS(63, 20)

static bool is_apic_message(const struct pci_function *function, uint64_t address)
{
	if ((address & MSI_ADDRESS_MASK) == MSI_ADDRESS_BASE)
		return true;
	log_guest("%s: the guest wants an interrupt message at %#llx, where no APIC is",
		function->name, (unsigned long long)address);
	return false;
}

static void send_message(const struct pci_function *function, uint64_t address, uint32_t data)
{
	const struct cpu_bus *bus = &function->host->machine->cpu_bus;

	if (bus->msi && is_apic_message(function, address))
		bus->msi(bus->engine, address, data);
}

/* MSI: one message, the vector in its low bits; mask and pending bits in configuration space. */

static uint32_t msi_get(const struct pci_function *function, unsigned offset, unsigned size)
{
	return pci_config_get(function, function->msi + offset, size);
}

static unsigned msi_nr_enabled(const struct pci_function *function)
{
	uint32_t control = msi_get(function, PCI_MSI_CONTROL, 2);
	uint64_t capable = field_get(PCI_MSI_CONTROL_CAPABLE, control);
	uint64_t enabled = field_get(PCI_MSI_CONTROL_ENABLED, control);

	return 1u << (enabled < capable ? enabled : capable);
}

static void msi_set_pending(struct pci_function *function, uint32_t pending)
{
	memcpy(function->state.config + function->msi + PCI_MSI_PENDING, &pending, sizeof(pending));
}

/* Sends those of `vectors` that may be sent, and leaves the others pending. */
static void msi_raise(struct pci_function *function, uint32_t vectors)
{
	uint64_t address = msi_get(function, PCI_MSI_ADDRESS, 4) |
			   (uint64_t)msi_get(function, PCI_MSI_UPPER, 4) << 32;
	uint32_t data = msi_get(function, PCI_MSI_DATA, 2);
	uint32_t masked = function->bus_master ? msi_get(function, PCI_MSI_MASK, 4) : UINT32_MAX;
	unsigned nr_enabled = msi_nr_enabled(function);

	msi_set_pending(function, vectors & masked);
	for (vectors &= ~masked; vectors; vectors &= vectors - 1) {
		unsigned vector = (unsigned)__builtin_ctz(vectors);

		send_message(function, address,
			(data & ~(nr_enabled - 1)) | (vector & (nr_enabled - 1)));
	}
}

void pci_msi_notify(struct pci_function *function, unsigned vector)
{
	pthread_mutex_lock(&function->lock);
	if (function->host && function->msi_enabled && vector < PCI_MAX_MSI_VECTORS &&
		vector < 1u << field_get(
				 PCI_MSI_CONTROL_CAPABLE, msi_get(function, PCI_MSI_CONTROL, 2)))
		msi_raise(function, msi_get(function, PCI_MSI_PENDING, 4) | 1u << vector);
	pthread_mutex_unlock(&function->lock);
}

/* MSI-X */

static bool msix_is_open(const struct pci_function *function, unsigned vector)
{
	return function->msix_open &&
	       !(function->state.msix[vector].control & PCI_MSIX_ENTRY_MASKED);
}

/* The kernel sends the vector's message while it may be sent. */
static void msix_route_irqfd(struct pci_function *function, unsigned vector)
{
	const struct pci_msix_entry *entry = &function->state.msix[vector];
	const struct cpu_bus *bus;
	bool open;

	if (function->msix_irqfd[vector] < 0 || !function->host)
		return;
	bus = &function->host->machine->cpu_bus;
	open = msix_is_open(function, vector) && is_apic_message(function, entry->address);
	if (bus->irqfd(bus->engine, function->msix_irqfd[vector], open ? entry->address : 0,
		    entry->data) < 0)
		log_error("%s: the host's kernel has no room for interrupt %u", function->name,
			vector);
}

/* Its entry or the whole function's mask changed. */
static void msix_update(struct pci_function *function, unsigned vector)
{
	struct pci_function_state *state = &function->state;
	uint64_t *pending = &state->msix_pending[vector / 64];

	msix_route_irqfd(function, vector);
	if (!(*pending & BIT(vector % 64)) || !function->host || !msix_is_open(function, vector))
		return;
	*pending &= ~BIT(vector % 64);
	send_message(function, state->msix[vector].address, state->msix[vector].data);
}

void pci_msix_notify(struct pci_function *function, unsigned vector)
{
	struct pci_function_state *state = &function->state;

	pthread_mutex_lock(&function->lock);
	if (function->host && function->msix_enabled && vector < function->nr_msix_vectors) {
		if (msix_is_open(function, vector))
			send_message(
				function, state->msix[vector].address, state->msix[vector].data);
		else
			state->msix_pending[vector / 64] |= BIT(vector % 64);
	}
	pthread_mutex_unlock(&function->lock);
}

int pci_msix_set_irqfd(struct pci_function *function, unsigned vector, int fd)
{
	const struct cpu_bus *bus = function->host ? &function->host->machine->cpu_bus : NULL;
	int *irqfd;

	if (!bus || !bus->irqfd || vector >= function->nr_msix_vectors)
		return -ENOTSUP;
	irqfd = &function->msix_irqfd[vector];
	pthread_mutex_lock(&function->lock);
	if (*irqfd >= 0)
		bus->irqfd(bus->engine, *irqfd, 0, 0);
	*irqfd = fd;
	msix_route_irqfd(function, vector);
	pthread_mutex_unlock(&function->lock);
	return 0;
}

void pci_interrupt_detach(struct pci_function *function)
{
	for (unsigned i = 0; i < function->nr_msix_vectors; i++) {
		if (function->msix_irqfd[i] >= 0)
			pci_msix_set_irqfd(function, i, -1);
	}
}

/* The kernel does not read a masked vector's eventfd: what waits in it is pending. */
static bool irqfd_is_waiting(const struct pci_function *function, unsigned vector)
{
	struct pollfd poller = { .fd = function->msix_irqfd[vector], .events = POLLIN };

	return poller.fd >= 0 && !msix_is_open(function, vector) && poll(&poller, 1, 0) == 1;
}

static uint64_t msix_pending_word(const struct pci_function *function, unsigned word)
{
	uint64_t pending = function->state.msix_pending[word];

	for (unsigned i = 0; i < 64 && 64 * word + i < function->nr_msix_vectors; i++) {
		if (irqfd_is_waiting(function, 64 * word + i))
			pending |= BIT(i);
	}
	return pending;
}

/* Where in the table or the pending bits an access of the BAR lies, if it lies there. */
static bool inside(uint64_t offset, unsigned size, uint32_t at, uint32_t at_size)
{
	return offset >= at && offset - at < at_size && size <= at_size - (offset - at);
}

static bool in_table(
	const struct pci_function *function, unsigned bar, uint64_t offset, unsigned size)
{
	return function->msix && function->msix_bar == bar &&
	       inside(offset, size, function->msix_table_offset,
		       PCI_MSIX_TABLE_SIZE(function->nr_msix_vectors));
}

static bool in_pending(
	const struct pci_function *function, unsigned bar, uint64_t offset, unsigned size)
{
	return function->msix && function->msix_bar == bar &&
	       inside(offset, size, function->msix_pba_offset,
		       PCI_MSIX_PBA_SIZE(function->nr_msix_vectors));
}

bool pci_msix_read(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size,
	uint64_t *value)
{
	const uint8_t *table = (const uint8_t *)function->state.msix;
	bool table_access = in_table(function, bar, offset, size);
	uint64_t at;

	if (!table_access && !in_pending(function, bar, offset, size))
		return false;
	*value = 0;
	pthread_mutex_lock(&function->lock);
	if (table_access) {
		memcpy(value, table + offset - function->msix_table_offset, size);
	} else {
		at = offset - function->msix_pba_offset;
		*value = msix_pending_word(function, (unsigned)(at / 8)) >> (8 * (at % 8));
		*value &= byte_mask(size);
	}
	pthread_mutex_unlock(&function->lock);
	return true;
}

bool pci_msix_write(
	struct pci_function *function, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	uint8_t *table = (uint8_t *)function->state.msix;
	uint64_t at = offset - function->msix_table_offset;
	unsigned vector = (unsigned)(at / PCI_MSIX_ENTRY_SIZE);

	if (in_pending(function, bar, offset, size))
		return true;
	if (!in_table(function, bar, offset, size))
		return false;
	pthread_mutex_lock(&function->lock);
	memcpy(table + at, &value, size);
	function->state.msix[vector].control &= PCI_MSIX_ENTRY_MASKED;
	msix_update(function, vector);
	pthread_mutex_unlock(&function->lock);
	return true;
}

/* INTx */

static void intx_update(struct pci_function *function)
{
	uint32_t command = pci_config_get(function, PCI_COMMAND, 2);
	uint8_t *status = &function->state.config[PCI_STATUS];
	bool level = function->state.intx;

	*status = (uint8_t)((*status & ~PCI_STATUS_INTERRUPT) | (level ? PCI_STATUS_INTERRUPT : 0));
	if (function->host)
		pci_host_set_intx(function, level && !(command & PCI_COMMAND_INTX_DISABLE) &&
						    !function->msi_enabled &&
						    !function->msix_enabled);
}

void pci_set_intx(struct pci_function *function, bool level)
{
	if (!function->reset_config[PCI_INTERRUPT_PIN] || function->state.intx == level)
		return;
	function->state.intx = level;
	intx_update(function);
}

bool pci_msi_is_enabled(const struct pci_function *function)
{
	return function->msi_enabled;
}

bool pci_msix_is_enabled(const struct pci_function *function)
{
	return function->msix_enabled;
}

bool pci_is_bus_master(const struct pci_function *function)
{
	return function->bus_master;
}

void pci_interrupt_update(struct pci_function *function)
{
	uint32_t msix_control = 0;

	pthread_mutex_lock(&function->lock);
	if (function->msix)
		msix_control = pci_config_get(function, function->msix + PCI_MSIX_CONTROL, 2);
	function->bus_master = pci_config_get(function, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
	function->msi_enabled =
		function->msi && (msi_get(function, PCI_MSI_CONTROL, 2) & PCI_MSI_CONTROL_ENABLE);
	function->msix_enabled = msix_control & PCI_MSIX_CONTROL_ENABLE;
	function->msix_open = function->msix_enabled && function->bus_master &&
			      !(msix_control & PCI_MSIX_CONTROL_MASKED);
	if (function->msi_enabled && function->host)
		msi_raise(function, msi_get(function, PCI_MSI_PENDING, 4));
	for (unsigned i = 0; i < function->nr_msix_vectors; i++)
		msix_update(function, i);
	pthread_mutex_unlock(&function->lock);
	intx_update(function);
}

void pci_interrupt_reset(struct pci_function *function)
{
	struct pci_function_state *state = &function->state;

	pthread_mutex_lock(&function->lock);
	memset(state->msix, 0, sizeof(state->msix));
	memset(state->msix_pending, 0, sizeof(state->msix_pending));
	for (unsigned i = 0; i < PCI_MAX_MSIX_VECTORS; i++)
		state->msix[i].control = PCI_MSIX_ENTRY_MASKED;
	pthread_mutex_unlock(&function->lock);
	state->intx = 0;
}
