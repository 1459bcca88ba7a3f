/*
 * Intel 8237A programmable DMA controller: four channels.
 */
#ifndef CHIP_I8237_H
#define CHIP_I8237_H

#include "machine/device.h"

#define I8237_NR_CHANNELS  4
#define I8237_NR_REGISTERS 16

struct i8237_channel_state {
	uint16_t base_address, base_count; /* as written, for autoinitialization */
	uint16_t address, count;
	uint8_t mode; /* the mode register but for the channel's number */
	uint8_t reserved;
};

struct i8237_state {
	struct i8237_channel_state channels[I8237_NR_CHANNELS];
	uint8_t command;
	uint8_t terminal; /* channels that have reached their terminal count, until status is read
			   */
	uint8_t requests; /* of software */
	uint8_t mask;
	bool flip_flop;       /* the next byte of a word is its high one */
	uint8_t mode_counter; /* whose mode is read next */
};

struct i8237 {
	struct i8237_state state;
};

extern const struct device_type i8237_type;

/* What a device does in the cycles that it is granted. */
enum i8237_transfer {
	I8237_VERIFY,       /* nothing is moved */
	I8237_WRITE_MEMORY, /* from the device */
	I8237_READ_MEMORY,  /* to the device */
	I8237_ILLEGAL,
};

struct i8237_run {
	unsigned units; /* bytes, or words on a channel of 16 bits; 0: not now */
	uint16_t address;
	bool decrement; /* each unit's address is one below that of the one before */
	enum i8237_transfer transfer;
	bool terminal; /* TC comes with the last unit */
};

/* Resets the chip. */
void i8237_init(struct i8237 *chip);

uint8_t i8237_read(struct i8237 *chip, unsigned reg);
void i8237_write(struct i8237 *chip, unsigned reg, uint8_t value);

/*
 * The device on `channel` asserts DREQ for up to `units`: what it is granted, whose addresses do
 * not wrap. The channel's address and count have moved on by then. More may be granted after it.
 */
struct i8237_run i8237_request(struct i8237 *chip, unsigned channel, unsigned units);

#endif
