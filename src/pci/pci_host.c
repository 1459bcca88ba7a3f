/*
 * The host bridge: the two ways to configuration space (PCI 3.0, 3.2.2.3.2, mechanism #1; PCI
 * Express Base 4.0, 7.2.2, ECAM), the wires of INTx, and which functions are on bus 0.
 *
 * Not modelled: other buses (accesses to them find nobody) and special cycles.
 */
#include "pci/pci_bus.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ECAM_SIZE     (1u << 20)
#define ECAM_BUS      BITS(27, 20)
#define ECAM_DEVFN    BITS(19, 12)
#define ECAM_REGISTER BITS(11, 0)

#define CONFIG_ENABLE   BIT(31)
#define CONFIG_BUS      BITS(23, 16)
#define CONFIG_DEVFN    BITS(15, 8)
#define CONFIG_REGISTER BITS(7, 2)
#define CONFIG_WRITABLE (CONFIG_ENABLE | CONFIG_BUS | CONFIG_DEVFN | CONFIG_REGISTER)

#define CONFIG_PORTS 4 /* of the address, and as many of the data */

/* Intel's number for the host bridge of a virtual machine; operating systems expect one. */
static const struct pci_identity bridge_identity = {
	.vendor_id = 0x8086, .device_id = 0x0d57, .class_code = 0x060000
};

static struct pci_function *function_at(const struct pci_host *host, unsigned devfn)
{
	return host->functions[devfn];
}

struct pci_function *pci_host_function(const struct pci_host *host, unsigned device)
{
	return device < PCI_NR_DEVICES ? host->functions[device * 8] : NULL;
}

static uint64_t host_config_read(
	const struct pci_host *host, unsigned devfn, unsigned offset, unsigned size)
{
	struct pci_function *function = function_at(host, devfn);

	if (!function)
		return byte_mask(size);
	return offset + size <= PCI_CONFIG_SIZE ? pci_config_read(function, offset, size) : 0;
}

static void host_config_write(
	const struct pci_host *host, unsigned devfn, unsigned offset, unsigned size, uint32_t value)
{
	struct pci_function *function = function_at(host, devfn);

	if (function && offset + size <= PCI_CONFIG_SIZE)
		pci_config_write(function, offset, size, value);
}

static uint64_t ecam_read(void *device, uint64_t offset, unsigned size)
{
	if (offset & ECAM_BUS)
		return byte_mask(size);
	return host_config_read(device, (unsigned)field_get(ECAM_DEVFN, offset),
		(unsigned)field_get(ECAM_REGISTER, offset), size);
}

static void ecam_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	if (!(offset & ECAM_BUS))
		host_config_write(device, (unsigned)field_get(ECAM_DEVFN, offset),
			(unsigned)field_get(ECAM_REGISTER, offset), size, (uint32_t)value);
}

static uint64_t config_address_read(void *device, uint64_t offset, unsigned size)
{
	const struct pci_host *host = device;

	if (size == 4)
		return host->state.config_address;
	return host->beneath.ops ? io_region_read(&host->beneath, offset, size) : byte_mask(size);
}

static void config_address_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_host *host = device;

	if (size == 4)
		host->state.config_address = value & CONFIG_WRITABLE;
	else if (host->beneath.ops)
		io_region_write(&host->beneath, offset, size, value);
}

/* Is a function of bus 0 selected? */
static bool is_selected(const struct pci_host *host)
{
	return (host->state.config_address & (CONFIG_ENABLE | CONFIG_BUS)) == CONFIG_ENABLE;
}

static unsigned selected_devfn(const struct pci_host *host)
{
	return (unsigned)field_get(CONFIG_DEVFN, host->state.config_address);
}

static uint64_t config_data_read(void *device, uint64_t offset, unsigned size)
{
	const struct pci_host *host = device;
	unsigned at = (unsigned)((host->state.config_address & CONFIG_REGISTER) + offset);

	if (!is_selected(host))
		return byte_mask(size);
	return host_config_read(host, selected_devfn(host), at, size);
}

static void config_data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	const struct pci_host *host = device;
	unsigned at = (unsigned)((host->state.config_address & CONFIG_REGISTER) + offset);

	if (is_selected(host))
		host_config_write(host, selected_devfn(host), at, size, (uint32_t)value);
}

void pci_host_map_config_ports(struct pci_host *host, uint16_t port)
{
	static const struct io_ops address_ops = { config_address_read, config_address_write, 4 };
	static const struct io_ops data_ops = { config_data_read, config_data_write, 4 };
	struct address_space *pio = &host->machine->pio;
	const struct io_region *beneath = address_space_find(pio, port);

	if (beneath) {
		host->beneath = *beneath;
		address_space_unmap(pio, port);
	}
	address_space_map(
		pio, &(struct io_region){ port, CONFIG_PORTS, &address_ops, host, "pci-address" });
	address_space_map(pio, &(struct io_region){ port + CONFIG_PORTS, CONFIG_PORTS, &data_ops,
				       host, "pci-data" });
}

static bool is_asserted(const struct pci_host *host, unsigned pin)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(host->asserted[pin]); i++)
		any |= host->asserted[pin][i];
	return any;
}

/* The pins of neighbouring devices are rotated, so that they share lines as little as they can. */
void pci_host_set_intx(struct pci_function *function, bool level)
{
	struct pci_host *host = function->host;
	unsigned pin =
		(function->number + function->reset_config[PCI_INTERRUPT_PIN] - 1u) % PCI_NR_PINS;
	uint64_t *word = &host->asserted[pin][pci_devfn(function) / 64];
	uint64_t bit = BIT(pci_devfn(function) % 64);
	bool before = is_asserted(host, pin);

	if (!function->reset_config[PCI_INTERRUPT_PIN])
		return;
	*word = level ? *word | bit : *word & ~bit;
	if (before != is_asserted(host, pin))
		irq_line_set(&host->config.intx[pin], level);
}

static void set_host(struct pci_function *function, struct pci_host *host)
{
	pthread_mutex_lock(&function->lock);
	function->host = host;
	pthread_mutex_unlock(&function->lock);
}

static void attach(
	struct pci_host *host, struct pci_function *function, unsigned device, unsigned sub_number)
{
	assert(!function->host);
	function->number = (uint8_t)device;
	function->sub_number = (uint8_t)sub_number;
	set_host(function, host);
	host->functions[pci_devfn(function)] = function;
	machine_add_device(host->machine, &pci_function_type, function->name, function);
	pci_config_reset(function);
}

static unsigned free_device(const struct pci_host *host)
{
	unsigned device = PCI_BRIDGE_DEVICE + 1;

	while (device < PCI_NR_DEVICES && host->functions[device * 8])
		device++;
	return device;
}

int pci_plug(struct pci_host *host, struct pci_function *function, unsigned device, bool hot,
	struct error *err)
{
	if (device == PCI_ANY_DEVICE)
		device = free_device(host);
	if (device >= PCI_NR_DEVICES)
		return error_set(err, EXIT_CODE_CONFIG,
			"there is no free PCI slot for %s: all %u are taken; remove a device",
			function->name, PCI_NR_DEVICES - 1);
	if (host->functions[device * 8])
		return error_set(err, EXIT_CODE_CONFIG,
			"PCI slot %u cannot take %s: %s is in it; choose another slot", device,
			function->name, host->functions[device * 8]->name);
	attach(host, function, device, 0);
	if (hot)
		pci_hotplug_came(function);
	return 0;
}

void pci_plug_built_in(
	struct pci_host *host, struct pci_function *function, unsigned device, unsigned sub_number)
{
	struct pci_function *first = host->functions[device * 8];

	assert(device < PCI_NR_DEVICES && sub_number < 8);
	assert(!host->functions[device * 8 + sub_number] && !sub_number == !first);
	if (first) {
		first->reset_config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTIFUNCTION;
		first->state.config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTIFUNCTION;
	}
	host->built_in |= UINT32_C(1) << device;
	attach(host, function, device, sub_number);
}

void pci_unplug(struct pci_function *function)
{
	struct pci_host *host = function->host;
	uint32_t bit = UINT32_C(1) << function->number;

	assert(host && host->functions[pci_devfn(function)] == function);
	/* Without power it does nothing more: no interrupt, no access to memory. */
	pci_config_reset(function);
	pci_bar_unmap(function);
	while (function->doorbells)
		pci_detach_doorbell(function, function->doorbells);
	host->functions[pci_devfn(function)] = NULL;
	host->state.slots_up &= ~bit;
	host->state.slots_down &= ~bit;
	machine_remove_device(host->machine, function);
	pci_interrupt_detach(function);
	set_host(function, NULL);
	/* What it shadowed may be decoded now. */
	pci_bar_decode(host);
}

static void begin_assignment(struct pci_host *host)
{
	host->next_memory32 = host->config.memory32.base;
	host->next_memory64 = host->config.memory64.base;
	host->next_io = host->config.io.base;
}

/* Before the functions', whose resets take addresses from here. */
static void host_reset(void *object)
{
	struct pci_host *host = object;

	memset(&host->state, 0, sizeof(host->state));
	begin_assignment(host);
	pci_host_move_ecam(host, host->config.ecam_base, host->config.ecam_size);
}

void pci_host_move_ecam(struct pci_host *host, gpa_t base, uint64_t size)
{
	static const struct io_ops ecam_ops = { ecam_read, ecam_write, 4 };
	struct address_space *mmio = &host->machine->mmio;

	if (host->ecam_base)
		address_space_unmap(mmio, host->ecam_base);
	host->ecam_base = 0;
	if (!base || !address_space_is_free(mmio, base, size))
		return;
	address_space_map(mmio, &(struct io_region){ base, size, &ecam_ops, host, "pci-ecam" });
	host->ecam_base = base;
}

gpa_t pci_host_ecam(const struct pci_host *host)
{
	return host->ecam_base;
}

void pci_host_assign(struct pci_host *host)
{
	begin_assignment(host);
	for (unsigned i = 0; i < PCI_NR_FUNCTIONS; i++) {
		if (host->functions[i])
			pci_bar_assign(host->functions[i]);
	}
}

int pci_host_create(struct pci_host **out, struct machine *machine,
	const struct pci_host_config *config, struct error *err)
{
	struct pci_host *host = calloc(1, sizeof(*host));

	*out = host;
	if (!host)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot create the PCI bus");
	host->machine = machine;
	host->config = *config;
	if (!host->config.ecam_size)
		host->config.ecam_size = ECAM_SIZE;
	host_reset(host);
	machine_add_device(machine, &pci_host_type, "pci-host", host);
	pci_function_init(&host->bridge, "pci-bridge", &bridge_identity, NULL, NULL);
	attach(host, config->bridge ? config->bridge : &host->bridge, PCI_BRIDGE_DEVICE, 0);
	return 0;
}

void pci_host_destroy(struct pci_host *host)
{
	if (!host)
		return;
	for (unsigned i = 0; i < PCI_NR_FUNCTIONS; i++) {
		if (host->functions[i])
			set_host(host->functions[i], NULL);
	}
	pci_function_finish(&host->bridge);
	free(host);
}

static bool host_check(const void *state, struct error *err)
{
	const struct pci_host_state *host = state;

	(void)err;
	return !(host->config_address & ~CONFIG_WRITABLE);
}

static const struct state_field pci_host_fields[] = {
	STATE(struct pci_host_state, config_address),
	STATE(struct pci_host_state, slots_up),
	STATE(struct pci_host_state, slots_down),
	STATE_PAD(struct pci_host_state, reserved),
};
static const struct state_table pci_host_table =
	STATE_TABLE_OF(struct pci_host_state, "pci_host", pci_host_fields, host_check);

const struct device_type pci_host_type = {
	.name = "pci_host",
	.state = &pci_host_table,
	.state_offset = offsetof(struct pci_host, state),
	.reset = host_reset,
};
