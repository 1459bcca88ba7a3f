/*
 * How the PC/AT wires two 8237s (IBM PC/AT Technical Reference, system board): page registers
 * extend addresses, the second chip's are of words and its registers are two ports apart.
 *
 * Not modelled: that the first chip asks through the second one's channel 0, whose mask therefore
 * holds up nothing; refresh; masters on the bus. Nothing is on the channels of words.
 */
#include "board/at_dma.h"

#include "isa/isa_ports.h"

#include <string.h>

#define PORT_BYTES 0x00
#define PORT_PAGES 0x80
#define PORT_WORDS 0xc0

static uint64_t pages_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return ((struct at_dma *)device)->state.pages[offset % AT_DMA_NR_PAGES];
}

static void pages_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	((struct at_dma *)device)->state.pages[offset % AT_DMA_NR_PAGES] = (uint8_t)value;
}

/* Memory a byte at a time where it is not all RAM, as the chip reaches it. */
static void move_byte(struct at_dma *dma, gpa_t address, uint8_t *byte, bool to_memory)
{
	const struct guest_memory *memory = &dma->machine->memory;

	if (to_memory)
		guest_memory_write(memory, address, byte, 1);
	else if (guest_memory_read(memory, address, byte, 1) < 0)
		*byte = 0xff;
}

static void move_run(
	struct at_dma *dma, gpa_t page, const struct i8237_run *run, uint8_t *bytes, bool to_memory)
{
	const struct guest_memory *memory = &dma->machine->memory;
	enum i8237_transfer wanted = to_memory ? I8237_WRITE_MEMORY : I8237_READ_MEMORY;
	gpa_t address = page + run->address;

	if (run->transfer != wanted) {
		/* Nobody drives the bus for the device. */
		if (!to_memory)
			memset(bytes, 0xff, run->units);
		return;
	}
	if (!run->decrement) {
		int rc = to_memory ? guest_memory_write(memory, address, bytes, run->units)
				   : guest_memory_read(memory, address, bytes, run->units);

		if (rc == 0)
			return;
	}
	for (unsigned i = 0; i < run->units; i++)
		move_byte(dma, run->decrement ? address - i : address + i, &bytes[i], to_memory);
}

unsigned at_dma_move(struct at_dma *dma, unsigned channel, uint8_t *bytes, unsigned size,
	bool to_memory, bool *terminal)
{
	/* The page register of each channel. */
	static const uint8_t page_of[I8237_NR_CHANNELS] = { 7, 3, 1, 2 };
	gpa_t page = (gpa_t)dma->state.pages[page_of[channel % I8237_NR_CHANNELS]] << 16;
	unsigned moved = 0;

	*terminal = false;
	while (moved < size && !*terminal) {
		struct i8237_run run = i8237_request(&dma->bytes, channel, size - moved);

		if (run.units == 0)
			break;
		move_run(dma, page, &run, bytes + moved, to_memory);
		moved += run.units;
		*terminal = run.terminal;
	}
	return moved;
}

static void at_dma_reset(void *device)
{
	struct at_dma *dma = device;

	memset(&dma->state, 0, sizeof(dma->state));
}

static const struct state_field at_dma_fields[] = {
	STATE_ARRAY(struct at_dma_state, pages),
};
static const struct state_table at_dma_table =
	STATE_TABLE_OF(struct at_dma_state, "at_dma", at_dma_fields, NULL);

static const struct device_type at_dma_type = {
	.name = "at_dma",
	.state = &at_dma_table,
	.state_offset = offsetof(struct at_dma, state),
	.reset = at_dma_reset,
};

void at_dma_init(struct at_dma *dma, struct machine *machine)
{
	static const struct io_ops pages_ops = { pages_read, pages_write, 1 };
	const struct io_region pages = { PORT_PAGES, AT_DMA_NR_PAGES, &pages_ops, dma,
		"dma-pages" };

	memset(dma, 0, sizeof(*dma));
	dma->machine = machine;
	i8237_init(&dma->bytes);
	i8237_init(&dma->words);
	machine_add_device(machine, &i8237_type, "dma-bytes", &dma->bytes);
	machine_add_device(machine, &i8237_type, "dma-words", &dma->words);
	machine_add_device(machine, &at_dma_type, "dma-pages", dma);
	isa_map_i8237(machine, PORT_BYTES, false, "dma-bytes", &dma->bytes);
	isa_map_i8237(machine, PORT_WORDS, true, "dma-words", &dma->words);
	address_space_map(&machine->pio, &pages);
}
