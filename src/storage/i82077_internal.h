/*
 * What the files of the 82077AA share. Under the machine lock.
 */
#ifndef STORAGE_I82077_INTERNAL_H
#define STORAGE_I82077_INTERNAL_H

#include "storage/i82077.h"
#include "storage/i82077_regs.h"

/* Bytes of the answer to a command that moves data. */
#define I82077_TRANSFER_RESULT 7

/* Long enough that a driver that waits for an interrupt has begun to wait. */
#define I82077_DELAY_NS (100 * NS_PER_US)
#define I82077_STEP_NS  (10 * NS_PER_US)

/* i82077.c */
void i82077_set_irq(struct i82077 *chip, bool level);
/* The drive, or NULL if there is none. */
struct floppy *i82077_floppy(struct i82077 *chip, unsigned unit);
/* `nr_result` bytes of the answer are there. */
void i82077_give_result(struct i82077 *chip, unsigned nr_result);
/* The head moves, with a disk under it or not. */
void i82077_move_head(struct i82077 *chip, unsigned unit, uint8_t cylinder);

/* i82077_command.c: the command and its parameters are there, `nr_command` bytes. */
unsigned i82077_command_size(uint8_t code);
void i82077_command_execute(struct i82077 *chip);

/* i82077_transfer.c: commands that move data. */
void i82077_transfer_begin(struct i82077 *chip);
void i82077_transfer_continue(struct i82077 *chip); /* when the timer fires */
bool i82077_transfer_to_host(const struct i82077 *chip);
/* A byte by the data port in I82077_HOST. */
uint8_t i82077_transfer_read(struct i82077 *chip);
void i82077_transfer_write(struct i82077 *chip, uint8_t value);

#endif
