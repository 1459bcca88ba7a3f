/*
 * From ports to chips. The chips here have byte-wide registers: address_space splits wider
 * accesses, as the ISA bus does for an 8-bit card.
 */
#include "isa/isa_ports.h"

static void isa_map(struct machine *machine, uint16_t port, unsigned size, const char *name,
	const struct io_ops *ops, void *device)
{
	address_space_map(&machine->pio,
		&(struct io_region){
			.base = port, .size = size, .ops = ops, .device = device, .name = name });
}

static uint64_t isa_i8254_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return i8254_read(device, (unsigned)offset);
}

static void isa_i8254_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	i8254_write(device, (unsigned)offset, (uint8_t)value);
}

void isa_map_i8254(struct machine *machine, uint16_t port, const char *name, struct i8254 *chip)
{
	static const struct io_ops ops = { isa_i8254_read, isa_i8254_write, 1 };

	isa_map(machine, port, 4, name, &ops, chip);
}

static uint64_t isa_i8259_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return i8259_read(device, (unsigned)offset);
}

static void isa_i8259_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	i8259_write(device, (unsigned)offset, (uint8_t)value);
}

static uint64_t isa_elcr_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return i8259_read_elcr(device);
}

static void isa_elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	i8259_write_elcr(device, (uint8_t)value);
}

void isa_map_i8259(struct machine *machine, uint16_t port, uint16_t elcr_port, const char *name,
	struct i8259 *chip)
{
	static const struct io_ops ops = { isa_i8259_read, isa_i8259_write, 1 };
	static const struct io_ops elcr_ops = { isa_elcr_read, isa_elcr_write, 1 };

	isa_map(machine, port, 2, name, &ops, chip);
	isa_map(machine, elcr_port, 1, name, &elcr_ops, chip);
}

static uint64_t isa_ns16550_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return ns16550_read(device, (unsigned)offset);
}

static void isa_ns16550_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	ns16550_write(device, (unsigned)offset, (uint8_t)value);
}

void isa_map_ns16550(struct machine *machine, uint16_t port, const char *name, struct ns16550 *chip)
{
	static const struct io_ops ops = { isa_ns16550_read, isa_ns16550_write, 1 };

	isa_map(machine, port, 8, name, &ops, chip);
}
