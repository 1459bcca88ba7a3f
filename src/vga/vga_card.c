#include "vga/vga_card.h"

#include "display/edid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_BAR     0
#define REGISTERS_BAR  2
#define REGISTERS_SIZE 0x1000

/* The registers of BAR 2. */
#define EDID_OFFSET      0x000
#define PORTS_OFFSET     0x400 /* of 0x3c0 */
#define DISPI_OFFSET     0x500
#define EXTENDED_OFFSET  0x600 /* size of this block, byte order */
#define EXTENDED_SIZE    8
#define LITTLE_ENDIAN_ID 0x1e1e1e1e

static void memory_written(void *context, uint32_t offset, uint32_t size)
{
	struct vga_card *card = context;

	guest_memory_changed(&card->machine->memory, card->memory, offset, size);
}

/* Accesses that do not come from an address; the others are the RAM's. */
static uint64_t memory_read(void *device, uint64_t offset, unsigned size)
{
	struct vga_card *card = device;
	uint64_t value = 0;

	memcpy(&value, card->memory->host + offset, size);
	return value;
}

static void memory_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga_card *card = device;

	memcpy(card->memory->host + offset, &value, size);
	memory_written(card, (uint32_t)offset, size);
}

static uint8_t read_byte(struct vga_card *card, uint64_t offset)
{
	const uint32_t extended[] = { EXTENDED_SIZE, LITTLE_ENDIAN_ID };

	if (offset < EDID_OFFSET + sizeof(card->edid))
		return card->edid[offset];
	if (offset >= PORTS_OFFSET && offset < PORTS_OFFSET + VGA_PORTS_SIZE)
		return vga_port_read(
			&card->vga, (uint16_t)(VGA_PORT_ATTRIBUTE + offset - PORTS_OFFSET));
	if (offset >= EXTENDED_OFFSET && offset < EXTENDED_OFFSET + EXTENDED_SIZE)
		return ((const uint8_t *)extended)[offset - EXTENDED_OFFSET];
	return 0;
}

static bool is_dispi(uint64_t offset)
{
	return offset >= DISPI_OFFSET && offset < DISPI_OFFSET + VGA_NR_DISPI * 2;
}

static uint64_t registers_read(void *device, uint64_t offset, unsigned size)
{
	struct vga_card *card = device;
	uint64_t value;

	if (is_dispi(offset)) {
		value = vga_dispi_read(&card->vga, (unsigned)(offset - DISPI_OFFSET) / 2);
		return size == 1 ? value >> (8 * (offset & 1)) & 0xff : value;
	}
	value = read_byte(card, offset);
	if (size == 2)
		value |= (uint64_t)read_byte(card, offset + 1) << 8;
	return value;
}

static void registers_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga_card *card = device;

	if (is_dispi(offset)) {
		if (size == 2)
			vga_dispi_write(
				&card->vga, (unsigned)(offset - DISPI_OFFSET) / 2, (uint16_t)value);
		return;
	}
	for (unsigned i = 0; i < size; i++, offset++) {
		if (offset >= PORTS_OFFSET && offset < PORTS_OFFSET + VGA_PORTS_SIZE)
			vga_port_write(&card->vga,
				(uint16_t)(VGA_PORT_ATTRIBUTE + offset - PORTS_OFFSET),
				(uint8_t)(value >> (8 * i)));
	}
}

int vga_card_create(
	struct vga_card **out, const char *name, struct machine *machine, struct error *err)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x1234,
		.device_id = 0x1111,
		.revision = 2,
		.class_code = 0x030000,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100,
	};
	static const struct pci_function_ops function_ops = { 0 };
	static const struct io_ops memory_ops = { memory_read, memory_write, 8 };
	static const struct io_ops register_ops = { registers_read, registers_write, 2 };
	struct pci_bar memory_bar = { .kind = PCI_BAR_MEMORY32,
		.prefetchable = true,
		.size = VGA_CARD_MEMORY_SIZE,
		.ops = &memory_ops,
		.name = "vga-memory" };
	static const struct pci_bar registers_bar = { .kind = PCI_BAR_MEMORY32,
		.size = REGISTERS_SIZE,
		.ops = &register_ops,
		.name = "vga-registers" };
	struct vga_card *card = calloc(1, sizeof(*card));

	*out = NULL;
	if (!card)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", name);
	card->machine = machine;
	card->memory = guest_memory_add_movable(&machine->memory, VGA_CARD_MEMORY_SIZE, err);
	if (!card->memory) {
		free(card);
		return -ENOMEM;
	}
	memory_bar.ram = card->memory;
	vga_init(&card->vga, &machine->clock, card->memory->host, VGA_CARD_MEMORY_SIZE);
	card->vga.written = memory_written;
	card->vga.context = card;
	edid_describe(card->edid, 1024, 768);
	pci_function_init(&card->function, name, &identity, &function_ops, card);
	pci_add_bar(&card->function, MEMORY_BAR, &memory_bar);
	pci_add_bar(&card->function, REGISTERS_BAR, &registers_bar);
	machine_add_device(machine, &vga_type, name, &card->vga);
	*out = card;
	return 0;
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	struct vga_card *card = device;

	(void)size;
	return vga_port_read(&card->vga, (uint16_t)(VGA_PORT_MONO + offset));
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga_card *card = device;

	(void)size;
	vga_port_write(&card->vga, (uint16_t)(VGA_PORT_MONO + offset), (uint8_t)value);
}

static uint64_t port_3c0_read(void *device, uint64_t offset, unsigned size)
{
	return port_read(device, offset + VGA_PORT_ATTRIBUTE - VGA_PORT_MONO, size);
}

static void port_3c0_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	port_write(device, offset + VGA_PORT_ATTRIBUTE - VGA_PORT_MONO, size, value);
}

/* The index port holds 16 bits; the data port's are read and written together. */
static uint64_t dispi_read(void *device, uint64_t offset, unsigned size)
{
	struct vga_card *card = device;
	struct vga_state *state = &card->vga.state;

	if (offset == 0)
		return state->dispi_index & byte_mask(size);
	return vga_dispi_read(&card->vga, state->dispi_index) & byte_mask(size);
}

static void dispi_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga_card *card = device;
	struct vga_state *state = &card->vga.state;

	if (size != 2)
		return;
	if (offset == 0)
		state->dispi_index = (uint16_t)value;
	else
		vga_dispi_write(&card->vga, state->dispi_index, (uint16_t)value);
}

static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	return vga_window_read(&((struct vga_card *)device)->vga, offset, size);
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	vga_window_write(&((struct vga_card *)device)->vga, offset, size, value);
}

void vga_card_map_legacy(struct vga_card *card)
{
	static const struct io_ops mono = { port_read, port_write, 1 };
	static const struct io_ops ports = { port_3c0_read, port_3c0_write, 1 };
	static const struct io_ops dispi = { dispi_read, dispi_write, 2 };
	static const struct io_ops window = { window_read, window_write, 8 };
	struct machine *machine = card->machine;

	address_space_map(&machine->pio, &(struct io_region){ .base = VGA_PORT_MONO,
						 .size = VGA_MONO_SIZE,
						 .ops = &mono,
						 .device = card,
						 .name = "vga" });
	address_space_map(&machine->pio, &(struct io_region){ .base = VGA_PORT_ATTRIBUTE,
						 .size = VGA_PORTS_SIZE,
						 .ops = &ports,
						 .device = card,
						 .name = "vga" });
	address_space_map(&machine->pio, &(struct io_region){ .base = VGA_PORT_DISPI_INDEX,
						 .size = 3,
						 .ops = &dispi,
						 .device = card,
						 .name = "vga-dispi" });
	address_space_map(&machine->mmio, &(struct io_region){ .base = VGA_WINDOW_BASE,
						  .size = VGA_WINDOW_SIZE,
						  .ops = &window,
						  .device = card,
						  .name = "vga" });
	card->is_legacy = true;
}

void vga_card_destroy(struct vga_card *card)
{
	if (!card)
		return;
	if (card->is_legacy) {
		address_space_unmap(&card->machine->pio, VGA_PORT_MONO);
		address_space_unmap(&card->machine->pio, VGA_PORT_ATTRIBUTE);
		address_space_unmap(&card->machine->pio, VGA_PORT_DISPI_INDEX);
		address_space_unmap(&card->machine->mmio, VGA_WINDOW_BASE);
	}
	machine_remove_device(card->machine, &card->vga);
	pci_function_finish(&card->function);
	free(card);
}
