/*
 * What the guest plays, in a WAV file or thrown away: `--sound discard`, `--sound file:PATH`. The
 * card's samples come under the machine lock and wait in a ring; the event loop writes them.
 */
#ifndef VMM_SOUND_H
#define VMM_SOUND_H

#include "base/loop.h"
#include "sound/hda.h"

#define SOUND_RING_SIZE (1u << 18) /* more than a second */

struct sound {
	struct loop *loop;
	struct machine *machine;
	int fd; /* -1: it is thrown away */
	bool failed;
	uint32_t bytes; /* written, of sound */

	/* Machine lock. */
	uint8_t ring[SOUND_RING_SIZE];
	size_t head, tail; /* written up to head, taken up to tail; free-running */

	/* Any thread. */
	_Atomic bool waits; /* sound_service has something to do */
};

/* Reads what --sound has: `*path` is NULL for discard. Returns 0, or fills `err`. */
int sound_parse(const char *text, const char **path, struct error *err);

/* Returns 0, or fills `err`. `sound` stays where it is. */
int sound_open(struct sound *sound, const char *text, struct loop *loop, struct machine *machine,
	struct error *err);
/* Where a card's samples go. */
struct hda_sink sound_sink(struct sound *sound);
void sound_service(struct sound *sound);
/* Writes what is left, and the file's head. Takes a zeroed one. */
void sound_close(struct sound *sound);

#endif
