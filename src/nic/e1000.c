/*
 * Intel 82540EM: registers, interrupts, and its place on PCI (PCI/PCI-X Family of Gigabit Ethernet
 * Controllers Software Developer's Manual, 317453).
 *
 * Not modelled: flow control, the packet buffer as memory, wake on LAN, power management, MSI,
 * flash, and the delay timers of descriptors (RDTR, RADV, TIDV, TADV keep what is written; causes
 * are set at once, and ITR throttles interrupts as the manual says). Under the machine lock.
 */
#include "nic/e1000_internal.h"

#include <stdlib.h>
#include <string.h>

#define PORT_BAR 2

static const struct {
	uint32_t offset, writable, reset;
} registers[] = {
#define ROW(name, offset, writable, reset) { offset, writable, reset },
	E1000_REGISTERS(ROW)
#undef ROW
};

static const struct state_field context_fields[] = {
	STATE(struct e1000_context, ip_start),
	STATE(struct e1000_context, ip_offset),
	STATE(struct e1000_context, ip_end),
	STATE(struct e1000_context, l4_start),
	STATE(struct e1000_context, l4_offset),
	STATE(struct e1000_context, l4_end),
	STATE(struct e1000_context, mss),
	STATE(struct e1000_context, header_bytes),
	STATE_PAD(struct e1000_context, reserved),
};

static const struct state_table context_table =
	STATE_TABLE_OF(struct e1000_context, "e1000 context", context_fields, NULL);

static const struct state_field e1000_fields[] = {
	STATE_ARRAY(struct e1000_state, reg),
	STATE_ARRAY(struct e1000_state, statistics),
	STATE_ARRAY(struct e1000_state, multicast),
	STATE_ARRAY(struct e1000_state, addresses),
	STATE_ARRAY(struct e1000_state, vlans),
	STATE(struct e1000_state, io_address),
	STATE_ARRAY(struct e1000_state, phy),
	STATE_ARRAY(struct e1000_state, eeprom),
	STATE_STRUCTS(struct e1000_state, context, &context_table),
	STATE(struct e1000_state, eeprom_in),
	STATE(struct e1000_state, eeprom_out),
	STATE_MAX(struct e1000_state, eeprom_bits, 9),
	STATE_MAX(struct e1000_state, skipping, 1),
	STATE_PAD(struct e1000_state, reserved),
	STATE_TIME(struct e1000_state, interrupt_ns),
};

static const struct state_table e1000_table =
	STATE_TABLE_OF(struct e1000_state, "e1000", e1000_fields, NULL);

struct e1000_ring e1000_ring(const struct e1000 *card, enum e1000_register base)
{
	const uint32_t *reg = &card->state.reg[base];
	struct e1000_ring ring = {
		.base = reg[0] | (uint64_t)reg[1] << 32,
		.size = reg[2] / E1000_DESCRIPTOR_BYTES,
		.head = reg[3],
		.tail = reg[4],
	};

	if (ring.head >= ring.size || ring.tail >= ring.size)
		ring.size = 0;
	return ring;
}

/* The level of INTA, held back by ITR (13.4.18). */
static void update_interrupt(struct e1000 *card)
{
	struct e1000_state *state = &card->state;
	struct clock *clock = &card->cable.machine->clock;
	ns_t interval_ns = (ns_t)state->reg[E1000_ITR] * E1000_ITR_UNIT_NS;
	ns_t now_ns = clock_now(clock), due_ns = (ns_t)state->interrupt_ns + interval_ns;

	if (!(state->reg[E1000_ICR] & state->reg[E1000_IMS])) {
		timer_cancel(&card->throttle);
		pci_set_intx(&card->function, false);
		return;
	}
	if (card->function.state.intx)
		return;
	if (interval_ns && state->interrupt_ns && now_ns < due_ns) {
		timer_arm(&card->throttle, due_ns);
		return;
	}
	state->interrupt_ns = (uint64_t)now_ns;
	pci_set_intx(&card->function, true);
}

static void throttle_ended(void *context)
{
	update_interrupt(context);
}

void e1000_raise(struct e1000 *card, uint32_t causes)
{
	card->state.reg[E1000_ICR] |= causes;
	update_interrupt(card);
}

static uint32_t *statistic(struct e1000 *card, unsigned offset)
{
	return &card->state.statistics[(offset - E1000_STATISTICS) / 4];
}

void e1000_count(struct e1000 *card, unsigned offset)
{
	uint32_t *counter = statistic(card, offset);

	if (*counter != UINT32_MAX)
		++*counter;
}

void e1000_count_bytes(struct e1000 *card, unsigned offset, uint32_t bytes)
{
	uint32_t *low = statistic(card, offset), *high = low + 1;
	uint64_t sum = ((uint64_t)*high << 32 | *low) + bytes;

	*low = (uint32_t)sum;
	*high = (uint32_t)(sum >> 32);
}

void e1000_count_size(struct e1000 *card, unsigned offset, uint32_t bytes)
{
	static const uint16_t least[] = { 65, 128, 256, 512, 1024 };
	unsigned at = 0;

	while (at < ARRAY_SIZE(least) && bytes >= least[at])
		at++;
	e1000_count(card, offset + 4 * at);
}

static void reset_state(struct e1000 *card)
{
	struct e1000_state *state = &card->state;
	const uint8_t *address = card->address;
	uint16_t eeprom[E1000_EEPROM_WORDS];

	memcpy(eeprom, state->eeprom, sizeof(eeprom));
	memset(state, 0, sizeof(*state));
	memcpy(state->eeprom, eeprom, sizeof(eeprom));
	for (unsigned i = 0; i < E1000_NR_REGISTERS; i++)
		state->reg[i] = registers[i].reset;
	/* The EEPROM's address is loaded (13.5.x: RAL0, RAH0). */
	state->addresses[0] = (uint32_t)(address[0] | address[1] << 8 | address[2] << 16) |
			      (uint32_t)address[3] << 24;
	state->addresses[1] = (uint32_t)(address[4] | address[5] << 8) | (uint32_t)E1000_RAH_VALID;
	e1000_phy_reset(card);
	timer_cancel(&card->throttle);
	pci_set_intx(&card->function, false);
	card->cable.held_bytes = 0;
	nic_cable_want(&card->cable, NET_READ | NET_WRITE, false);
}

static bool serve(void *context)
{
	struct e1000 *card = context;
	bool more = e1000_receive(card);

	return e1000_transmit(card) || more;
}

static void write_ctrl(struct e1000 *card, uint32_t value)
{
	struct e1000_state *state = &card->state;

	if (value & E1000_CTRL_RST) {
		reset_state(card);
		return;
	}
	if (value & E1000_CTRL_PHY_RST)
		e1000_phy_reset(card);
	state->reg[E1000_CTRL] = value & registers[E1000_CTRL].writable;
}

static void write_interrupt(struct e1000 *card, enum e1000_register reg, uint32_t value)
{
	struct e1000_state *state = &card->state;

	switch (reg) {
	case E1000_ICR: state->reg[E1000_ICR] &= ~value; break;
	case E1000_ICS: state->reg[E1000_ICR] |= value & E1000_ICR_ALL; break;
	case E1000_IMS: state->reg[E1000_IMS] |= value & E1000_ICR_ALL; break;
	case E1000_IMC: state->reg[E1000_IMS] &= ~value; break;
	default: break;
	}
	update_interrupt(card);
}

static void start_receiving(struct e1000 *card)
{
	bool on = card->state.reg[E1000_RCTL] & E1000_RCTL_EN;

	nic_cable_want(&card->cable, NET_READ, on);
	if (on && card->cable.held_bytes)
		nic_cable_wake(&card->cable);
}

static void register_write(struct e1000 *card, enum e1000_register reg, uint32_t value)
{
	struct e1000_state *state = &card->state;
	uint32_t writable = registers[reg].writable;

	switch (reg) {
	case E1000_CTRL: write_ctrl(card, value); return;
	case E1000_EECD: e1000_eecd_write(card, value); return;
	case E1000_EERD: e1000_eerd_write(card, value); return;
	case E1000_MDIC: e1000_mdic_write(card, value); return;
	case E1000_ICR:
	case E1000_ICS:
	case E1000_IMS:
	case E1000_IMC: write_interrupt(card, reg, value); return;
	default: break;
	}
	state->reg[reg] = (state->reg[reg] & ~writable) | (value & writable);
	switch (reg) {
	case E1000_RCTL:
	case E1000_RDT: start_receiving(card); break;
	case E1000_TCTL:
	case E1000_TDT:
		if (e1000_transmit(card))
			nic_cable_wake(&card->cable);
		break;
	default: break;
	}
}

static uint32_t register_read(struct e1000 *card, enum e1000_register reg)
{
	struct e1000_state *state = &card->state;
	uint32_t value = state->reg[reg];

	if (reg == E1000_ICR) {
		/* Reading acknowledges (13.4.17). */
		state->reg[E1000_ICR] = 0;
		update_interrupt(card);
	}
	return value;
}

/* The register at an offset, or E1000_NR_REGISTERS. */
static enum e1000_register find_register(uint64_t offset)
{
	unsigned low = 0, high = E1000_NR_REGISTERS;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (registers[middle].offset == offset)
			return (enum e1000_register)middle;
		if (registers[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return E1000_NR_REGISTERS;
}

/* A doubleword of one of the arrays that software reads and writes; NULL: there is none. */
static uint32_t *find_array(struct e1000_state *state, uint64_t offset)
{
	const struct {
		unsigned base, count;
		uint32_t *words;
	} arrays[] = {
		{ E1000_MTA, E1000_NR_MTA, state->multicast },
		{ E1000_RA, 2 * E1000_NR_RA, state->addresses },
		{ E1000_VFTA, E1000_NR_VFTA, state->vlans },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(arrays); i++) {
		if (offset >= arrays[i].base && offset < arrays[i].base + 4 * arrays[i].count)
			return &arrays[i].words[(offset - arrays[i].base) / 4];
	}
	return NULL;
}

static bool is_statistic(uint64_t offset)
{
	return offset >= E1000_STATISTICS && offset < E1000_STATISTICS + 4 * E1000_NR_STATISTICS;
}

static uint32_t read_doubleword(struct e1000 *card, uint64_t offset)
{
	enum e1000_register reg = find_register(offset);
	uint32_t *word, value;

	if (reg < E1000_NR_REGISTERS)
		return register_read(card, reg);
	if (is_statistic(offset)) {
		word = statistic(card, (unsigned)offset);
		value = *word;
		*word = 0;
		return value;
	}
	word = find_array(&card->state, offset);
	return word ? *word : 0;
}

static void write_doubleword(struct e1000 *card, uint64_t offset, uint32_t value)
{
	enum e1000_register reg = find_register(offset);
	uint32_t *word = find_array(&card->state, offset);

	if (reg < E1000_NR_REGISTERS)
		register_write(card, reg, value);
	else if (word)
		*word = value;
}

static uint64_t mmio_read(void *device, uint64_t offset, unsigned size)
{
	uint32_t value = read_doubleword(device, offset & ~UINT64_C(3));

	return (value >> (8 * (offset & 3))) & byte_mask(size);
}

static void mmio_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	/* Registers are written as doublewords (13.1). */
	if (size == 4 && !(offset & 3))
		write_doubleword(device, offset, (uint32_t)value);
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	struct e1000 *card = device;

	if (size != 4)
		return 0;
	switch (offset) {
	case E1000_IOADDR: return card->state.io_address;
	case E1000_IODATA: return read_doubleword(card, card->state.io_address);
	default: return 0;
	}
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct e1000 *card = device;

	if (size != 4)
		return;
	if (offset == E1000_IOADDR)
		card->state.io_address = (uint32_t)value & (E1000_MMIO_SIZE - 4);
	else if (offset == E1000_IODATA)
		write_doubleword(card, card->state.io_address, (uint32_t)value);
}

static void card_reset(void *device)
{
	reset_state(device);
}

static void command_changed(void *device, uint16_t command)
{
	struct e1000 *card = device;

	/* Work that waited for leave to master the bus. */
	if (command & PCI_COMMAND_MASTER)
		nic_cable_wake(&card->cable);
}

static void card_restored(void *device)
{
	struct e1000 *card = device;

	timer_cancel(&card->throttle);
	update_interrupt(card);
	start_receiving(card);
	nic_cable_wake(&card->cable);
}

const struct device_type e1000_type = {
	.name = "e1000",
	.state = &e1000_table,
	.state_offset = offsetof(struct e1000, state),
	/* Reset is that of its PCI function. */
	.restored = card_restored,
};

static void init_function(struct e1000 *card, const char *name)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x8086,
		.device_id = 0x100e,
		.revision = 3,
		.class_code = 0x020000,
		.subsystem_vendor_id = 0x8086,
		.subsystem_id = 0x001e,
		.interrupt_pin = 1,
	};
	static const struct pci_function_ops function_ops = { .reset = card_reset,
		.command_changed = command_changed };
	static const struct io_ops mmio_ops = { mmio_read, mmio_write, 4 };
	static const struct io_ops port_ops = { port_read, port_write, 4 };
	static const struct pci_bar mmio = {
		.kind = PCI_BAR_MEMORY32, .size = E1000_MMIO_SIZE, .ops = &mmio_ops, .name = "e1000"
	};
	static const struct pci_bar ports = {
		.kind = PCI_BAR_IO, .size = E1000_PORT_SIZE, .ops = &port_ops, .name = "e1000-ports"
	};

	pci_function_init(&card->function, name, &identity, &function_ops, card);
	pci_add_bar(&card->function, 0, &mmio);
	pci_add_bar(&card->function, PORT_BAR, &ports);
}

int e1000_create(struct e1000 **result, const struct nic_config *config, struct error *err)
{
	static const struct nic_cable_ops ops = { &e1000_type, serve, card_reset };
	struct e1000 *card = calloc(1, sizeof(*card));
	int rc;

	if (!card) {
		net_close(config->backend);
		return error_set(err, EXIT_CODE_HOST, "no memory for the NIC '%s'", config->name);
	}
	memcpy(card->address, config->address, NET_ADDRESS_BYTES);
	init_function(card, config->name);
	timer_init(&card->throttle, &config->machine->clock, throttle_ended, card);
	e1000_eeprom_init(card);
	rc = nic_cable_attach(&card->cable, config, &ops, card, err);
	if (rc < 0) {
		pci_function_finish(&card->function);
		free(card);
		return rc;
	}
	*result = card;
	return 0;
}

void e1000_destroy(struct e1000 *card)
{
	struct machine *machine;

	if (!card)
		return;
	machine = card->cable.machine;
	nic_cable_detach(&card->cable);
	machine_lock(machine);
	timer_cancel(&card->throttle);
	machine_unlock(machine);
	pci_function_finish(&card->function);
	free(card);
}

struct pci_function *e1000_function(struct e1000 *card)
{
	return &card->function;
}
