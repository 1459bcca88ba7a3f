/*
 * A function before it is plugged: its identity, BARs and capabilities, laid out in configuration
 * space together with what the guest may write there.
 */
#include "pci/pci_bus.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIN_ROM 2048u /* what the register's reserved bits leave */
#define MAX_ROM (16u << 20)

#define CAPABILITY_ALIGNMENT 4

static void put(uint8_t *bytes, unsigned offset, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++)
		bytes[offset + i] = (uint8_t)(value >> (8 * i));
}

/* A register's reset value, and the bits of it that the guest writes. */
static void define(struct pci_function *function, unsigned offset, unsigned size, uint32_t value,
	uint32_t writable)
{
	put(function->reset_config, offset, size, value);
	put(function->state.config, offset, size, value);
	put(function->writable, offset, size, writable);
}

void pci_function_init(struct pci_function *function, const char *name,
	const struct pci_identity *identity, const struct pci_function_ops *ops, void *device)
{
	static const struct pci_function_ops no_ops;

	memset(function, 0, sizeof(*function));
	function->name = name;
	function->ops = ops ? ops : &no_ops;
	function->device = device;
	function->next_free = PCI_HEADER_END;
	for (unsigned i = 0; i < PCI_MAX_MSIX_VECTORS; i++)
		function->msix_irqfd[i] = -1;
	for (unsigned i = 0; i < PCI_NR_DECODED; i++)
		function->bars[i].address = PCI_UNMAPPED;
	pthread_mutex_init(&function->lock, NULL);

	define(function, PCI_VENDOR_ID, 2, identity->vendor_id, 0);
	define(function, PCI_DEVICE_ID, 2, identity->device_id, 0);
	define(function, PCI_COMMAND, 2, 0, PCI_COMMAND_WRITABLE);
	define(function, PCI_REVISION_ID, 1, identity->revision, 0);
	define(function, PCI_CLASS_CODE, 3, identity->class_code, 0);
	define(function, PCI_CACHE_LINE_SIZE, 1, 0, 0xff);
	define(function, PCI_SUBSYSTEM_VENDOR_ID, 2, identity->subsystem_vendor_id, 0);
	define(function, PCI_SUBSYSTEM_ID, 2, identity->subsystem_id, 0);
	define(function, PCI_INTERRUPT_LINE, 1, 0, 0xff);
	define(function, PCI_INTERRUPT_PIN, 1, identity->interrupt_pin, 0);
}

void pci_add_register(struct pci_function *function, unsigned offset, unsigned size, uint32_t value,
	uint32_t writable)
{
	assert(!function->host && offset + size <= PCI_CONFIG_SIZE);
	define(function, offset, size, value, writable);
}

void pci_function_finish(struct pci_function *function)
{
	assert(!function->host);
	free(function->rom);
	function->rom = NULL;
	pthread_mutex_destroy(&function->lock);
}

void pci_add_bar(struct pci_function *function, unsigned index, const struct pci_bar *bar)
{
	bool is_64bit = bar->kind == PCI_BAR_MEMORY64;
	uint32_t type = 0;

	assert(!function->host && index + is_64bit < PCI_NR_BARS);
	assert(function->bars[index].kind == PCI_BAR_NONE);
	assert(bar->size >= (bar->kind == PCI_BAR_IO ? 4 : 16) &&
		(bar->size & (bar->size - 1)) == 0);
	assert(bar->kind != PCI_BAR_IO || bar->size <= 256);
	assert(is_64bit || bar->size <= UINT64_C(1) << 31);
	assert(!bar->ram || (bar->kind != PCI_BAR_IO && bar->ram->size == bar->size));

	function->bars[index] = *bar;
	function->bars[index].function = function;
	function->bars[index].next_address = PCI_UNMAPPED;
	function->bars[index].address = PCI_UNMAPPED;
	if (bar->kind == PCI_BAR_IO)
		type = PCI_BAR_IO_SPACE;
	if (is_64bit)
		type |= PCI_BAR_64BIT;
	if (bar->prefetchable)
		type |= PCI_BAR_PREFETCHABLE;
	/* What does not select a byte inside the BAR is the guest's: this is how it is sized. */
	define(function, PCI_BAR0 + 4 * index, 4, type, (uint32_t)-bar->size);
	if (is_64bit)
		define(function, PCI_BAR0 + 4 * index + 4, 4, 0, (uint32_t)(-bar->size >> 32));
}

static uint64_t rom_read(void *device, uint64_t offset, unsigned size)
{
	const struct pci_function *function = device;
	uint64_t value = 0;

	memcpy(&value, function->rom + offset, size);
	return value;
}

int pci_add_rom(struct pci_function *function, const void *bytes, size_t size)
{
	static const struct io_ops ops = { .read = rom_read, .max_size = 8 };
	uint64_t decoded = MIN_ROM;

	assert(size > 0 && size <= MAX_ROM && !function->rom);
	while (decoded < size)
		decoded *= 2;
	function->rom = malloc(decoded);
	if (!function->rom)
		return -ENOMEM;
	memset(function->rom, 0xff, decoded);
	memcpy(function->rom, bytes, size);
	function->bars[PCI_ROM_BAR] = (struct pci_bar){ .kind = PCI_BAR_MEMORY32,
		.size = decoded,
		.ops = &ops,
		.name = "option-rom",
		.function = function,
		.address = PCI_UNMAPPED,
		.next_address = PCI_UNMAPPED };
	define(function, PCI_EXPANSION_ROM, 4, 0, (uint32_t)-decoded | PCI_ROM_ENABLE);
	return 0;
}

unsigned pci_add_capability(struct pci_function *function, uint8_t id, const void *bytes,
	const void *writable, unsigned size)
{
	unsigned offset = function->next_free;
	unsigned link = function->last_capability ? function->last_capability + 1u
						  : (unsigned)PCI_CAPABILITIES;

	assert(!function->host && size >= 2 && offset + size <= PCI_CONFIG_SIZE);
	memcpy(function->reset_config + offset, bytes, size);
	if (writable)
		memcpy(function->writable + offset, writable, size);
	put(function->reset_config, offset, 2, id);
	put(function->writable, offset, 2, 0);
	put(function->reset_config, link, 1, offset);
	put(function->reset_config, PCI_STATUS, 2, PCI_STATUS_CAPABILITIES);
	memcpy(function->state.config, function->reset_config, PCI_CONFIG_SIZE);
	function->last_capability = (uint8_t)offset;
	function->next_free = (uint16_t)align_up(offset + size, CAPABILITY_ALIGNMENT);
	return offset;
}

void pci_add_express(struct pci_function *function)
{
	uint8_t bytes[PCI_EXPRESS_SIZE] = { 0 }, writable[PCI_EXPRESS_SIZE] = { 0 };
	uint64_t flags = field_set(PCI_EXPRESS_VERSION, 0, 2);

	flags = field_set(PCI_EXPRESS_TYPE, flags, PCI_EXPRESS_INTEGRATED_ENDPOINT);
	put(bytes, PCI_EXPRESS_FLAGS, 2, (uint32_t)flags);
	put(bytes, PCI_EXPRESS_DEVICE_CAPS, 4, PCI_EXPRESS_CAPS_ROLE_BASED | PCI_EXPRESS_CAPS_FLR);
	put(writable, PCI_EXPRESS_DEVICE_CONTROL, 2, PCI_EXPRESS_CONTROL_WRITABLE);
	function->express = (uint8_t)pci_add_capability(
		function, PCI_CAP_EXPRESS, bytes, writable, sizeof(bytes));
}

void pci_add_msi(struct pci_function *function, unsigned nr_vectors)
{
	uint8_t bytes[PCI_MSI_SIZE] = { 0 }, writable[PCI_MSI_SIZE] = { 0 };
	unsigned log2 = (unsigned)__builtin_ctz(nr_vectors);

	assert(nr_vectors >= 1 && nr_vectors <= PCI_MAX_MSI_VECTORS && nr_vectors == 1u << log2);
	put(bytes, PCI_MSI_CONTROL, 2,
		(uint32_t)(field_set(PCI_MSI_CONTROL_CAPABLE, 0, log2) | PCI_MSI_CONTROL_64BIT |
			   PCI_MSI_CONTROL_MASKABLE));
	put(writable, PCI_MSI_CONTROL, 2, PCI_MSI_CONTROL_ENABLE | PCI_MSI_CONTROL_ENABLED);
	put(writable, PCI_MSI_ADDRESS, 4, ~3u);
	put(writable, PCI_MSI_UPPER, 4, UINT32_MAX);
	put(writable, PCI_MSI_DATA, 2, UINT16_MAX);
	put(writable, PCI_MSI_MASK, 4, (uint32_t)BITS(nr_vectors - 1, 0));
	function->msi =
		(uint8_t)pci_add_capability(function, PCI_CAP_MSI, bytes, writable, sizeof(bytes));
}

static bool fits(const struct pci_bar *bar, uint32_t offset, uint32_t size)
{
	return offset % 8 == 0 && offset < bar->size && size <= bar->size - offset;
}

void pci_add_msix(struct pci_function *function, unsigned nr_vectors, unsigned bar,
	uint32_t table_offset, uint32_t pba_offset)
{
	uint8_t bytes[PCI_MSIX_SIZE] = { 0 }, writable[PCI_MSIX_SIZE] = { 0 };
	const struct pci_bar *in = &function->bars[bar];

	assert(nr_vectors >= 1 && nr_vectors <= PCI_MAX_MSIX_VECTORS && bar < PCI_NR_BARS);
	assert(in->kind == PCI_BAR_MEMORY32 || in->kind == PCI_BAR_MEMORY64);
	assert(fits(in, table_offset, PCI_MSIX_TABLE_SIZE(nr_vectors)));
	assert(fits(in, pba_offset, PCI_MSIX_PBA_SIZE(nr_vectors)));

	put(bytes, PCI_MSIX_CONTROL, 2, nr_vectors - 1);
	put(writable, PCI_MSIX_CONTROL, 2, PCI_MSIX_CONTROL_MASKED | PCI_MSIX_CONTROL_ENABLE);
	put(bytes, PCI_MSIX_TABLE, 4, table_offset | bar);
	put(bytes, PCI_MSIX_PBA, 4, pba_offset | bar);
	function->nr_msix_vectors = (uint16_t)nr_vectors;
	function->msix_bar = (uint8_t)bar;
	function->msix_table_offset = table_offset;
	function->msix_pba_offset = pba_offset;
	function->msix =
		(uint8_t)pci_add_capability(function, PCI_CAP_MSIX, bytes, writable, sizeof(bytes));
}

static void function_reset(void *object)
{
	struct pci_function *function = object;

	pci_config_reset(function);
	if (!function->host->config.has_firmware)
		pci_bar_assign(function);
}

/* Only what a guest may have changed is taken. */
static void function_restored(void *object)
{
	struct pci_function *function = object;
	struct pci_function_state *state = &function->state;

	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		bool is_pending = function->msi && i - function->msi - PCI_MSI_PENDING < 4u;
		uint8_t taken = is_pending ? UINT8_MAX : function->writable[i];

		state->config[i] = (uint8_t)((function->reset_config[i] & ~taken) |
					     (state->config[i] & taken));
	}
	pci_config_apply(function);
	if (function->ops->restored)
		function->ops->restored(function->device);
}

static const struct state_field pci_msix_entry_fields[] = {
	STATE(struct pci_msix_entry, address),
	STATE(struct pci_msix_entry, data),
	STATE_MAX(struct pci_msix_entry, control, PCI_MSIX_ENTRY_MASKED),
};
static const struct state_table pci_msix_entry_table =
	STATE_TABLE_OF(struct pci_msix_entry, "pci_msix_entry", pci_msix_entry_fields, NULL);

static const struct state_field pci_function_fields[] = {
	STATE_BYTES(struct pci_function_state, config),
	STATE_STRUCTS(struct pci_function_state, msix, &pci_msix_entry_table),
	STATE_ARRAY(struct pci_function_state, msix_pending),
	STATE_MAX(struct pci_function_state, intx, 1),
	STATE_PAD(struct pci_function_state, reserved),
};
static const struct state_table pci_function_table =
	STATE_TABLE_OF(struct pci_function_state, "pci_function", pci_function_fields, NULL);

const struct device_type pci_function_type = {
	.name = "pci_function",
	.state = &pci_function_table,
	.state_offset = offsetof(struct pci_function, state),
	.reset = function_reset,
	.restored = function_restored,
};
