/*
 * A guest's /bin/play: plays a second of sound on the first ALSA device by the kernel's own calls:
 * 48 kHz, 16 bits, two channels, the left one counting up, the right one counting down. Prints
 * "sound: played N".
 */
#include <fcntl.h>
#include <sound/asound.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HZ     48000
#define PERIOD 1024 /* frames */

static void set_any(struct snd_pcm_hw_params *params)
{
	memset(params, 0, sizeof(*params));
	for (unsigned i = 0; i <= SNDRV_PCM_HW_PARAM_LAST_MASK - SNDRV_PCM_HW_PARAM_FIRST_MASK; i++)
		memset(&params->masks[i], 0xff, sizeof(params->masks[i]));
	for (unsigned i = 0;
		i <= SNDRV_PCM_HW_PARAM_LAST_INTERVAL - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL; i++)
		params->intervals[i] = (struct snd_interval){ .min = 0, .max = ~0u };
	params->rmask = ~0u;
	params->info = ~0u;
}

static void set_mask(struct snd_pcm_hw_params *params, unsigned which, unsigned bit)
{
	struct snd_mask *mask = &params->masks[which - SNDRV_PCM_HW_PARAM_FIRST_MASK];

	memset(mask, 0, sizeof(*mask));
	mask->bits[bit / 32] = 1u << bit % 32;
}

static void set_number(struct snd_pcm_hw_params *params, unsigned which, unsigned value)
{
	params->intervals[which - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL] =
		(struct snd_interval){ .min = value, .max = value, .integer = 1 };
}

/* The driver looks for codecs after its module has been loaded. */
static int open_card(void)
{
	int fd = -1;

	for (int i = 0; i < 200 && fd < 0; i++) {
		fd = open("/dev/snd/pcmC0D0p", O_WRONLY);
		if (fd < 0)
			usleep(50000);
	}
	return fd;
}

int main(void)
{
	int fd = open_card();
	static short samples[PERIOD][2];
	struct snd_pcm_hw_params params;
	unsigned frame = 0;

	set_any(&params);
	set_mask(&params, SNDRV_PCM_HW_PARAM_ACCESS, SNDRV_PCM_ACCESS_RW_INTERLEAVED);
	set_mask(&params, SNDRV_PCM_HW_PARAM_FORMAT, SNDRV_PCM_FORMAT_S16_LE);
	set_mask(&params, SNDRV_PCM_HW_PARAM_SUBFORMAT, SNDRV_PCM_SUBFORMAT_STD);
	set_number(&params, SNDRV_PCM_HW_PARAM_CHANNELS, 2);
	set_number(&params, SNDRV_PCM_HW_PARAM_RATE, HZ);
	set_number(&params, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, PERIOD);
	set_number(&params, SNDRV_PCM_HW_PARAM_PERIODS, 8);
	if (fd < 0 || ioctl(fd, SNDRV_PCM_IOCTL_HW_PARAMS, &params) < 0 ||
		ioctl(fd, SNDRV_PCM_IOCTL_PREPARE) < 0) {
		perror("sound");
		return 1;
	}
	while (frame < HZ) {
		struct snd_xferi transfer = { .buf = samples, .frames = PERIOD };

		for (unsigned i = 0; i < PERIOD; i++, frame++) {
			samples[i][0] = (short)(frame % 20000 + 1);
			samples[i][1] = (short)-(frame % 20000 + 1);
		}
		if (ioctl(fd, SNDRV_PCM_IOCTL_WRITEI_FRAMES, &transfer) < 0)
			ioctl(fd, SNDRV_PCM_IOCTL_PREPARE);
	}
	ioctl(fd, SNDRV_PCM_IOCTL_DRAIN);
	printf("sound: played %u\n", frame);
	return 0;
}
