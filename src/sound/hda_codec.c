/*
 * See hda_codec.h. 48 kHz, 16 bits, two channels. Gain is kept, and not applied: what the guest
 * plays is taken as it is. Not modelled: unsolicited responses, jacks that come and go, input.
 */
#include "sound/hda_codec.h"

#include "base/bits.h"

#include <string.h>

enum node { ROOT, GROUP, CONVERTER, PIN };

enum verb {
	SET_FORMAT = 0x2, /* those with 16 bits of payload */
	SET_GAIN = 0x3,
	GET_FORMAT = 0xa,
	GET_GAIN = 0xb,
	SET_POWER = 0x705,
	SET_STREAM = 0x706,
	SET_PIN = 0x707,
	RESET = 0x7ff,
	GET_PARAMETER = 0xf00,
	GET_SELECTION = 0xf01,
	GET_CONNECTIONS = 0xf02,
	GET_POWER = 0xf05,
	GET_STREAM = 0xf06,
	GET_PIN = 0xf07,
	GET_SENSE = 0xf09,
	GET_CONFIGURATION = 0xf1c,
	GET_SUBSYSTEM = 0xf20,
};

#define FORMATS        0x00020040 /* 16 bits at 48 kHz */
#define GAIN_STEPS     0x4a
#define LINE_OUT       0x01014010 /* a green jack at the back, association 1 */
#define PRESENT        BIT(31)
#define SUBSYSTEM      0x1af41100
#define SET_GAIN_OUT   BIT(15)
#define SET_GAIN_LEFT  BIT(13)
#define SET_GAIN_RIGHT BIT(12)

struct parameter {
	uint8_t node, number;
	uint32_t value;
};

static const struct parameter parameters[] = {
	{ ROOT, 0x00, 0x1af40022 },                   /* vendor and device */
	{ ROOT, 0x02, 0x00100101 },                   /* revision */
	{ ROOT, 0x04, 1 << 16 | 1 },                  /* nodes: from 1 on, one */
	{ GROUP, 0x04, 2 << 16 | 2 },                 /* from 2 on, two */
	{ GROUP, 0x05, 1 },                           /* an audio function group */
	{ GROUP, 0x0a, FORMATS }, { GROUP, 0x0b, 1 }, /* PCM */
	{ GROUP, 0x0f, 0x9 },                         /* D0, D3 */
	{ CONVERTER, 0x09,
		0x0000001d }, /* an output: stereo, with formats and an amplifier of its own */
	{ CONVERTER, 0x0a, FORMATS }, { CONVERTER, 0x0b, 1 },
	{ CONVERTER, 0x12, UINT32_C(1) << 31 | 3 << 16 | GAIN_STEPS << 8 | GAIN_STEPS },
	{ PIN, 0x09, 0x00400101 }, /* a pin: stereo, with a list of connections */
	{ PIN, 0x0c, 0x00000010 }, /* it can put out */
	{ PIN, 0x0e, 1 },          /* one connection */
};

static uint32_t parameter(unsigned node, unsigned number)
{
	for (unsigned i = 0; i < ARRAY_SIZE(parameters); i++) {
		if (parameters[i].node == node && parameters[i].number == number)
			return parameters[i].value;
	}
	return 0;
}

static void set_gain(struct hda_codec_state *codec, uint32_t value)
{
	if (!(value & SET_GAIN_OUT))
		return;
	if (value & SET_GAIN_LEFT)
		codec->gain[0] = (uint8_t)value;
	if (value & SET_GAIN_RIGHT)
		codec->gain[1] = (uint8_t)value;
}

static uint32_t run_long(
	struct hda_codec_state *codec, unsigned node, unsigned verb, uint32_t value)
{
	if (node != CONVERTER)
		return 0;
	switch (verb) {
	case SET_FORMAT: codec->format = (uint16_t)value; break;
	case SET_GAIN: set_gain(codec, value); break;
	case GET_FORMAT: return codec->format;
	case GET_GAIN: return codec->gain[value & SET_GAIN_LEFT ? 0 : 1];
	}
	return 0;
}

static uint32_t run_pin(struct hda_codec_state *codec, unsigned verb, uint8_t value)
{
	switch (verb) {
	case SET_PIN: codec->pin = value; break;
	case GET_PIN: return codec->pin;
	case GET_CONNECTIONS: return value == 0 ? CONVERTER : 0;
	case GET_SENSE: return PRESENT;
	case GET_CONFIGURATION: return LINE_OUT;
	}
	return 0;
}

static uint32_t run_short(
	struct hda_codec_state *codec, unsigned node, unsigned verb, uint8_t value)
{
	switch (verb) {
	case GET_PARAMETER: return parameter(node, value);
	case SET_POWER: codec->power = value & 0xf; return 0;
	case GET_POWER: return (uint32_t)codec->power << 4 | codec->power;
	}
	if (node == PIN)
		return run_pin(codec, verb, value);
	if (node == GROUP && verb == RESET)
		hda_codec_reset(codec);
	if (node == GROUP && verb == GET_SUBSYSTEM)
		return SUBSYSTEM;
	if (node == CONVERTER && verb == SET_STREAM)
		codec->stream = value;
	if (node == CONVERTER && verb == GET_STREAM)
		return codec->stream;
	return 0;
}

uint32_t hda_codec_run(struct hda_codec_state *codec, uint32_t verb)
{
	unsigned node = verb >> 20 & 0x7f, number = verb >> 8 & 0xfff;

	if ((number & 0x700) == 0x700)
		return run_short(codec, node, number, (uint8_t)verb);
	return run_long(codec, node, verb >> 16 & 0xf, verb & 0xffff);
}

void hda_codec_reset(struct hda_codec_state *codec)
{
	memset(codec, 0, sizeof(*codec));
	codec->format = 0x11;
	codec->gain[0] = codec->gain[1] = GAIN_STEPS;
}

static const struct state_field fields[] = {
	STATE(struct hda_codec_state, format),
	STATE(struct hda_codec_state, stream),
	STATE(struct hda_codec_state, pin),
	STATE_ARRAY(struct hda_codec_state, gain),
	STATE_MAX(struct hda_codec_state, power, 0xf),
	STATE_PAD(struct hda_codec_state, reserved),
};
const struct state_table hda_codec_table =
	STATE_TABLE_OF(struct hda_codec_state, "hda_codec", fields, NULL);
