/*
 * One base block (VESA Enhanced EDID 1.4, 3): a digital monitor of 96 dots an inch, sRGB colours,
 * the established modes from 640x480 to 1024x768, and the preferred one with timings by CVT's
 * reduced blanking: 160 dots and 3 lines at least of 460 us.
 */
#include "display/edid.h"

#include <string.h>

#define REFRESH_HZ   60
#define H_BLANK      160
#define H_FRONT      48
#define H_SYNC       32
#define V_FRONT      3
#define V_SYNC       6
#define MIN_BLANK_US 460
#define DOTS_INCH    96

static unsigned millimetres(unsigned dots)
{
	return dots * 254 / (DOTS_INCH * 10);
}

/* The lines of vertical blanking that take at least 460 us. */
static unsigned blank_lines(unsigned height)
{
	unsigned frame_us = 1000000 / REFRESH_HZ;
	unsigned lines =
		(MIN_BLANK_US * height + frame_us - MIN_BLANK_US - 1) / (frame_us - MIN_BLANK_US);
	unsigned least = V_FRONT + V_SYNC + 6;

	return lines < least ? least : lines;
}

/* 3.10.2 */
static void describe_timing(uint8_t *d, unsigned width, unsigned height)
{
	unsigned blank = blank_lines(height);
	unsigned clock = (width + H_BLANK) * (height + blank) * REFRESH_HZ / 10000; /* of 10 kHz */
	unsigned mm_width = millimetres(width), mm_height = millimetres(height);

	d[0] = (uint8_t)clock;
	d[1] = (uint8_t)(clock >> 8);
	d[2] = (uint8_t)width;
	d[3] = (uint8_t)H_BLANK;
	d[4] = (uint8_t)(width >> 8 << 4 | H_BLANK >> 8);
	d[5] = (uint8_t)height;
	d[6] = (uint8_t)blank;
	d[7] = (uint8_t)(height >> 8 << 4 | blank >> 8);
	d[8] = H_FRONT;
	d[9] = H_SYNC;
	d[10] = V_FRONT << 4 | V_SYNC;
	d[11] = 0;
	d[12] = (uint8_t)mm_width;
	d[13] = (uint8_t)mm_height;
	d[14] = (uint8_t)(mm_width >> 8 << 4 | mm_height >> 8);
	d[17] = 0x1a; /* digital, separate syncs, horizontal positive */
}

/* 3.10.3: text of up to 13 characters, ended by a line feed and filled with spaces. */
static void describe_text(uint8_t *d, uint8_t tag, const char *text)
{
	size_t length = strlen(text);

	d[3] = tag;
	memset(d + 5, ' ', 13);
	memcpy(d + 5, text, length);
	if (length < 13)
		d[5 + length] = '\n';
}

static void describe_limits(uint8_t *d)
{
	static const uint8_t limits[] = { 0, 0, 0, 0xfd, 0, 50, 125, 30, 160, 60, 1, '\n', ' ', ' ',
		' ', ' ', ' ', ' ' };

	memcpy(d, limits, sizeof(limits));
}

void edid_describe(uint8_t edid[EDID_SIZE], unsigned width, unsigned height)
{
	static const uint8_t header[] = { 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0 };
	static const uint8_t srgb[] = { 0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50,
		0x54 };
	/* "ATL", five bits a letter. */
	const unsigned maker = ('A' - 64) << 10 | ('T' - 64) << 5 | ('L' - 64);
	uint8_t sum = 0;

	memset(edid, 0, EDID_SIZE);
	memcpy(edid, header, sizeof(header));
	edid[8] = (uint8_t)(maker >> 8);
	edid[9] = (uint8_t)maker;
	edid[10] = 1; /* product */
	edid[16] = 1; /* week and year of manufacture */
	edid[17] = 2024 - 1990;
	edid[18] = 1;
	edid[19] = 4;
	edid[20] = 0xa5; /* digital, 8 bits a colour, DisplayPort */
	edid[21] = (uint8_t)(millimetres(width) / 10);
	edid[22] = (uint8_t)(millimetres(height) / 10);
	edid[23] = 120;  /* gamma 2.2 */
	edid[24] = 0x06; /* sRGB is the default; the first timing is the native mode */
	memcpy(edid + 25, srgb, sizeof(srgb));
	edid[35] = 0x21; /* 640x480 and 800x600 at 60 Hz */
	edid[36] = 0x08; /* 1024x768 at 60 Hz */
	memset(edid + 38, 0x01, 16);
	describe_timing(edid + 54, width, height);
	describe_text(edid + 72, 0xfc, "Atoll");
	describe_limits(edid + 90);
	describe_text(edid + 108, 0xff, "1");
	for (unsigned i = 0; i < EDID_SIZE - 1; i++)
		sum += edid[i];
	edid[EDID_SIZE - 1] = (uint8_t)-sum;
}
