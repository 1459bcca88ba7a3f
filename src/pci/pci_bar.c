/*
 * Base address registers: where a function's registers appear in the address spaces.
 *
 * The guest may write anything into them. A BAR is decoded if its kind is enabled, it lies wholly
 * in a window of the host bridge, and neither an earlier BAR (by device, then by register) nor
 * another region of the machine is there. The set of decoded BARs is computed anew from the
 * registers whenever one changes, so that it never depends on history.
 *
 * A BAR with RAM of its own is a region of the address space too, which the RAM hides.
 */
#include "pci/pci_bus.h"

#include <assert.h>

/* Above this a 64-bit BAR is given an address in the window above 4 GiB. */
#define LARGE_BAR (UINT64_C(256) << 20)

static bool is_io(const struct pci_bar *bar)
{
	return bar->kind == PCI_BAR_IO;
}

static struct address_space *space_of(
	const struct pci_function *function, const struct pci_bar *bar)
{
	struct machine *machine = function->host->machine;

	return is_io(bar) ? &machine->pio : &machine->mmio;
}

static unsigned register_of(unsigned index)
{
	return index == PCI_ROM_BAR ? PCI_EXPANSION_ROM : PCI_BAR0 + 4 * index;
}

/* The address that the register holds. */
static uint64_t bar_register(const struct pci_function *function, unsigned index)
{
	const struct pci_bar *bar = &function->bars[index];
	uint64_t value = pci_config_get(function, register_of(index), 4);

	if (bar->kind == PCI_BAR_MEMORY64)
		value |= (uint64_t)pci_config_get(function, PCI_BAR0 + 4 * index + 4, 4) << 32;
	return value & -bar->size;
}

static void set_bar_register(struct pci_function *function, unsigned index, uint64_t address)
{
	uint32_t type = pci_config_get(function, PCI_BAR0 + 4 * index, 4) &
			(uint32_t)(function->bars[index].size - 1);

	pci_config_set(function, PCI_BAR0 + 4 * index, 4, (uint32_t)address | type);
	if (function->bars[index].kind == PCI_BAR_MEMORY64)
		pci_config_set(function, PCI_BAR0 + 4 * index + 4, 4, (uint32_t)(address >> 32));
}

/* Takes the next aligned range of a window; 0 if it is full. */
static uint64_t allocate(uint64_t *next, const struct pci_window *window, uint64_t size)
{
	uint64_t base = align_up(*next, size);

	if (base < *next || base - window->base > window->size ||
		size > window->size - (base - window->base))
		return 0;
	*next = base + size;
	return base;
}

static uint64_t allocate_bar(struct pci_host *host, const struct pci_bar *bar)
{
	uint64_t base = 0;

	if (is_io(bar))
		return allocate(&host->next_io, &host->config.io, bar->size);
	if (bar->kind == PCI_BAR_MEMORY32 || bar->size <= LARGE_BAR)
		base = allocate(&host->next_memory32, &host->config.memory32, bar->size);
	if (!base && bar->kind == PCI_BAR_MEMORY64)
		base = allocate(&host->next_memory64, &host->config.memory64, bar->size);
	return base;
}

void pci_bar_assign(struct pci_function *function)
{
	struct pci_host *host = function->host;
	uint8_t pin = function->reset_config[PCI_INTERRUPT_PIN];

	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		if (function->bars[i].kind != PCI_BAR_NONE)
			set_bar_register(function, i, allocate_bar(host, &function->bars[i]));
	}
	if (pin)
		pci_config_set(function, PCI_INTERRUPT_LINE, 1,
			host->config.interrupt_line[(function->number + pin - 1) % PCI_NR_PINS]);
}

static bool holds(const struct pci_window *window, uint64_t base, uint64_t size)
{
	return base >= window->base && base - window->base < window->size &&
	       size <= window->size - (base - window->base);
}

static bool in_window(const struct pci_host *host, const struct pci_bar *bar, uint64_t address)
{
	if (is_io(bar))
		return holds(&host->config.io, address, bar->size);
	return holds(&host->config.memory32, address, bar->size) ||
	       holds(&host->config.memory64, address, bar->size);
}

/* Is its range free of the BARs that come before? */
static bool is_unshadowed(const struct pci_host *host, unsigned devfn, unsigned index)
{
	const struct pci_bar *bar = &host->functions[devfn]->bars[index];

	for (unsigned i = 0; i <= devfn; i++) {
		const struct pci_function *other = host->functions[i];

		for (unsigned j = 0; other && j < (i == devfn ? index : PCI_NR_DECODED); j++) {
			const struct pci_bar *earlier = &other->bars[j];

			if (earlier->kind == PCI_BAR_NONE || is_io(earlier) != is_io(bar) ||
				earlier->next_address == PCI_UNMAPPED)
				continue;
			if (bar->next_address < earlier->next_address + earlier->size &&
				earlier->next_address < bar->next_address + bar->size)
				return false;
		}
	}
	return true;
}

/* Computes next_address of one BAR; those before it are done. */
static void resolve(struct pci_host *host, struct pci_function *function, unsigned index)
{
	struct pci_bar *bar = &function->bars[index];
	uint32_t command = pci_config_get(function, PCI_COMMAND, 2);
	uint64_t address = bar_register(function, index);

	bar->next_address = PCI_UNMAPPED;
	if (index == PCI_ROM_BAR &&
		!(pci_config_get(function, PCI_EXPANSION_ROM, 1) & PCI_ROM_ENABLE))
		return;
	if (!(command & (is_io(bar) ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)) ||
		!in_window(host, bar, address))
		return;
	bar->next_address = address;
	if (!is_unshadowed(host, pci_devfn(function), index))
		bar->next_address = PCI_UNMAPPED;
}

static void update_doorbell(
	struct pci_function *function, struct pci_doorbell *doorbell, gpa_t address)
{
	struct machine *machine = function->host->machine;

	if (doorbell->attached)
		machine_detach_doorbell(machine, &doorbell->doorbell);
	doorbell->attached = address != PCI_UNMAPPED;
	if (!doorbell->attached)
		return;
	doorbell->doorbell.address = address + doorbell->offset;
	doorbell->doorbell.is_port = is_io(&function->bars[doorbell->bar]);
	machine_attach_doorbell(machine, &doorbell->doorbell);
}

static void bar_moved(struct pci_function *function, unsigned index, gpa_t address)
{
	struct pci_doorbell *doorbell = function->doorbells;

	function->bars[index].address = address;
	for (; doorbell; doorbell = doorbell->next) {
		if (doorbell->bar == index)
			update_doorbell(function, doorbell, address);
	}
	if (function->ops->bar_moved && index < PCI_NR_BARS)
		function->ops->bar_moved(function->device, index, address);
}

static uint64_t bar_read(void *context, uint64_t offset, unsigned size)
{
	const struct pci_bar *bar = context;

	return pci_bar_read(bar->function, (unsigned)(bar - bar->function->bars), offset, size);
}

static void bar_write(void *context, uint64_t offset, unsigned size, uint64_t value)
{
	const struct pci_bar *bar = context;

	pci_bar_write(bar->function, (unsigned)(bar - bar->function->bars), offset, size, value);
}

/* `address` PCI_UNMAPPED: nowhere. */
static void show_ram(struct pci_function *function, const struct pci_bar *bar, gpa_t address)
{
	struct guest_memory *memory = &function->host->machine->memory;
	enum ram_kind shown = bar->rom ? RAM_ROM : RAM_WRITABLE;

	if (bar->ram && address != PCI_UNMAPPED)
		guest_memory_place(memory, bar->ram, address, shown);
	else if (bar->ram)
		guest_memory_place(memory, bar->ram, ram_region_base(bar->ram), RAM_HIDDEN);
}

static void unmap(struct pci_function *function, unsigned index)
{
	struct pci_bar *bar = &function->bars[index];

	if (bar->address == PCI_UNMAPPED)
		return;
	show_ram(function, bar, PCI_UNMAPPED);
	address_space_unmap(space_of(function, bar), bar->address);
	bar_moved(function, index, PCI_UNMAPPED);
}

static void map(struct pci_function *function, unsigned index)
{
	/* The device's own ops may want smaller pieces; pci_bar_read splits. */
	static const struct io_ops ops = { bar_read, bar_write, 8 };
	struct pci_bar *bar = &function->bars[index];
	struct address_space *space = space_of(function, bar);

	if (bar->next_address == PCI_UNMAPPED || bar->address == bar->next_address ||
		!address_space_is_free(space, bar->next_address, bar->size))
		return;
	address_space_map(space, &(struct io_region){ .base = bar->next_address,
					 .size = bar->size,
					 .ops = &ops,
					 .device = bar,
					 .name = bar->name });
	show_ram(function, bar, bar->next_address);
	bar_moved(function, index, bar->next_address);
}

static void for_each_bar(struct pci_host *host, void (*visit)(struct pci_function *, unsigned))
{
	for (unsigned devfn = 0; devfn < PCI_NR_FUNCTIONS; devfn++) {
		for (unsigned i = 0; host->functions[devfn] && i < PCI_NR_DECODED; i++) {
			if (host->functions[devfn]->bars[i].kind != PCI_BAR_NONE)
				visit(host->functions[devfn], i);
		}
	}
}

static void resolve_and_unmap(struct pci_function *function, unsigned index)
{
	struct pci_bar *bar = &function->bars[index];

	resolve(function->host, function, index);
	if (bar->next_address != bar->address)
		unmap(function, index);
}

void pci_bar_decode(struct pci_host *host)
{
	for_each_bar(host, resolve_and_unmap);
	for_each_bar(host, map);
}

void pci_bar_unmap(struct pci_function *function)
{
	for (unsigned i = 0; i < PCI_NR_DECODED; i++)
		unmap(function, i);
}

static struct io_region region_of(struct pci_function *function, unsigned index)
{
	const struct pci_bar *bar = &function->bars[index];

	return (struct io_region){ .size = bar->size,
		.ops = bar->ops,
		.device = index == PCI_ROM_BAR ? function : function->device };
}

uint64_t pci_bar_read(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size)
{
	struct io_region region;
	uint64_t value;

	if (bar >= PCI_NR_DECODED || function->bars[bar].kind == PCI_BAR_NONE)
		return byte_mask(size);
	if (pci_msix_read(function, bar, offset, size, &value))
		return value;
	region = region_of(function, bar);
	return io_region_read(&region, offset, size);
}

void pci_bar_write(
	struct pci_function *function, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct io_region region;

	if (bar >= PCI_NR_DECODED || function->bars[bar].kind == PCI_BAR_NONE ||
		pci_msix_write(function, bar, offset, size, value))
		return;
	region = region_of(function, bar);
	io_region_write(&region, offset, size, value);
}

void pci_attach_doorbell(struct pci_function *function, struct pci_doorbell *doorbell)
{
	assert(doorbell->bar < PCI_NR_BARS);
	doorbell->attached = false;
	doorbell->next = function->doorbells;
	function->doorbells = doorbell;
	if (function->host)
		update_doorbell(function, doorbell, function->bars[doorbell->bar].address);
}

void pci_detach_doorbell(struct pci_function *function, struct pci_doorbell *doorbell)
{
	struct pci_doorbell **link = &function->doorbells;

	while (*link && *link != doorbell)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = doorbell->next;
	if (doorbell->attached)
		update_doorbell(function, doorbell, PCI_UNMAPPED);
}
