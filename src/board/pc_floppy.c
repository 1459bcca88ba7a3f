/*
 * The floppy disk controller on the PC's ports, interrupt and DMA channel, and what a BIOS says of
 * its drives.
 */
#include "board/pc.h"

#define FDC_DMA_CHANNEL 2

/* Ports from 0x3f0 on: 0x3f6 is IDE's. */
#define FDC_LOW_PORTS 6
#define FDC_LAST_PORT 7

/* As the PC/AT's and later BIOSes number kinds of drives. */
#define KIND_1440K 4
#define KIND_2880K 5

#define EQUIPMENT_FLOPPY     0x01
#define EQUIPMENT_TWO_DRIVES 0x40

static uint64_t low_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return i82077_read(device, (unsigned)offset);
}

static void low_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	i82077_write(device, (unsigned)offset, (uint8_t)value);
}

static uint64_t last_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return i82077_read(device, FDC_LAST_PORT);
}

static void last_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	i82077_write(device, FDC_LAST_PORT, (uint8_t)value);
}

static unsigned move(void *context, uint8_t *bytes, unsigned size, bool to_memory, bool *terminal)
{
	return at_dma_move(
		&((struct pc *)context)->dma, FDC_DMA_CHANNEL, bytes, size, to_memory, terminal);
}

void pc_floppy_add(struct pc *pc)
{
	static const struct io_ops low_ops = { low_read, low_write, 1 };
	static const struct io_ops last_ops = { last_read, last_write, 1 };
	struct machine *machine = pc->board.machine;
	const struct i82077_wiring wiring = {
		.irq = at_isa_irq(&pc->at, AT_IRQ_FDC), .dma = move, .context = pc
	};
	const struct io_region low = { AT_PORT_FDC, FDC_LOW_PORTS, &low_ops, &pc->fdc, "fdc" };
	const struct io_region last = { AT_PORT_FDC + FDC_LAST_PORT, 1, &last_ops, &pc->fdc,
		"fdc" };

	i82077_init(&pc->fdc, machine, &wiring);
	pc->has_fdc = true;
	machine_add_device(machine, &i82077_type, "fdc", &pc->fdc);
	address_space_map(&machine->pio, &low);
	address_space_map(&machine->pio, &last);
}

struct i82077 *pc_floppy_fdc(struct board *board)
{
	struct pc *pc = pc_of(board);

	return pc->has_fdc ? &pc->fdc : NULL;
}

static unsigned kind(const struct pc *pc, unsigned drive)
{
	const struct floppy *floppy = &pc->fdc.floppies[drive];

	if (!floppy->present)
		return 0;
	return floppy->extra_density ? KIND_2880K : KIND_1440K;
}

uint8_t pc_floppy_kinds(const struct pc *pc)
{
	return (uint8_t)(kind(pc, 0) << 4 | kind(pc, 1));
}

uint8_t pc_floppy_equipment(const struct pc *pc)
{
	if (!kind(pc, 0))
		return 0;
	return EQUIPMENT_FLOPPY | (kind(pc, 1) ? EQUIPMENT_TWO_DRIVES : 0);
}

void pc_floppy_describe(const struct pc *pc, struct acpi_config *acpi)
{
	if (!kind(pc, 0))
		return;
	acpi->ssdts[acpi->nr_ssdts++] =
		kind(pc, 1) ? (struct acpi_aml){ acpi_floppies_ssdt, acpi_floppies_ssdt_size }
			    : (struct acpi_aml){ acpi_floppy_ssdt, acpi_floppy_ssdt_size };
}
