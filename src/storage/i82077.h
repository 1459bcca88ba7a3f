/*
 * Intel 82077AA floppy disk controller with up to two drives. Under the machine lock.
 */
#ifndef STORAGE_I82077_H
#define STORAGE_I82077_H

#include "storage/floppy.h"

#define I82077_NR_UNITS     4 /* that can be selected */
#define I82077_NR_DRIVES    2 /* that can be plugged */
#define I82077_MAX_COMMAND  9
#define I82077_MAX_RESULT   10
#define I82077_NR_REGISTERS 8

enum i82077_phase { I82077_COMMAND, I82077_EXECUTION, I82077_RESULT };

/* What goes on in the execution phase. */
enum i82077_step {
	I82077_IDLE,
	I82077_FINDING, /* the sector turns to the head */
	I82077_MEDIUM,  /* between buffer and medium */
	I82077_HOST,    /* between buffer and host */
};

struct i82077_unit_state {
	uint8_t cylinder; /* where the head is; the medium may end before */
	uint8_t target;   /* of a seek */
	uint8_t st0;      /* what SENSE INTERRUPT STATUS will say, if `pending` */
	bool seeking, pending;
	bool polled;  /* `pending` comes of a reset */
	bool changed; /* the drive's disk change line */
	uint8_t reserved;
};

struct i82077_state {
	struct i82077_unit_state units[I82077_NR_UNITS];
	uint8_t buffer[FLOPPY_SECTOR];
	uint16_t at, end; /* what of the buffer the host has moved, and what it is to move */
	uint16_t waits;   /* for DMA, in a row */
	uint8_t command[I82077_MAX_COMMAND];
	uint8_t nr_command;
	uint8_t result[I82077_MAX_RESULT];
	uint8_t nr_result, result_at;
	uint8_t phase, step;
	uint8_t id[4]; /* cylinder, head, sector, size: where a command is */
	uint8_t unit, head;
	uint8_t track_sector; /* READ TRACK's; the last one that READ ID saw */
	uint8_t sectors_left; /* of FORMAT TRACK, and of VERIFY with a count */
	uint8_t st1, st2;
	uint8_t dor, tdr, rate;
	uint8_t specify[2], configuration, precompensation, perpendicular;
	uint8_t end_of_track; /* of the last command that had one */
	bool terminal;        /* TC has come */
	bool locked, irq;
	bool resetting; /* the interrupt that follows a reset has not come yet */
	uint8_t reserved;
};

struct i82077_wiring {
	struct irq_line irq;
	/* Asserts DREQ: moves up to `size` bytes, and says whether TC came. See at_dma_move. */
	unsigned (*dma)(
		void *context, uint8_t *bytes, unsigned size, bool to_memory, bool *terminal);
	void *context;
};

struct i82077;

struct i82077_seek {
	struct i82077 *chip;
	struct timer timer;
};

struct i82077 {
	struct i82077_state state;
	struct machine *machine;
	struct i82077_wiring wiring;
	struct floppy floppies[I82077_NR_DRIVES];
	struct timer timer; /* of the execution phase, and of the interrupt after a reset */
	struct i82077_seek seeks[I82077_NR_UNITS];
	struct drive_transfer transfer;
	struct scatter scatter; /* the buffer */
	bool abandoned;         /* `transfer` ends, and nobody waits for it */
};

extern const struct device_type i82077_type;

/* A controller without drives. */
void i82077_init(struct i82077 *chip, struct machine *machine, const struct i82077_wiring *wiring);
/* Not under the machine lock. The caller closes the images. A zeroed chip is fine. */
void i82077_finish(struct i82077 *chip);

/* Plugs a drive in, before the guest runs; not under the machine lock. `name` outlives it. Returns
 * 0, or fills `err`. */
int i82077_plug(struct i82077 *chip, unsigned drive, const char *name, bool extra_density,
	struct error *err);
/* Under the machine lock, once the drive is plugged; as floppy_insert and floppy_remove. */
int i82077_insert(
	struct i82077 *chip, unsigned drive, struct block_device *image, struct error *err);
struct block_device *i82077_remove(struct i82077 *chip, unsigned drive);

uint8_t i82077_read(struct i82077 *chip, unsigned reg);
void i82077_write(struct i82077 *chip, unsigned reg, uint8_t value);

#endif
