/*
 * The output stream (HD Audio 1.0a, 3.3.35 to 3.3.43, 3.6.3): a cyclic buffer of pieces in the
 * guest's memory, whose samples are taken as guest time goes by. A turn takes what its time holds,
 * and not more than MAX_BYTES: after a pause the rest is skipped.
 */
#include "sound/hda.h"

#include "sound/hda_regs.h"

#include <string.h>

#define PERIOD_NS (5 * NS_PER_MS)
#define MAX_BYTES 16384
#define HZ        48000
#define FORMAT    0x0011 /* 48 kHz, 16 bits, two channels */

struct piece {
	uint64_t address;
	uint32_t length, flags;
};

static uint32_t reg(const struct hda *hda, enum hda_register offset)
{
	return hda->state.registers[offset / 4];
}

/* Bytes a second of the format, by its rate, bits and channels (3.7.1). */
static uint32_t byte_rate(uint32_t format)
{
	static const uint8_t bytes[] = { 1, 2, 4, 4, 4, 4, 4, 4 };
	uint32_t base = format & BIT(14) ? 44100 : HZ;

	return base * ((format >> 11 & 7) + 1) / ((format >> 8 & 7) + 1) * bytes[format >> 4 & 7] *
	       ((format & 0xf) + 1);
}

static void tell_position(struct hda *hda)
{
	uint64_t base = reg(hda, HDA_POSITION_BASE) |
			(uint64_t)reg(hda, (enum hda_register)(HDA_POSITION_BASE + 4)) << 32;
	uint32_t position = reg(hda, HDA_STREAM_POSITION);

	if (base & 1)
		guest_memory_write(
			&hda->machine->memory, base & ~UINT64_C(0x7f), &position, sizeof(position));
}

/* The piece is at its end. */
static void next_piece(struct hda *hda, const struct piece *piece)
{
	struct hda_state *state = &hda->state;

	state->at = 0;
	if (state->piece++ >= (reg(hda, HDA_STREAM_LAST) & 0xff)) {
		state->piece = 0;
		state->registers[HDA_STREAM_POSITION / 4] = 0;
	}
	if (piece->flags & HDA_LIST_INTERRUPT) {
		state->registers[HDA_STREAM / 4] |= (uint32_t)HDA_STREAM_DONE;
		hda_update_interrupt(hda);
	}
}

static bool load_piece(struct hda *hda, struct piece *piece)
{
	uint64_t list = reg(hda, HDA_STREAM_LIST) |
			(uint64_t)reg(hda, (enum hda_register)(HDA_STREAM_LIST + 4)) << 32;

	return guest_memory_read(&hda->machine->memory,
		       (list & ~UINT64_C(0x7f)) + hda->state.piece * sizeof(*piece), piece,
		       sizeof(*piece)) == 0 &&
	       piece->length > 0;
}

/* Up to `bytes` of the current piece; returns how many there were, 0: the list leads nowhere. */
static uint32_t take(struct hda *hda, uint32_t bytes)
{
	struct hda_state *state = &hda->state;
	uint8_t samples[2048];
	struct piece piece;

	if (!load_piece(hda, &piece))
		return 0;
	if (state->at >= piece.length) {
		next_piece(hda, &piece);
		return 0;
	}
	if (bytes > piece.length - state->at)
		bytes = piece.length - state->at;
	if (bytes > sizeof(samples))
		bytes = sizeof(samples);
	/* What is no RAM is silence. */
	if (guest_memory_read(&hda->machine->memory, piece.address + state->at, samples, bytes) < 0)
		memset(samples, 0, bytes);
	if (hda->sink.play && reg(hda, HDA_STREAM_FORMAT) >> 16 == FORMAT)
		hda->sink.play(hda->sink.context, samples, bytes);
	state->at += bytes;
	state->registers[HDA_STREAM_POSITION / 4] += bytes;
	if (state->at == piece.length)
		next_piece(hda, &piece);
	return bytes;
}

void hda_stream_advance(struct hda *hda)
{
	struct hda_state *state = &hda->state;
	uint64_t now_ns = (uint64_t)clock_now(&hda->machine->clock), bytes, whole;
	uint64_t elapsed = now_ns - state->played_ns;

	if (!(reg(hda, HDA_STREAM) & HDA_STREAM_RUN) || !pci_is_bus_master(&hda->function))
		return;
	if (elapsed > NS_PER_S)
		elapsed = NS_PER_S;
	whole = elapsed * byte_rate(reg(hda, HDA_STREAM_FORMAT) >> 16) + state->remainder;
	bytes = whole / NS_PER_S & ~UINT64_C(3);
	state->remainder = whole - bytes * NS_PER_S;
	state->played_ns = now_ns;
	if (bytes > MAX_BYTES)
		bytes = MAX_BYTES;
	while (bytes > 0) {
		uint32_t done = take(hda, (uint32_t)bytes);

		if (done == 0)
			break;
		bytes -= done;
	}
	tell_position(hda);
	timer_arm(&hda->timer, (ns_t)now_ns + PERIOD_NS);
}

void hda_stream_update(struct hda *hda, uint32_t before)
{
	struct hda_state *state = &hda->state;
	uint32_t now = reg(hda, HDA_STREAM);

	if (now & HDA_STREAM_RESET) {
		state->at = state->piece = 0;
		state->remainder = 0;
		state->registers[HDA_STREAM / 4] = (uint32_t)HDA_STREAM_RESET;
		for (unsigned i = HDA_STREAM / 4 + 1; i < HDA_NR_WORDS; i++)
			state->registers[i] = 0;
		timer_cancel(&hda->timer);
		return;
	}
	if ((now & ~before) & HDA_STREAM_RUN) {
		state->played_ns = (uint64_t)clock_now(&hda->machine->clock);
		state->registers[HDA_STREAM / 4] |= (uint32_t)HDA_STREAM_READY;
		timer_arm(&hda->timer, (ns_t)state->played_ns + PERIOD_NS);
	} else if ((before & ~now) & HDA_STREAM_RUN) {
		hda_stream_advance(hda);
		timer_cancel(&hda->timer);
	}
}
