/*
 * The PC/AT's two DMA controllers and its page registers: channels 0 to 3 move bytes, 5 to 7
 * words, within 16 MiB. Under the machine lock.
 */
#ifndef BOARD_AT_DMA_H
#define BOARD_AT_DMA_H

#include "chip/i8237.h"
#include "machine/machine.h"

#define AT_DMA_NR_PAGES 16

struct at_dma_state {
	uint8_t pages[AT_DMA_NR_PAGES]; /* ports 0x80 to 0x8f; what no channel has is only kept */
};

struct at_dma {
	struct at_dma_state state;
	struct machine *machine;
	struct i8237 bytes, words; /* channels 0 to 3, and 4 to 7 */
};

/* Adds the chips to the machine and maps their ports. */
void at_dma_init(struct at_dma *dma, struct machine *machine);

/*
 * A device on one of channels 0 to 3 asserts DREQ, to move up to `size` bytes to memory or from
 * it. Returns how many were moved; 0: the channel is masked. `*terminal`: TC came with the last.
 * Only RAM is reached; from elsewhere ones are read.
 */
unsigned at_dma_move(struct at_dma *dma, unsigned channel, uint8_t *bytes, unsigned size,
	bool to_memory, bool *terminal);

#endif
