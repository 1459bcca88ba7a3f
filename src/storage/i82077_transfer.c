/*
 * The execution phase of the 82077AA's commands that move data (data sheet 290166, 5.1): a sector
 * at a time through a buffer, between medium and host, until TC comes or the track ends.
 */
#include "storage/i82077_internal.h"

#include "base/bits.h"

#include <string.h>

/* What a host that has not unmasked the DMA channel is waited for, before it is an overrun. */
#define DMA_POLL_NS (100 * NS_PER_US)
#define DMA_POLLS   1000

#define FORMAT_ID_BYTES 4
#define SIZE_512        2 /* as an ID has it */

enum { CYLINDER, HEAD, SECTOR, SIZE };

static uint8_t code_of(const struct i82077_state *state)
{
	return state->command[0] & FDC_COMMAND;
}

static bool writes(const struct i82077_state *state)
{
	uint8_t code = code_of(state);

	return code == FDC_WRITE || code == FDC_WRITE_DELETED || code == FDC_FORMAT;
}

bool i82077_transfer_to_host(const struct i82077 *chip)
{
	return !writes(&chip->state);
}

static void finish(struct i82077 *chip, uint8_t st0)
{
	struct i82077_state *state = &chip->state;

	timer_cancel(&chip->timer);
	state->at = state->end = 0;
	state->result[0] = (uint8_t)(st0 | state->head << 2 | state->unit);
	state->result[1] = state->st1;
	state->result[2] = state->st2;
	memcpy(state->result + 3, state->id, sizeof(state->id));
	i82077_give_result(chip, I82077_TRANSFER_RESULT);
	i82077_set_irq(chip, true);
}

static void fail(struct i82077 *chip, uint8_t st1, uint8_t st2)
{
	chip->state.st1 |= st1;
	chip->state.st2 |= st2;
	finish(chip, FDC_ST0_ABNORMAL);
}

static void finding(struct i82077 *chip)
{
	chip->state.step = I82077_FINDING;
	timer_arm(&chip->timer, clock_now(&chip->machine->clock) + I82077_DELAY_NS);
}

void i82077_transfer_begin(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	uint8_t code = code_of(state);

	state->phase = I82077_EXECUTION;
	state->unit = state->command[1] & FDC_UNIT;
	state->head = (state->command[1] & FDC_HEAD) != 0;
	state->st1 = state->st2 = 0;
	state->terminal = false;
	state->at = state->end = 0;
	if (code == FDC_FORMAT) {
		state->sectors_left = state->command[3];
		state->end_of_track = state->command[3];
		state->id[SIZE] = state->command[2];
	} else if (code != FDC_READ_ID) {
		memcpy(state->id, state->command + 2, sizeof(state->id));
		state->end_of_track = state->command[6];
		state->sectors_left = state->command[8];
		state->track_sector = 1;
		if (state->configuration & FDC_IMPLIED_SEEK)
			i82077_move_head(chip, state->unit, state->id[CYLINDER]);
	}
	finding(chip);
}

/* The track under the head, or NULL with the command failed: nothing turns there, or what does was
 * written at another rate. */
static const struct floppy *track(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	const struct floppy *floppy = i82077_floppy(chip, state->unit);

	if (floppy && floppy->format && (state->dor & FDC_DOR_MOTOR << state->unit) &&
		(state->command[0] & FDC_MFM) && state->rate == floppy->format->rate &&
		state->units[state->unit].cylinder < floppy->format->cylinders &&
		state->head < floppy->format->heads)
		return floppy;
	fail(chip, FDC_ST1_NO_MARK, 0);
	return NULL;
}

/* Is there a sector with the command's ID? Else the command has failed. */
static bool finds_id(struct i82077 *chip, const struct floppy *floppy)
{
	const struct i82077_state *state = &chip->state;
	const uint8_t *id = state->id;

	if (id[CYLINDER] != state->units[state->unit].cylinder) {
		fail(chip, FDC_ST1_NO_DATA, FDC_ST2_WRONG);
		return false;
	}
	if (id[SIZE] != SIZE_512 || id[HEAD] != state->head || id[SECTOR] < 1 ||
		id[SECTOR] > floppy->format->sectors) {
		fail(chip, FDC_ST1_NO_DATA, 0);
		return false;
	}
	return true;
}

static void transfer_done(struct drive_transfer *transfer, int result);

/* The buffer to sector `number` of the track, or the sector into the buffer. */
static void start_medium(struct i82077 *chip, unsigned number)
{
	struct i82077_state *state = &chip->state;
	struct floppy *floppy = i82077_floppy(chip, state->unit);
	const struct floppy_format *format = floppy->format;
	uint64_t row = (uint64_t)state->units[state->unit].cylinder * format->heads + state->head;

	scatter_clear(&chip->scatter);
	if (!scatter_add_host(&chip->scatter, state->buffer, sizeof(state->buffer))) {
		fail(chip, FDC_ST1_DATA_ERROR, FDC_ST2_DATA_ERROR);
		return;
	}
	state->step = I82077_MEDIUM;
	chip->transfer.operation = writes(state) ? BLOCK_WRITE : BLOCK_READ;
	chip->transfer.flags = 0;
	chip->transfer.offset = (row * format->sectors + number - 1) * FLOPPY_SECTOR;
	chip->transfer.bytes = FLOPPY_SECTOR;
	chip->transfer.scatter = &chip->scatter;
	chip->transfer.done = transfer_done;
	chip->transfer.context = chip;
	drive_start(&floppy->drive, &chip->transfer);
}

static void host_done(struct i82077 *chip);

/* How many bytes the host moves for one interrupt. */
static unsigned burst(const struct i82077_state *state)
{
	return state->configuration & FDC_NO_FIFO ? 1 : 1u + (state->configuration & FDC_THRESHOLD);
}

static void move_by_dma(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	bool terminal = false;
	unsigned moved = 0;

	if (state->dor & FDC_DOR_DMA_GATE)
		moved = chip->wiring.dma(chip->wiring.context, state->buffer + state->at,
			state->end - state->at, i82077_transfer_to_host(chip), &terminal);
	state->at = (uint16_t)(state->at + moved);
	state->terminal |= terminal;
	if (moved)
		state->waits = 0;
	if (state->at == state->end || terminal)
		host_done(chip);
	else if (state->waits++ < DMA_POLLS)
		timer_arm(&chip->timer, clock_now(&chip->machine->clock) + DMA_POLL_NS);
	else
		fail(chip, FDC_ST1_OVERRUN, 0);
}

static void start_host(struct i82077 *chip, unsigned bytes)
{
	struct i82077_state *state = &chip->state;

	state->step = I82077_HOST;
	state->at = 0;
	state->end = (uint16_t)bytes;
	state->waits = 0;
	if (state->specify[1] & FDC_NON_DMA)
		i82077_set_irq(chip, true);
	else
		move_by_dma(chip);
}

static void find_id(struct i82077 *chip, const struct floppy *floppy)
{
	struct i82077_state *state = &chip->state;

	state->track_sector = (uint8_t)(state->track_sector % floppy->format->sectors + 1);
	state->id[CYLINDER] = state->units[state->unit].cylinder;
	state->id[HEAD] = state->head;
	state->id[SECTOR] = state->track_sector;
	state->id[SIZE] = SIZE_512;
	finish(chip, 0);
}

/* Sectors as they come, whatever their IDs are. */
static void read_track(struct i82077 *chip, const struct floppy *floppy)
{
	struct i82077_state *state = &chip->state;

	if (state->track_sector < 1 || state->track_sector > floppy->format->sectors) {
		fail(chip, FDC_ST1_NO_DATA, 0);
		return;
	}
	if (state->id[SECTOR] != state->track_sector || state->id[HEAD] != state->head ||
		state->id[CYLINDER] != state->units[state->unit].cylinder)
		state->st1 |= FDC_ST1_NO_DATA;
	start_medium(chip, state->track_sector);
}

static bool is_marked_as_skipped(const struct i82077_state *state)
{
	return code_of(state) == FDC_READ_DELETED && (state->command[0] & FDC_SKIP);
}

/* The next sector's ID. False: this was the command's last. */
static bool advance(struct i82077_state *state)
{
	bool both_sides = state->command[0] & FDC_MULTI_TRACK;

	if (code_of(state) == FDC_READ_TRACK) {
		state->id[SECTOR]++;
		return state->track_sector++ != state->end_of_track;
	}
	if (state->id[SECTOR] != state->end_of_track) {
		state->id[SECTOR]++;
		return true;
	}
	state->id[SECTOR] = 1;
	if (both_sides)
		state->id[HEAD] ^= 1;
	if (both_sides && state->head == 0) {
		state->head = 1;
		return true;
	}
	state->id[CYLINDER]++;
	return false;
}

static void find_sector(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	const struct floppy *floppy = track(chip);

	if (!floppy)
		return;
	if (code_of(state) == FDC_READ_ID) {
		find_id(chip, floppy);
		return;
	}
	if (writes(state) && drive_is_read_only(&floppy->drive)) {
		fail(chip, FDC_ST1_NOT_WRITABLE, 0);
		return;
	}
	if (code_of(state) == FDC_FORMAT) {
		start_host(chip, FORMAT_ID_BYTES);
		return;
	}
	if (code_of(state) == FDC_READ_TRACK) {
		read_track(chip, floppy);
		return;
	}
	if (!finds_id(chip, floppy))
		return;
	/* No sector is marked as deleted. */
	if (code_of(state) == FDC_READ_DELETED)
		state->st2 |= FDC_ST2_CONTROL_MARK;
	if (is_marked_as_skipped(state)) {
		if (advance(state))
			finding(chip);
		else
			fail(chip, FDC_ST1_END, 0);
	} else if (writes(state)) {
		start_host(chip, FLOPPY_SECTOR);
	} else {
		start_medium(chip, state->id[SECTOR]);
	}
}

/* After the last byte of a sector: was it the command's? */
static void sector_done(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	bool is_verify = code_of(state) == FDC_VERIFY;
	bool has_count = is_verify && (state->command[1] & FDC_COUNT_GIVEN);
	bool more = advance(state);

	if (has_count && --state->sectors_left == 0)
		finish(chip, 0);
	else if (state->terminal || code_of(state) == FDC_READ_DELETED)
		finish(chip, 0);
	else if (more)
		find_sector(chip);
	else if (is_verify && !has_count)
		finish(chip, 0);
	else
		fail(chip, FDC_ST1_END, 0);
}

/* The ID of a sector is in the buffer. Only those that the disk has can be written. */
static void format_sector(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	const struct floppy *floppy = track(chip);

	if (!floppy)
		return;
	if (state->at == FORMAT_ID_BYTES) {
		memcpy(state->id, state->buffer, sizeof(state->id));
		if (!finds_id(chip, floppy))
			return;
		memset(state->buffer, state->command[5], sizeof(state->buffer));
		start_medium(chip, state->id[SECTOR]);
	} else {
		finish(chip, 0); /* TC in the middle of an ID */
	}
}

static void sector_formatted(struct i82077 *chip)
{
	if (--chip->state.sectors_left == 0 || chip->state.terminal)
		finish(chip, 0);
	else
		start_host(chip, FORMAT_ID_BYTES);
}

static void host_done(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	const struct floppy *floppy;

	if (code_of(state) == FDC_FORMAT) {
		format_sector(chip);
		return;
	}
	if (!writes(state)) {
		sector_done(chip);
		return;
	}
	floppy = track(chip);
	if (!floppy || !finds_id(chip, floppy))
		return;
	/* TC in the middle: the rest of the sector is zeros. */
	memset(state->buffer + state->at, 0, sizeof(state->buffer) - state->at);
	start_medium(chip, state->id[SECTOR]);
}

static void transfer_done(struct drive_transfer *transfer, int result)
{
	struct i82077 *chip = transfer->context;
	struct i82077_state *state = &chip->state;

	if (chip->abandoned)
		return;
	if (result < 0)
		fail(chip, FDC_ST1_DATA_ERROR, FDC_ST2_DATA_ERROR);
	else if (code_of(state) == FDC_FORMAT)
		sector_formatted(chip);
	else if (writes(state) || code_of(state) == FDC_VERIFY)
		sector_done(chip);
	else
		start_host(chip, FLOPPY_SECTOR);
}

/* What the drive was given begins. */
static void run(struct i82077 *chip)
{
	struct floppy *floppy = i82077_floppy(chip, chip->state.unit);

	if (floppy)
		drive_run(&floppy->drive);
}

/* A write that was saved while it was on its way: its sector is still in the buffer. */
static void write_again(struct i82077 *chip)
{
	const struct floppy *floppy = track(chip);

	if (floppy && finds_id(chip, floppy))
		start_medium(chip, chip->state.id[SECTOR]);
}

void i82077_transfer_continue(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;

	if (state->step == I82077_HOST) {
		if (!(state->specify[1] & FDC_NON_DMA))
			move_by_dma(chip);
	} else if (state->step == I82077_MEDIUM && writes(state)) {
		write_again(chip);
	} else {
		find_sector(chip);
	}
	run(chip);
}

/* A byte has passed the data port. */
static void moved(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;

	i82077_set_irq(chip, false);
	if (state->at == state->end) {
		host_done(chip);
		run(chip);
	} else if (state->at % burst(state) == 0) {
		i82077_set_irq(chip, true);
	}
}

uint8_t i82077_transfer_read(struct i82077 *chip)
{
	uint8_t value = chip->state.buffer[chip->state.at++ % FLOPPY_SECTOR];

	moved(chip);
	return value;
}

void i82077_transfer_write(struct i82077 *chip, uint8_t value)
{
	chip->state.buffer[chip->state.at++ % FLOPPY_SECTOR] = value;
	moved(chip);
}
