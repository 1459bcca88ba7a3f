/*
 * A codec: an audio function group with a converter and a line out (HD Audio 1.0a, chapter 7).
 */
#ifndef SOUND_HDA_CODEC_H
#define SOUND_HDA_CODEC_H

#include "state/state.h"

struct hda_codec_state {
	uint16_t format; /* of the converter */
	uint8_t stream;  /* and channel */
	uint8_t pin;     /* its control */
	uint8_t gain[2]; /* left, right; bit 7 mutes */
	uint8_t power;   /* of the group */
	uint8_t reserved;
};

extern const struct state_table hda_codec_table;

void hda_codec_reset(struct hda_codec_state *codec);
/* What it answers to a verb: 8 bits of node, 20 of verb. */
uint32_t hda_codec_run(struct hda_codec_state *codec, uint32_t verb);

#endif
