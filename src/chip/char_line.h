/*
 * What is at the other end of a serial chip's cable. Both functions are called under the machine
 * lock and must not block.
 */
#ifndef CHIP_CHAR_LINE_H
#define CHIP_CHAR_LINE_H

#include "base/types.h"

struct char_line {
	/* Takes up to `size` bytes, returns how many. Whoever took fewer tells the chip when it
	 * can take more. NULL: everything is taken and forgotten. */
	size_t (*write)(void *context, const uint8_t *bytes, size_t size);
	/* The chip, which had no room for input, has some again. May be NULL. */
	void (*room)(void *context);
	void *context;
};

#endif
