/*
 * The registers and ports of an AHCI controller (AHCI 1.3.1), as Intel's ICH9 has it (8086:2922).
 *
 * Not modelled: port multipliers and FIS-based switching, staggered spin-up, power management of
 * links, hotplug of devices, command completion coalescing, enclosure management, the legacy
 * interface. Data moves at the speed of the host. Under the machine lock.
 */
#include "storage/ahci_port.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REGISTERS_BAR  5
#define REGISTERS_SIZE 0x1000
#define INDEX_BAR      4
#define VERSION        0x00010300

static void reset_controller(struct ahci *ahci)
{
	ahci->state.ghc = AHCI_GHC_AE;
	ahci->state.is = 0;
	ahci->state.index = 0;
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		ahci_port_reset(&ahci->ports[i]);
	ahci_update_interrupt(ahci, false);
}

/* Registers. */

static uint32_t read_port(const struct ahci_port *port, unsigned offset)
{
	const struct ahci_port_state *state = ahci_port_state(port);

	switch (offset) {
	case AHCI_PXCLB: return state->clb;
	case AHCI_PXCLBU: return state->clbu;
	case AHCI_PXFB: return state->fb;
	case AHCI_PXFBU: return state->fbu;
	case AHCI_PXIS: return state->is;
	case AHCI_PXIE: return state->ie;
	case AHCI_PXCMD: return state->cmd;
	case AHCI_PXTFD: return state->tfd;
	case AHCI_PXSIG: return state->sig;
	case AHCI_PXSSTS: return state->ssts;
	case AHCI_PXSCTL: return state->sctl;
	case AHCI_PXSERR: return state->serr;
	case AHCI_PXSACT: return state->sact;
	case AHCI_PXCI: return state->ci;
	default: return 0;
	}
}

static uint32_t read_register(const struct ahci *ahci, unsigned offset)
{
	uint64_t capabilities = AHCI_CAP_SAM | AHCI_CAP_SCLO | AHCI_CAP_SNCQ | AHCI_CAP_S64A;

	if (offset >= AHCI_PORTS) {
		unsigned index = (offset - AHCI_PORTS) / AHCI_PORT_BYTES;

		return index < AHCI_NR_PORTS
			       ? read_port(&ahci->ports[index], offset % AHCI_PORT_BYTES)
			       : 0;
	}
	switch (offset) {
	case AHCI_CAP:
		capabilities = field_set(AHCI_CAP_NP, capabilities, AHCI_NR_PORTS - 1);
		capabilities = field_set(AHCI_CAP_NCS, capabilities, AHCI_NR_SLOTS - 1);
		return (uint32_t)field_set(AHCI_CAP_ISS, capabilities, 3); /* 6 Gb/s */
	case AHCI_GHC: return ahci->state.ghc;
	case AHCI_IS: return ahci->state.is;
	case AHCI_PI: return (1u << AHCI_NR_PORTS) - 1;
	case AHCI_VS: return VERSION;
	default: return 0;
	}
}

static void write_port(struct ahci_port *port, unsigned offset, uint32_t value)
{
	struct ahci_port_state *state = ahci_port_state(port);
	bool started = state->cmd & AHCI_PXCMD_ST;

	switch (offset) {
	case AHCI_PXCLB: state->clb = value & ~0x3ffu; break;
	case AHCI_PXCLBU: state->clbu = value; break;
	case AHCI_PXFB: state->fb = value & ~0xffu; break;
	case AHCI_PXFBU: state->fbu = value; break;
	case AHCI_PXIS: state->is &= ~value; break;
	case AHCI_PXIE:
		state->ie = value & AHCI_PXIE_ALL;
		ahci_port_raise(port, 0);
		break;
	case AHCI_PXCMD: ahci_port_write_cmd(port, value); break;
	case AHCI_PXSCTL: ahci_port_write_sctl(port, value); break;
	case AHCI_PXSERR:
		state->serr &= ~value;
		/* PCS mirrors DIAG.X. */
		if (!(state->serr & AHCI_PXSERR_X))
			state->is &= ~(uint32_t)AHCI_PXIS_PCS;
		break;
	case AHCI_PXSACT:
		if (started)
			state->sact |= value;
		break;
	case AHCI_PXCI:
		if (started) {
			state->ci |= value;
			ahci_port_run(port);
		}
		break;
	}
}

static void write_register(struct ahci *ahci, unsigned offset, uint32_t value)
{
	if (offset >= AHCI_PORTS) {
		unsigned index = (offset - AHCI_PORTS) / AHCI_PORT_BYTES;

		if (index < AHCI_NR_PORTS)
			write_port(&ahci->ports[index], offset % AHCI_PORT_BYTES, value);
		return;
	}
	switch (offset) {
	case AHCI_GHC:
		if (value & AHCI_GHC_HR) {
			reset_controller(ahci);
			break;
		}
		ahci->state.ghc = (uint32_t)(AHCI_GHC_AE | (value & AHCI_GHC_IE));
		ahci_update_interrupt(ahci, true);
		break;
	case AHCI_IS:
		ahci->state.is &= ~value;
		/* A port whose interrupt is still pending sets its bit again (10.7.2.1). */
		for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
			const struct ahci_port_state *state = &ahci->state.ports[i];

			if (state->is & state->ie)
				ahci->state.is |= 1u << i;
		}
		ahci_update_interrupt(ahci, true);
		break;
	}
}

/* Wider or narrower accesses than a register take or change its bytes. */
static uint64_t ahci_read(void *device, uint64_t offset, unsigned size)
{
	uint32_t value = read_register(device, (unsigned)offset & ~3u);

	return (value >> (8 * (offset & 3))) & byte_mask(size);
}

static void ahci_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	if (size == 4 && offset % 4 == 0)
		write_register(device, (unsigned)offset, (uint32_t)value);
}

/* The index/data pair in I/O space (ICH9 datasheet, 14.1.20). */
static uint64_t index_read(void *device, uint64_t offset, unsigned size)
{
	const struct ahci *ahci = device;

	if (size != 4 || (offset != 16 && offset != 20))
		return 0;
	return offset == 16 ? ahci->state.index : read_register(ahci, ahci->state.index);
}

static void index_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ahci *ahci = device;

	if (size != 4)
		return;
	if (offset == 16)
		ahci->state.index = (uint32_t)value & 0x3fc;
	else if (offset == 20)
		write_register(ahci, ahci->state.index, (uint32_t)value);
}

static void ahci_reset(void *device)
{
	reset_controller(device);
}

static const struct state_field port_fields[] = {
	STATE(struct ahci_port_state, clb),
	STATE(struct ahci_port_state, clbu),
	STATE(struct ahci_port_state, fb),
	STATE(struct ahci_port_state, fbu),
	STATE(struct ahci_port_state, is),
	STATE(struct ahci_port_state, ie),
	STATE(struct ahci_port_state, cmd),
	STATE(struct ahci_port_state, tfd),
	STATE(struct ahci_port_state, sig),
	STATE(struct ahci_port_state, ssts),
	STATE(struct ahci_port_state, sctl),
	STATE(struct ahci_port_state, serr),
	STATE(struct ahci_port_state, sact),
	STATE(struct ahci_port_state, ci),
};
static const struct state_table port_table =
	STATE_TABLE_OF(struct ahci_port_state, "ahci_port", port_fields, NULL);

static const struct state_field ahci_fields[] = {
	STATE(struct ahci_state, ghc),
	STATE(struct ahci_state, is),
	STATE_MAX(struct ahci_state, index, 0x3fc),
	STATE_PAD(struct ahci_state, reserved),
	STATE_STRUCTS(struct ahci_state, ports, &port_table),
};
static const struct state_table ahci_table =
	STATE_TABLE_OF(struct ahci_state, "ahci", ahci_fields, NULL);

/* What the device had begun is not part of the state: it is issued again. */
static void ahci_restored(void *device)
{
	struct ahci *ahci = device;

	for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
		struct ahci_port_state *state = &ahci->state.ports[i];

		state->ci |= state->sact;
		ahci_port_abandon(&ahci->ports[i]);
		ahci->ports[i].failed = false;
	}
	ahci_update_interrupt(ahci, false);
}

static const struct device_type ahci_type = {
	.name = "ahci",
	.state = &ahci_table,
	.state_offset = offsetof(struct ahci, state),
	.restored = ahci_restored,
};

int ahci_create(struct ahci **created, const char *name, struct machine *machine,
	uint8_t interrupt_pin, struct error *err)
{
	const struct pci_identity identity = {
		.vendor_id = 0x8086,
		.device_id = 0x2922,
		.revision = 2,
		.class_code = 0x010601,
		.subsystem_vendor_id = 0x8086,
		.subsystem_id = 0x2922,
		.interrupt_pin = interrupt_pin,
	};
	static const struct pci_function_ops function_ops = { .reset = ahci_reset };
	static const struct io_ops register_ops = { ahci_read, ahci_write, 4 };
	static const struct io_ops index_ops = { index_read, index_write, 4 };
	static const struct pci_bar registers = { .kind = PCI_BAR_MEMORY32,
		.size = REGISTERS_SIZE,
		.ops = &register_ops,
		.name = "ahci" };
	static const struct pci_bar index = {
		.kind = PCI_BAR_IO, .size = 32, .ops = &index_ops, .name = "ahci-index"
	};
	struct ahci *ahci = calloc(1, sizeof(*ahci));

	*created = ahci;
	if (!ahci)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the controller %s", name);
	ahci->machine = machine;
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
		ahci->ports[i].ahci = ahci;
		ahci->ports[i].index = i;
	}
	pci_function_init(&ahci->function, name, &identity, &function_ops, ahci);
	pci_add_bar(&ahci->function, REGISTERS_BAR, &registers);
	pci_add_bar(&ahci->function, INDEX_BAR, &index);
	pci_add_msi(&ahci->function, 1);
	machine_lock(machine);
	machine_add_device(machine, &ahci_type, name, ahci);
	reset_controller(ahci);
	machine_unlock(machine);
	return 0;
}

void ahci_destroy(struct ahci *ahci)
{
	if (!ahci)
		return;
	machine_lock(ahci->machine);
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		ahci_port_abandon(&ahci->ports[i]);
	machine_remove_device(ahci->machine, ahci);
	machine_unlock(ahci->machine);
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
		struct ahci_port *port = &ahci->ports[i];

		ata_destroy(port->device);
		for (unsigned slot = 0; slot < AHCI_NR_SLOTS; slot++)
			scatter_finish(&port->slots[slot].scatter);
	}
	pci_function_finish(&ahci->function);
	free(ahci);
}

struct pci_function *ahci_function(struct ahci *ahci)
{
	return &ahci->function;
}

int ahci_attach(struct ahci *ahci, unsigned port, const char *name,
	const struct ata_identity *identity, struct block_device *image, struct error *err)
{
	struct ata_identity serial = *identity;
	struct ata_device *device;
	int rc;

	assert(port < AHCI_NR_PORTS && !ahci->ports[port].device);
	serial.is_serial = true;
	rc = ata_create(&device, name, &serial, ahci->machine, image, err);
	if (rc < 0)
		return rc;
	machine_lock(ahci->machine);
	ahci->ports[port].device = device;
	ahci_port_reset(&ahci->ports[port]);
	machine_unlock(ahci->machine);
	return 0;
}

int ahci_free_port(const struct ahci *ahci)
{
	for (int i = 0; i < AHCI_NR_PORTS; i++) {
		if (!ahci->ports[i].device)
			return i;
	}
	return -1;
}

struct ata_device *ahci_device(struct ahci *ahci, unsigned port)
{
	return port < AHCI_NR_PORTS ? ahci->ports[port].device : NULL;
}
