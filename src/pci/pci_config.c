/*
 * The guest's accesses to a function's configuration space, and what they change.
 *
 * A conventional function has 256 bytes. Through ECAM it has 4096, of which the upper ones read as
 * 0: there are no extended capabilities (PCI Express Base 4.0, 7.6).
 */
#include "pci/pci_bus.h"

#include <string.h>

#define PCI_BARS_SIZE (4 * PCI_NR_BARS)

uint32_t pci_config_get(const struct pci_function *function, unsigned offset, unsigned size)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < size && offset + i < PCI_CONFIG_SIZE; i++)
		value |= (uint32_t)function->state.config[offset + i] << (8 * i);
	return value;
}

void pci_config_set(struct pci_function *function, unsigned offset, unsigned size, uint32_t value)
{
	pthread_mutex_lock(&function->lock);
	for (unsigned i = 0; i < size && offset + i < PCI_CONFIG_SIZE; i++)
		function->state.config[offset + i] = (uint8_t)(value >> (8 * i));
	pthread_mutex_unlock(&function->lock);
}

void pci_config_set_writable(struct pci_function *function, unsigned offset, uint8_t writable)
{
	pthread_mutex_lock(&function->lock);
	function->writable[offset] = writable;
	pthread_mutex_unlock(&function->lock);
}

uint32_t pci_config_read(struct pci_function *function, unsigned offset, unsigned size)
{
	uint32_t value;

	if (function->ops->config_reading)
		function->ops->config_reading(function->device, offset, size);
	/* A pending bit may be set from another thread. */
	pthread_mutex_lock(&function->lock);
	value = pci_config_get(function, offset, size);
	pthread_mutex_unlock(&function->lock);
	return value;
}

static bool overlap(unsigned offset, unsigned size, unsigned at, unsigned at_size)
{
	return offset < at + at_size && at < offset + size;
}

static void store(struct pci_function *function, unsigned offset, unsigned size, uint32_t value)
{
	uint8_t *config = function->state.config;

	pthread_mutex_lock(&function->lock);
	for (unsigned i = offset; i < offset + size && i < PCI_CONFIG_SIZE; i++, value >>= 8) {
		uint8_t writable = function->writable[i];

		config[i] = (uint8_t)((config[i] & ~writable) | (value & writable));
	}
	pthread_mutex_unlock(&function->lock);
}

/* Does the write set the bit that resets the function? */
static bool asks_for_reset(
	const struct pci_function *function, unsigned offset, unsigned size, uint32_t value)
{
	unsigned at = function->express + PCI_EXPRESS_DEVICE_CONTROL + 1u;

	return function->express && offset <= at && at < offset + size &&
	       ((value >> (8 * (at - offset))) & (PCI_EXPRESS_CONTROL_FLR >> 8));
}

void pci_config_write(struct pci_function *function, unsigned offset, unsigned size, uint32_t value)
{
	const struct pci_function_ops *ops = function->ops;
	uint16_t command = (uint16_t)pci_config_get(function, PCI_COMMAND, 2);
	bool is_command = overlap(offset, size, PCI_COMMAND, 2);

	if (asks_for_reset(function, offset, size, value)) {
		pci_config_reset(function);
		return;
	}
	store(function, offset, size, value);
	if (is_command || overlap(offset, size, PCI_BAR0, PCI_BARS_SIZE) ||
		overlap(offset, size, PCI_EXPANSION_ROM, 4))
		pci_bar_decode(function->host);
	if (is_command || (function->msi && overlap(offset, size, function->msi, PCI_MSI_SIZE)) ||
		(function->msix && overlap(offset, size, function->msix, PCI_MSIX_SIZE)))
		pci_interrupt_update(function);
	if (pci_config_get(function, PCI_COMMAND, 2) != command && ops->command_changed)
		ops->command_changed(
			function->device, (uint16_t)pci_config_get(function, PCI_COMMAND, 2));
	if (ops->config_written)
		ops->config_written(function->device, offset, size);
}

void pci_config_apply(struct pci_function *function)
{
	if (function->host)
		pci_bar_decode(function->host);
	pci_interrupt_update(function);
}

void pci_config_reset(struct pci_function *function)
{
	pthread_mutex_lock(&function->lock);
	memcpy(function->state.config, function->reset_config, PCI_CONFIG_SIZE);
	pthread_mutex_unlock(&function->lock);
	pci_interrupt_reset(function);
	pci_config_apply(function);
	if (function->ops->reset)
		function->ops->reset(function->device);
}
