/*
 * Intel 82077AA floppy disk controller (data sheet 290166) in PC/AT mode: registers, resets,
 * interrupts.
 *
 * Not modelled: timing (data moves at the speed of the host, heads step quickly), FM, sectors of
 * other sizes than 512, marks of deleted data, write precompensation, tape drives, power down, the
 * PS/2 modes. A drive that has no disk, or whose motor is off, gives no index pulses, and the chip
 * would wait for them until it is reset: here the command ends as on a disk without address marks.
 */
#include "storage/i82077_internal.h"

#include "base/bits.h"

#include <assert.h>
#include <string.h>

#define FLOATING 0xff

static void update_line(struct i82077 *chip)
{
	irq_line_set(&chip->wiring.irq, chip->state.irq && (chip->state.dor & FDC_DOR_DMA_GATE));
}

void i82077_set_irq(struct i82077 *chip, bool level)
{
	chip->state.irq = level;
	update_line(chip);
}

struct floppy *i82077_floppy(struct i82077 *chip, unsigned unit)
{
	return unit < I82077_NR_DRIVES && chip->floppies[unit].present ? &chip->floppies[unit]
								       : NULL;
}

void i82077_give_result(struct i82077 *chip, unsigned nr_result)
{
	chip->state.phase = I82077_RESULT;
	chip->state.step = I82077_IDLE;
	chip->state.nr_result = (uint8_t)nr_result;
	chip->state.result_at = 0;
}

/* A step with a disk in the drive resets its disk change line. */
void i82077_move_head(struct i82077 *chip, unsigned unit, uint8_t cylinder)
{
	struct i82077_unit_state *at = &chip->state.units[unit];
	const struct floppy *floppy = i82077_floppy(chip, unit);

	if (cylinder != at->cylinder && floppy && floppy->format)
		at->changed = false;
	at->cylinder = cylinder;
}

/* What goes on ends without a result. */
static void abandon(struct i82077 *chip)
{
	chip->abandoned = true;
	for (unsigned i = 0; i < I82077_NR_DRIVES; i++)
		drive_drain(&chip->floppies[i].drive, true);
	chip->abandoned = false;
	timer_cancel(&chip->timer);
	for (unsigned i = 0; i < I82077_NR_UNITS; i++)
		timer_cancel(&chip->seeks[i].timer);
}

static void enter_reset(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;

	abandon(chip);
	state->phase = I82077_COMMAND;
	state->step = I82077_IDLE;
	state->nr_command = state->nr_result = state->result_at = 0;
	state->at = state->end = 0;
	state->resetting = false;
	for (unsigned i = 0; i < I82077_NR_UNITS; i++) {
		state->units[i].seeking = state->units[i].pending = state->units[i].polled = false;
		state->units[i].st0 = state->units[i].target = 0;
	}
	state->perpendicular &= (uint8_t)~FDC_GAP_WGATE;
	/* Seeks are explicit and drives are polled after any reset; LOCK keeps the others. */
	state->configuration &= FDC_NO_FIFO | FDC_THRESHOLD;
	if (!state->locked) {
		state->configuration = FDC_NO_FIFO;
		state->precompensation = 0;
	}
	i82077_set_irq(chip, false);
}

static void leave_reset(struct i82077 *chip)
{
	chip->state.resetting = true;
	timer_arm(&chip->timer, clock_now(&chip->machine->clock) + I82077_DELAY_NS);
}

/* The chip polls its drives, and finds that all have changed to ready. */
static void poll_drives(struct i82077 *chip)
{
	for (unsigned i = 0; i < I82077_NR_UNITS; i++) {
		struct i82077_unit_state *unit = &chip->state.units[i];

		unit->pending = unit->polled = true;
		unit->st0 = (uint8_t)(FDC_ST0_POLLED | i);
	}
	i82077_set_irq(chip, true);
}

static void timer_fires(void *context)
{
	struct i82077 *chip = context;

	if (chip->state.resetting) {
		chip->state.resetting = false;
		poll_drives(chip);
	}
	if (chip->state.phase == I82077_EXECUTION)
		i82077_transfer_continue(chip);
}

static void seek_fires(void *context)
{
	struct i82077_seek *seek = context;
	struct i82077 *chip = seek->chip;
	unsigned number = (unsigned)(seek - chip->seeks);
	struct i82077_unit_state *unit = &chip->state.units[number];

	if (!unit->seeking)
		return;
	/* Nobody asks any more what a reset left. */
	for (unsigned i = 0; i < I82077_NR_UNITS; i++) {
		if (chip->state.units[i].polled)
			chip->state.units[i].pending = chip->state.units[i].polled = false;
	}
	i82077_move_head(chip, number, unit->target);
	unit->seeking = false;
	unit->pending = true;
	i82077_set_irq(chip, true);
}

static bool is_in_reset(const struct i82077 *chip)
{
	return !(chip->state.dor & FDC_DOR_NOT_RESET);
}

static bool moves_by_port(const struct i82077_state *state)
{
	return state->phase == I82077_EXECUTION && state->step == I82077_HOST &&
	       (state->specify[1] & FDC_NON_DMA);
}

static uint8_t main_status(const struct i82077 *chip)
{
	const struct i82077_state *state = &chip->state;
	uint8_t status = 0;

	if (is_in_reset(chip))
		return 0;
	for (unsigned i = 0; i < I82077_NR_UNITS; i++)
		status |= (uint8_t)(state->units[i].seeking << i);
	if (state->phase == I82077_RESULT)
		return status | FDC_MSR_RQM | FDC_MSR_DIO | FDC_MSR_BUSY;
	if (state->phase == I82077_COMMAND)
		return status | FDC_MSR_RQM | (state->nr_command ? FDC_MSR_BUSY : 0);
	status |= FDC_MSR_BUSY;
	if (moves_by_port(state))
		status |= FDC_MSR_NON_DMA | FDC_MSR_RQM |
			  (i82077_transfer_to_host(chip) ? FDC_MSR_DIO : 0);
	return status;
}

static uint8_t read_result(struct i82077 *chip)
{
	struct i82077_state *state = &chip->state;
	uint8_t value = state->result[state->result_at % I82077_MAX_RESULT];

	/* An interrupt of a seek stays until SENSE INTERRUPT STATUS. */
	if (state->result_at == 0 && state->nr_result == I82077_TRANSFER_RESULT)
		i82077_set_irq(chip, false);
	if (++state->result_at >= state->nr_result) {
		state->phase = I82077_COMMAND;
		state->nr_command = 0;
	}
	return value;
}

static uint8_t read_fifo(struct i82077 *chip)
{
	if (is_in_reset(chip))
		return 0;
	if (chip->state.phase == I82077_RESULT)
		return read_result(chip);
	if (moves_by_port(&chip->state) && i82077_transfer_to_host(chip))
		return i82077_transfer_read(chip);
	return 0;
}

static void write_fifo(struct i82077 *chip, uint8_t value)
{
	struct i82077_state *state = &chip->state;

	if (is_in_reset(chip))
		return;
	if (moves_by_port(state) && !i82077_transfer_to_host(chip)) {
		i82077_transfer_write(chip, value);
		return;
	}
	if (state->phase != I82077_COMMAND || state->nr_command >= I82077_MAX_COMMAND)
		return;
	state->command[state->nr_command++] = value;
	if (state->nr_command == i82077_command_size(state->command[0]))
		i82077_command_execute(chip);
}

/* The disk change line of the drive that is selected and turns; others do not drive it. */
static uint8_t digital_input(struct i82077 *chip)
{
	unsigned unit = chip->state.dor & FDC_DOR_DRIVE;

	if (!i82077_floppy(chip, unit) || !(chip->state.dor & FDC_DOR_MOTOR << unit))
		return 0;
	return chip->state.units[unit].changed ? FDC_DIR_CHANGED : 0;
}

uint8_t i82077_read(struct i82077 *chip, unsigned reg)
{
	switch (reg) {
	case FDC_DOR: return chip->state.dor;
	case FDC_TDR: return chip->state.tdr;
	case FDC_MSR: return main_status(chip);
	case FDC_FIFO: return read_fifo(chip);
	case FDC_DIR: return digital_input(chip);
	default: return FLOATING;
	}
}

static void write_dor(struct i82077 *chip, uint8_t value)
{
	bool was_in_reset = is_in_reset(chip);

	chip->state.dor = value;
	if (is_in_reset(chip) && !was_in_reset)
		enter_reset(chip);
	else if (!is_in_reset(chip) && was_in_reset)
		leave_reset(chip);
	update_line(chip);
}

void i82077_write(struct i82077 *chip, unsigned reg, uint8_t value)
{
	switch (reg) {
	case FDC_DOR: write_dor(chip, value); break;
	case FDC_TDR: chip->state.tdr = value & FDC_TDR_TAPE; break;
	case FDC_DSR:
		chip->state.rate = value & FDC_DSR_RATE;
		if ((value & FDC_DSR_RESET) && !is_in_reset(chip)) {
			enter_reset(chip);
			leave_reset(chip);
		}
		break;
	case FDC_FIFO: write_fifo(chip, value); break;
	case FDC_CCR: chip->state.rate = value & FDC_DSR_RATE; break;
	}
}

/* The chip's pin. What the drives know, they keep. */
static void i82077_reset(void *device)
{
	struct i82077 *chip = device;
	struct i82077_state *state = &chip->state, before = *state;

	abandon(chip);
	memset(state, 0, sizeof(*state));
	for (unsigned i = 0; i < I82077_NR_UNITS; i++) {
		state->units[i].cylinder = before.units[i].cylinder;
		state->units[i].changed = before.units[i].changed;
	}
	state->rate = FLOPPY_RATE_250K;
	state->configuration = FDC_NO_FIFO;
	update_line(chip);
}

/* Commands go on from the sector that they were at. */
static void i82077_restored(void *device)
{
	struct i82077 *chip = device;
	ns_t soon_ns = clock_now(&chip->machine->clock) + I82077_DELAY_NS;

	abandon(chip);
	update_line(chip);
	if (chip->state.resetting || chip->state.phase == I82077_EXECUTION)
		timer_arm(&chip->timer, soon_ns);
	for (unsigned i = 0; i < I82077_NR_UNITS; i++) {
		if (chip->state.units[i].seeking)
			timer_arm(&chip->seeks[i].timer, soon_ns);
	}
}

void i82077_init(struct i82077 *chip, struct machine *machine, const struct i82077_wiring *wiring)
{
	memset(chip, 0, sizeof(*chip));
	chip->machine = machine;
	chip->wiring = *wiring;
	timer_init(&chip->timer, &machine->clock, timer_fires, chip);
	for (unsigned i = 0; i < I82077_NR_UNITS; i++) {
		chip->seeks[i].chip = chip;
		timer_init(&chip->seeks[i].timer, &machine->clock, seek_fires, &chip->seeks[i]);
		/* As drives say that have just been switched on. */
		chip->state.units[i].changed = true;
	}
	i82077_reset(chip);
}

void i82077_finish(struct i82077 *chip)
{
	if (!chip->machine)
		return;
	machine_lock(chip->machine);
	abandon(chip);
	machine_unlock(chip->machine);
	for (unsigned i = 0; i < I82077_NR_DRIVES; i++)
		drive_finish(&chip->floppies[i].drive);
	scatter_finish(&chip->scatter);
	chip->machine = NULL;
}

int i82077_plug(struct i82077 *chip, unsigned drive, const char *name, bool extra_density,
	struct error *err)
{
	struct floppy *floppy = &chip->floppies[drive];
	struct drive_lock lock = drive_machine_lock(chip->machine);
	int rc;

	assert(drive < I82077_NR_DRIVES && !floppy->present);
	rc = drive_init(&floppy->drive, name, &lock, err);
	if (rc < 0)
		return rc;
	floppy->extra_density = extra_density;
	floppy->present = true;
	return 0;
}

int i82077_insert(
	struct i82077 *chip, unsigned drive, struct block_device *image, struct error *err)
{
	chip->state.units[drive].changed = true;
	return floppy_insert(&chip->floppies[drive], image, err);
}

struct block_device *i82077_remove(struct i82077 *chip, unsigned drive)
{
	chip->state.units[drive].changed = true;
	return floppy_remove(&chip->floppies[drive]);
}

static const struct state_field unit_fields[] = {
	STATE(struct i82077_unit_state, cylinder),
	STATE(struct i82077_unit_state, target),
	STATE(struct i82077_unit_state, st0),
	STATE(struct i82077_unit_state, seeking),
	STATE(struct i82077_unit_state, pending),
	STATE(struct i82077_unit_state, polled),
	STATE(struct i82077_unit_state, changed),
	STATE_PAD(struct i82077_unit_state, reserved),
};
static const struct state_table unit_table =
	STATE_TABLE_OF(struct i82077_unit_state, "i82077_unit", unit_fields, NULL);

static const struct state_field i82077_fields[] = {
	STATE_STRUCTS(struct i82077_state, units, &unit_table),
	STATE_ARRAY(struct i82077_state, buffer),
	STATE_MAX(struct i82077_state, at, FLOPPY_SECTOR),
	STATE_MAX(struct i82077_state, end, FLOPPY_SECTOR),
	STATE(struct i82077_state, waits),
	STATE_ARRAY(struct i82077_state, command),
	STATE_MAX(struct i82077_state, nr_command, I82077_MAX_COMMAND),
	STATE_ARRAY(struct i82077_state, result),
	STATE_MAX(struct i82077_state, nr_result, I82077_MAX_RESULT),
	STATE_MAX(struct i82077_state, result_at, I82077_MAX_RESULT),
	STATE_MAX(struct i82077_state, phase, I82077_RESULT),
	STATE_MAX(struct i82077_state, step, I82077_HOST),
	STATE_ARRAY(struct i82077_state, id),
	STATE_MAX(struct i82077_state, unit, I82077_NR_UNITS - 1),
	STATE_MAX(struct i82077_state, head, 1),
	STATE(struct i82077_state, track_sector),
	STATE(struct i82077_state, sectors_left),
	STATE(struct i82077_state, st1),
	STATE(struct i82077_state, st2),
	STATE(struct i82077_state, dor),
	STATE_MAX(struct i82077_state, tdr, FDC_TDR_TAPE),
	STATE_MAX(struct i82077_state, rate, FDC_DSR_RATE),
	STATE_ARRAY(struct i82077_state, specify),
	STATE(struct i82077_state, configuration),
	STATE(struct i82077_state, precompensation),
	STATE(struct i82077_state, perpendicular),
	STATE(struct i82077_state, end_of_track),
	STATE(struct i82077_state, terminal),
	STATE(struct i82077_state, locked),
	STATE(struct i82077_state, irq),
	STATE(struct i82077_state, resetting),
	STATE_PAD(struct i82077_state, reserved),
};

static bool check_i82077(const void *checked, struct error *err)
{
	const struct i82077_state *state = checked;

	if (state->at > state->end ||
		(state->phase == I82077_EXECUTION && state->step == I82077_IDLE) ||
		(state->phase == I82077_EXECUTION && state->step == I82077_HOST &&
			state->at == state->end)) {
		error_set(err, EXIT_CODE_CONFIG, "a floppy controller is in an impossible state");
		return false;
	}
	return true;
}

static const struct state_table i82077_table =
	STATE_TABLE_OF(struct i82077_state, "i82077", i82077_fields, check_i82077);

const struct device_type i82077_type = {
	.name = "i82077",
	.state = &i82077_table,
	.state_offset = offsetof(struct i82077, state),
	.reset = i82077_reset,
	.restored = i82077_restored,
};
