/*
 * A flash memory on a bus of 8 bits, with Intel's basic command set (Intel StrataFlash 28F128J3,
 * 290667, chapter 9; JEDEC JESD68.01). Programming only clears bits, erasing sets a whole block.
 *
 * As EDK2 expects of a flash in a virtual machine, and unlike Intel's, clearing the status register
 * clears SR.7 as well: by that it tells flash from RAM and ROM. The next operation sets it.
 *
 * Programming and erasing take no time, so that there is nothing to suspend. Not modelled: lock
 * bits, the protection register, VPEN. Under the machine lock.
 */
#include "chip/cfi_flash.h"

#include "base/log.h"
#include "chip/cfi_flash_regs.h"

#include <assert.h>
#include <string.h>

enum shown { SHOWN_ARRAY, SHOWN_STATUS, SHOWN_IDENTIFIER, SHOWN_QUERY, NR_SHOWN };

/* What the next write is. */
enum cycle {
	CYCLE_COMMAND,
	CYCLE_PROGRAM, /* the byte to program */
	CYCLE_ERASE,   /* the confirmation */
	CYCLE_LOCK,    /* what to do with lock bits */
	CYCLE_BUFFER_LENGTH,
	CYCLE_BUFFER_BYTE,
	CYCLE_BUFFER_CONFIRM,
	NR_CYCLES,
};

static void show(struct cfi_flash *chip, enum shown shown)
{
	bool changes = (chip->state.shown == SHOWN_ARRAY) != (shown == SHOWN_ARRAY);

	chip->state.shown = (uint8_t)shown;
	if (changes)
		chip->events.array_shown(chip->events.context, shown == SHOWN_ARRAY);
}

static uint32_t block_of(const struct cfi_flash *chip, uint32_t offset)
{
	return offset & ~(chip->block_size - 1);
}

/* An operation is over, well or not; the status register is read until the next command. */
static void finish(struct cfi_flash *chip, uint8_t errors)
{
	chip->state.status |= (uint8_t)(CFI_STATUS_READY | errors);
	chip->state.cycle = CYCLE_COMMAND;
	show(chip, SHOWN_STATUS);
}

static void sequence_error(struct cfi_flash *chip)
{
	log_guest("the guest gave the flash memory commands in a wrong order");
	finish(chip, CFI_STATUS_SEQUENCE_ERROR);
}

static void program(struct cfi_flash *chip, uint32_t offset, uint8_t value)
{
	chip->array[offset] &= value;
	chip->events.written(chip->events.context, offset, 1);
	finish(chip, 0);
}

static void erase(struct cfi_flash *chip, uint32_t block)
{
	memset(chip->array + block, 0xff, chip->block_size);
	chip->events.written(chip->events.context, block, chip->block_size);
	finish(chip, 0);
}

/* A write to the buffer: its length, its bytes in any order, a confirmation. */

static void take_length(struct cfi_flash *chip, uint32_t offset, uint8_t value)
{
	struct cfi_flash_state *state = &chip->state;

	if (value >= CFI_FLASH_BUFFER || block_of(chip, offset) != state->block) {
		sequence_error(chip);
		return;
	}
	state->buffer_length = value;
	state->buffer_taken = 0;
	memset(state->buffer_valid, 0, sizeof(state->buffer_valid));
	state->cycle = CYCLE_BUFFER_BYTE;
}

static void take_byte(struct cfi_flash *chip, uint32_t offset, uint8_t value)
{
	struct cfi_flash_state *state = &chip->state;
	uint32_t at;

	/* The first address is where the buffer begins, or the buffer that it lies in. */
	if (state->buffer_taken == 0)
		state->buffer_base = offset & ~(CFI_FLASH_BUFFER - 1u);
	at = offset - state->buffer_base;
	if (at >= CFI_FLASH_BUFFER || block_of(chip, offset) != state->block) {
		sequence_error(chip);
		return;
	}
	state->buffer[at] = value;
	state->buffer_valid[at / 8] |= (uint8_t)BIT(at % 8);
	if (state->buffer_taken++ == state->buffer_length)
		state->cycle = CYCLE_BUFFER_CONFIRM;
}

static void program_buffer(struct cfi_flash *chip)
{
	const struct cfi_flash_state *state = &chip->state;

	for (unsigned i = 0; i < CFI_FLASH_BUFFER; i++) {
		if (state->buffer_valid[i / 8] & BIT(i % 8))
			chip->array[state->buffer_base + i] &= state->buffer[i];
	}
	chip->events.written(chip->events.context, state->buffer_base, CFI_FLASH_BUFFER);
	finish(chip, 0);
}

/* Begins an operation of several cycles; meanwhile the status register is read. */
static void begin(struct cfi_flash *chip, enum cycle next, uint32_t offset)
{
	chip->state.cycle = (uint8_t)next;
	chip->state.block = block_of(chip, offset);
	show(chip, SHOWN_STATUS);
}

static void command(struct cfi_flash *chip, uint32_t offset, uint8_t value)
{
	switch (value) {
	case CFI_PROGRAM:
	case CFI_PROGRAM_TOO: begin(chip, CYCLE_PROGRAM, offset); break;
	case CFI_BLOCK_ERASE: begin(chip, CYCLE_ERASE, offset); break;
	case CFI_LOCK_SETUP: begin(chip, CYCLE_LOCK, offset); break;
	case CFI_WRITE_BUFFER:
		/* The extended status register says that there is a free buffer. */
		chip->state.status |= CFI_STATUS_READY;
		begin(chip, CYCLE_BUFFER_LENGTH, offset);
		break;
	case CFI_CLEAR_STATUS:
		chip->state.status = 0;
		show(chip, SHOWN_ARRAY);
		break;
	case CFI_READ_STATUS: show(chip, SHOWN_STATUS); break;
	case CFI_READ_IDENTIFIER: show(chip, SHOWN_IDENTIFIER); break;
	case CFI_READ_QUERY: show(chip, SHOWN_QUERY); break;
	case CFI_SUSPEND:
	case CFI_CONFIRM: show(chip, SHOWN_STATUS); break; /* nothing goes on */
	default: show(chip, SHOWN_ARRAY);
	}
}

void cfi_flash_write(struct cfi_flash *chip, uint32_t offset, uint8_t value)
{
	struct cfi_flash_state *state = &chip->state;

	switch ((enum cycle)state->cycle) {
	case CYCLE_PROGRAM: program(chip, offset, value); break;
	case CYCLE_ERASE:
		if (value == CFI_CONFIRM && block_of(chip, offset) == state->block)
			erase(chip, state->block);
		else
			sequence_error(chip);
		break;
	case CYCLE_LOCK: finish(chip, 0); break;
	case CYCLE_BUFFER_LENGTH: take_length(chip, offset, value); break;
	case CYCLE_BUFFER_BYTE: take_byte(chip, offset, value); break;
	case CYCLE_BUFFER_CONFIRM:
		if (value == CFI_CONFIRM && block_of(chip, offset) == state->block)
			program_buffer(chip);
		else
			sequence_error(chip);
		break;
	default: command(chip, offset, value);
	}
}

static uint8_t read_identifier(const struct cfi_flash *chip, uint32_t offset)
{
	switch (offset & (chip->block_size - 1)) {
	case CFI_ID_MANUFACTURER: return CFI_ID_INTEL;
	case CFI_ID_DEVICE: return CFI_ID_28F128J3;
	default: return 0; /* no block is locked */
	}
}

/* The power of two that holds `value`. */
static uint8_t log2_of(uint32_t value)
{
	return (uint8_t)(value > 1 ? 32 - __builtin_clz(value - 1) : 0);
}

static uint8_t read_query(const struct cfi_flash *chip, uint32_t offset)
{
	uint32_t nr_blocks = chip->size / chip->block_size - 1, units = chip->block_size / 256;
	const uint8_t query[0x40] = {
		[CFI_QUERY] = 'Q',
		[CFI_QUERY + 1] = 'R',
		[CFI_QUERY + 2] = 'Y',
		[CFI_QUERY_COMMANDS] = 1,
		[CFI_QUERY_EXTENDED] = CFI_QUERY_PRIMARY,
		[CFI_QUERY_VCC_MIN] = 0x27,
		[CFI_QUERY_VCC_MAX] = 0x36,
		[CFI_QUERY_PROGRAM_TIME] = 7,
		[CFI_QUERY_BUFFER_TIME] = 7,
		[CFI_QUERY_ERASE_TIME] = 10,
		[CFI_QUERY_PROGRAM_MAX] = 4,
		[CFI_QUERY_BUFFER_MAX] = 4,
		[CFI_QUERY_ERASE_MAX] = 4,
		[CFI_QUERY_SIZE] = log2_of(chip->size),
		[CFI_QUERY_INTERFACE] = 0,
		[CFI_QUERY_BUFFER_SIZE] = log2_of(CFI_FLASH_BUFFER),
		[CFI_QUERY_NR_REGIONS] = 1,
		[CFI_QUERY_REGION_BLOCKS] = (uint8_t)nr_blocks,
		[CFI_QUERY_REGION_BLOCKS + 1] = (uint8_t)(nr_blocks >> 8),
		[CFI_QUERY_REGION_BYTES] = (uint8_t)units,
		[CFI_QUERY_REGION_BYTES + 1] = (uint8_t)(units >> 8),
		[CFI_QUERY_PRIMARY] = 'P',
		[CFI_QUERY_PRIMARY + 1] = 'R',
		[CFI_QUERY_PRIMARY + 2] = 'I',
		[CFI_QUERY_PRIMARY + 3] = '1',
		[CFI_QUERY_PRIMARY + 4] = '1',
	};

	offset &= 0xff;
	return offset < sizeof(query) ? query[offset] : 0;
}

uint8_t cfi_flash_read(struct cfi_flash *chip, uint32_t offset)
{
	switch ((enum shown)chip->state.shown) {
	case SHOWN_STATUS: return chip->state.status;
	case SHOWN_IDENTIFIER: return read_identifier(chip, offset);
	case SHOWN_QUERY: return read_query(chip, offset);
	default: return chip->array[offset];
	}
}

static void cfi_flash_reset(void *device)
{
	struct cfi_flash *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
	chip->state.status = CFI_STATUS_READY;
	chip->events.array_shown(chip->events.context, true);
}

static void cfi_flash_restored(void *device)
{
	struct cfi_flash *chip = device;

	/* Offsets are of the chip that was saved, which had another size perhaps. */
	chip->state.block = block_of(chip, chip->state.block % chip->size);
	chip->state.buffer_base = chip->state.buffer_base % chip->size & ~(CFI_FLASH_BUFFER - 1u);
	chip->events.array_shown(chip->events.context, chip->state.shown == SHOWN_ARRAY);
}

void cfi_flash_init(struct cfi_flash *chip, uint8_t *array, uint32_t size, uint32_t block_size,
	const struct cfi_flash_events *events)
{
	assert(block_size >= 256 && !(block_size & (block_size - 1)));
	assert(size > 0 && size % block_size == 0);
	memset(chip, 0, sizeof(*chip));
	chip->array = array;
	chip->size = size;
	chip->block_size = block_size;
	chip->events = *events;
	chip->state.status = CFI_STATUS_READY;
}

/* In the middle of an operation the status register is what is read. */
static bool cfi_flash_check(const void *object, struct error *err)
{
	const struct cfi_flash_state *state = object;

	(void)err;
	return (state->cycle == CYCLE_COMMAND || state->shown == SHOWN_STATUS) &&
	       (state->cycle != CYCLE_BUFFER_BYTE || state->buffer_taken <= state->buffer_length);
}

static const struct state_field cfi_flash_fields[] = {
	STATE(struct cfi_flash_state, buffer_base),
	STATE(struct cfi_flash_state, block),
	STATE_MAX(struct cfi_flash_state, shown, NR_SHOWN - 1),
	STATE_MAX(struct cfi_flash_state, cycle, NR_CYCLES - 1),
	STATE(struct cfi_flash_state, status),
	STATE_MAX(struct cfi_flash_state, buffer_length, CFI_FLASH_BUFFER - 1),
	STATE_MAX(struct cfi_flash_state, buffer_taken, CFI_FLASH_BUFFER),
	STATE_PAD(struct cfi_flash_state, reserved),
	STATE_ARRAY(struct cfi_flash_state, buffer),
	STATE_ARRAY(struct cfi_flash_state, buffer_valid),
};
static const struct state_table cfi_flash_table =
	STATE_TABLE_OF(struct cfi_flash_state, "cfi_flash", cfi_flash_fields, cfi_flash_check);

const struct device_type cfi_flash_type = {
	.name = "cfi_flash",
	.state = &cfi_flash_table,
	.state_offset = offsetof(struct cfi_flash, state),
	.reset = cfi_flash_reset,
	.restored = cfi_flash_restored,
};
