#include "vmm/sound.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define HZ          48000
#define CHANNELS    2
#define SAMPLE_BITS 16
/* The sizes in a WAV file have 32 bits. */
#define MAX_BYTES (UINT32_MAX - 4096)

struct wav_head {
	char riff[4];
	uint32_t size;
	char wave[4], format[4];
	uint32_t format_size;
	uint16_t kind, channels;
	uint32_t rate, byte_rate;
	uint16_t block, bits;
	char data[4];
	uint32_t data_size;
} __attribute__((packed));

_Static_assert(sizeof(struct wav_head) == 44, "a WAV file's head");

int sound_parse(const char *text, const char **path, struct error *err)
{
	*path = NULL;
	if (strcmp(text, "discard") == 0)
		return 0;
	if (strncmp(text, "file:", 5) == 0 && text[5]) {
		*path = text + 5;
		return 0;
	}
	return error_set(err, EXIT_CODE_USAGE,
		"--sound does not know '%.80s'; use discard, or file:PATH for a WAV file", text);
}

static void play(void *context, const uint8_t *bytes, size_t size)
{
	struct sound *sound = context;

	/* The event loop is far behind: what does not fit is lost. */
	if (size > SOUND_RING_SIZE - (sound->head - sound->tail))
		return;
	for (size_t i = 0; i < size; i++)
		sound->ring[sound->head++ % SOUND_RING_SIZE] = bytes[i];
	if (!atomic_exchange(&sound->waits, true))
		loop_wake(sound->loop);
}

struct hda_sink sound_sink(struct sound *sound)
{
	return sound->fd < 0 ? (struct hda_sink){ NULL } : (struct hda_sink){ play, sound };
}

static bool write_all(int fd, const void *bytes, size_t size, off_t at)
{
	while (size > 0) {
		ssize_t done = pwrite(fd, bytes, size, at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		bytes = (const uint8_t *)bytes + done;
		size -= (size_t)done;
		at += done;
	}
	return true;
}

static bool write_head(const struct sound *sound)
{
	const struct wav_head head = {
		.riff = { 'R', 'I', 'F', 'F' },
		.size = sound->bytes + (uint32_t)sizeof(head) - 8,
		.wave = { 'W', 'A', 'V', 'E' },
		.format = { 'f', 'm', 't', ' ' },
		.format_size = 16,
		.kind = 1, /* PCM */
		.channels = CHANNELS,
		.rate = HZ,
		.byte_rate = HZ * CHANNELS * SAMPLE_BITS / 8,
		.block = CHANNELS * SAMPLE_BITS / 8,
		.bits = SAMPLE_BITS,
		.data = { 'd', 'a', 't', 'a' },
		.data_size = sound->bytes,
	};

	return write_all(sound->fd, &head, sizeof(head), 0);
}

static void save(struct sound *sound, const uint8_t *bytes, size_t size)
{
	if (sound->failed || size > MAX_BYTES - sound->bytes)
		return;
	if (write_all(sound->fd, bytes, size, (off_t)(sizeof(struct wav_head) + sound->bytes))) {
		sound->bytes += (uint32_t)size;
		return;
	}
	sound->failed = true;
	log_warning("the file of the guest's sound cannot be written (%s); what comes is lost",
		strerror(errno));
}

void sound_service(struct sound *sound)
{
	if (!atomic_exchange(&sound->waits, false))
		return;
	for (;;) {
		uint8_t bytes[16384];
		size_t size;

		machine_lock(sound->machine);
		size = sound->head - sound->tail;
		if (size > sizeof(bytes))
			size = sizeof(bytes);
		for (size_t i = 0; i < size; i++)
			bytes[i] = sound->ring[sound->tail++ % SOUND_RING_SIZE];
		machine_unlock(sound->machine);
		if (size == 0)
			return;
		save(sound, bytes, size);
	}
}

int sound_open(struct sound *sound, const char *text, struct loop *loop, struct machine *machine,
	struct error *err)
{
	const char *path;

	if (sound_parse(text, &path, err))
		return -1;
	sound->loop = loop;
	sound->machine = machine;
	sound->fd = -1;
	if (!path)
		return 0;
	sound->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (sound->fd < 0 || !write_head(sound))
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot write %s; choose another file with --sound file:PATH", path);
	return 0;
}

void sound_close(struct sound *sound)
{
	if (!sound->loop)
		return;
	sound_service(sound);
	if (sound->fd >= 0) {
		if (!sound->failed)
			write_head(sound);
		close(sound->fd);
	}
	sound->loop = NULL;
}
