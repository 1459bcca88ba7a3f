/*
 * An Intel HD Audio controller with one output stream and a codec with a line out, as a PCI
 * function.
 */
#ifndef SOUND_HDA_H
#define SOUND_HDA_H

#include "base/error.h"
#include "machine/machine.h"
#include "pci/pci.h"
#include "sound/hda_codec.h"

#define HDA_NR_WORDS 0x28 /* doublewords of registers, up to the stream's end */

struct hda_state {
	uint32_t registers[HDA_NR_WORDS];
	uint64_t played_ns; /* until when the stream's samples were taken */
	uint64_t remainder; /* of a sample's time, in samples / 10^9 */
	uint32_t at;        /* byte of the stream's current piece */
	uint16_t piece;     /* which that is */
	uint16_t responses; /* since the last interrupt for them */
	struct hda_codec_state codec;
};

/* Where samples go: 16 bits, two channels, little endian, 48 kHz. Under the machine lock; must not
 * block. */
struct hda_sink {
	void (*play)(void *context, const uint8_t *bytes, size_t size);
	void *context;
};

struct hda {
	struct pci_function function;
	struct hda_state state;
	struct machine *machine;
	struct timer timer;
	struct hda_sink sink; /* `play` NULL: nobody listens */
};

extern const struct device_type hda_type;

/* `name` outlives it. Plug `function`. Returns 0, or fills `err`. */
int hda_create(struct hda **hda, const char *name, struct machine *machine,
	const struct hda_sink *sink, struct error *err);
/* Unplugged already; takes NULL. */
void hda_destroy(struct hda *hda);

/* For the files of the controller. */

/* hda_stream.c: after its control register changed, and when its timer fires. */
void hda_stream_update(struct hda *hda, uint32_t before);
void hda_stream_advance(struct hda *hda);
/* hda.c */
void hda_update_interrupt(struct hda *hda);

#endif
