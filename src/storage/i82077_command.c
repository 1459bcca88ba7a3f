/*
 * The 82077AA's commands (data sheet 290166, chapter 5), but for the phases of those that move data
 * (i82077_transfer.c).
 */
#include "storage/i82077_internal.h"

#include "base/bits.h"

#include <string.h>

/* A recalibration gives up after so many steps. */
#define RECALIBRATE_STEPS 79

static struct i82077_unit_state *addressed(struct i82077 *chip)
{
	return &chip->state.units[chip->state.command[1] & FDC_UNIT];
}

static void end_without_result(struct i82077 *chip)
{
	chip->state.phase = I82077_COMMAND;
	chip->state.nr_command = 0;
}

static void give_byte(struct i82077 *chip, uint8_t byte)
{
	chip->state.result[0] = byte;
	i82077_give_result(chip, 1);
}

static void invalid(struct i82077 *chip)
{
	give_byte(chip, FDC_ST0_INVALID);
}

static void specify(struct i82077 *chip)
{
	memcpy(chip->state.specify, chip->state.command + 1, sizeof(chip->state.specify));
	end_without_result(chip);
}

static void sense_drive(struct i82077 *chip)
{
	uint8_t select = chip->state.command[1] & (FDC_HEAD | FDC_UNIT);
	const struct floppy *floppy = i82077_floppy(chip, select & FDC_UNIT);
	uint8_t status = select | FDC_ST3_READY | FDC_ST3_TWO_SIDED;

	/* An empty drive says that it cannot be written to. */
	if (floppy && (!floppy->format || drive_is_read_only(&floppy->drive)))
		status |= FDC_ST3_PROTECTED;
	if (floppy && addressed(chip)->cylinder == 0)
		status |= FDC_ST3_TRACK_0;
	give_byte(chip, status);
}

static void start_seek(struct i82077 *chip, unsigned target, uint8_t st0)
{
	struct i82077_unit_state *unit = addressed(chip);
	unsigned number = chip->state.command[1] & FDC_UNIT;
	int steps = (int)target - unit->cylinder;

	unit->target = (uint8_t)target;
	unit->st0 = st0;
	unit->seeking = true;
	unit->pending = unit->polled = false;
	timer_arm(
		&chip->seeks[number].timer, clock_now(&chip->machine->clock) + I82077_DELAY_NS +
						    I82077_STEP_NS * (steps < 0 ? -steps : steps));
	end_without_result(chip);
}

/* Without a drive nobody says that the head is at track 0. */
static void recalibrate(struct i82077 *chip)
{
	const struct i82077_unit_state *unit = addressed(chip);
	unsigned number = chip->state.command[1] & FDC_UNIT;
	unsigned target =
		unit->cylinder > RECALIBRATE_STEPS ? unit->cylinder - RECALIBRATE_STEPS : 0;
	uint8_t st0 = (uint8_t)(FDC_ST0_SEEK_END | number);

	if (!i82077_floppy(chip, number) || target > 0)
		st0 |= FDC_ST0_ABNORMAL | FDC_ST0_EQUIPMENT;
	start_seek(chip, target, st0);
}

static void seek(struct i82077 *chip)
{
	const struct i82077_state *state = &chip->state;
	uint8_t select = state->command[1] & (FDC_HEAD | FDC_UNIT);
	unsigned target = state->command[2], from = addressed(chip)->cylinder;

	if (state->command[0] & FDC_RELATIVE) {
		if (state->command[0] & FDC_INWARDS)
			target = from + target > UINT8_MAX ? UINT8_MAX : from + target;
		else
			target = target > from ? 0 : from - target;
	}
	start_seek(chip, target, FDC_ST0_SEEK_END | select);
}

static void sense_interrupt(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	bool more = false;
	unsigned number = 0;

	while (number < I82077_NR_UNITS && !state->units[number].pending)
		number++;
	if (number == I82077_NR_UNITS) {
		invalid(chip);
		return;
	}
	state->units[number].pending = state->units[number].polled = false;
	state->result[0] = state->units[number].st0;
	state->result[1] = state->units[number].cylinder;
	for (unsigned i = 0; i < I82077_NR_UNITS; i++)
		more |= state->units[i].pending && !state->units[i].polled;
	/* Another seek's end is another edge. */
	i82077_set_irq(chip, false);
	i82077_set_irq(chip, more);
	i82077_give_result(chip, 2);
}

static void dump_registers(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;

	for (unsigned i = 0; i < I82077_NR_UNITS; i++)
		state->result[i] = state->units[i].cylinder;
	memcpy(state->result + 4, state->specify, sizeof(state->specify));
	state->result[6] = state->end_of_track;
	state->result[7] = (uint8_t)((state->locked ? FDC_LOCK_SET : 0) | state->perpendicular);
	state->result[8] = state->configuration;
	state->result[9] = state->precompensation;
	i82077_give_result(chip, 10);
}

static void version(struct i82077 *chip)
{
	give_byte(chip, FDC_VERSION_82077);
}

/* Which drives are perpendicular can be changed only with OW. */
static void perpendicular(struct i82077 *chip)
{
	uint8_t value = chip->state.command[1];
	uint8_t writable =
		value & FDC_OVERWRITE ? FDC_PERPENDICULARS | FDC_GAP_WGATE : FDC_GAP_WGATE;

	chip->state.perpendicular =
		(uint8_t)((chip->state.perpendicular & ~writable) | (value & writable));
	end_without_result(chip);
}

static void configure(struct i82077 *chip)
{
	chip->state.configuration = chip->state.command[2] & (uint8_t)~0x80;
	chip->state.precompensation = chip->state.command[3];
	end_without_result(chip);
}

static void lock(struct i82077 *chip)
{
	chip->state.locked = chip->state.command[0] & FDC_LOCK_SET;
	give_byte(chip, chip->state.locked ? FDC_LOCKED : 0);
}

struct command {
	uint8_t code, flags; /* the bits beside the code that may be set */
	uint8_t parameters;
	void (*execute)(struct i82077 *chip);
};

static const struct command commands[] = {
	{ FDC_READ_TRACK, FDC_MFM | FDC_SKIP, 8, i82077_transfer_begin },
	{ FDC_SPECIFY, 0, 2, specify },
	{ FDC_SENSE_DRIVE, 0, 1, sense_drive },
	{ FDC_WRITE, FDC_MULTI_TRACK | FDC_MFM, 8, i82077_transfer_begin },
	{ FDC_READ, FDC_MULTI_TRACK | FDC_MFM | FDC_SKIP, 8, i82077_transfer_begin },
	{ FDC_RECALIBRATE, 0, 1, recalibrate },
	{ FDC_SENSE_INTERRUPT, 0, 0, sense_interrupt },
	{ FDC_WRITE_DELETED, FDC_MULTI_TRACK | FDC_MFM, 8, i82077_transfer_begin },
	{ FDC_READ_ID, FDC_MFM, 1, i82077_transfer_begin },
	{ FDC_READ_DELETED, FDC_MULTI_TRACK | FDC_MFM | FDC_SKIP, 8, i82077_transfer_begin },
	{ FDC_FORMAT, FDC_MFM, 5, i82077_transfer_begin },
	{ FDC_DUMPREG, 0, 0, dump_registers },
	{ FDC_SEEK, FDC_RELATIVE | FDC_INWARDS, 2, seek },
	{ FDC_VERSION, 0, 0, version },
	{ FDC_PERPENDICULAR, 0, 1, perpendicular },
	{ FDC_CONFIGURE, 0, 3, configure },
	{ FDC_LOCK, FDC_LOCK_SET, 0, lock },
	{ FDC_VERIFY, FDC_MULTI_TRACK | FDC_MFM | FDC_SKIP, 8, i82077_transfer_begin },
};

static const struct command *find(uint8_t code)
{
	static const struct command none = { .execute = invalid };

	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *at = &commands[i];

		if (at->code == (code & FDC_COMMAND) && !(code & ~FDC_COMMAND & ~at->flags))
			return at;
	}
	return &none;
}

unsigned i82077_command_size(uint8_t code)
{
	return 1u + find(code)->parameters;
}

void i82077_command_execute(struct i82077 *chip)
{
	find(chip->state.command[0])->execute(chip);
}
