/*
 * The guest's part of tools/bench-vnc, as /bin/test of the initramfs: pictures that change, and
 *keys that are answered on the screen.
 *
 * Each stage says "begin NAME" and, once the key n ends it, "row NAME RATE UNIT" of what it drew.
 *The key c makes what is drawn from then on the next of six colours: lines or cells of text, a
 *window's title.
 *
 *	text	lines without a pause, on the VGA's text screen
 *	console	the same on the console that Linux draws on the graphics card, whose driver is
 *loaded now typing	nothing but the answers to keys window	a window that moves 60 times a
 *second, drawn into the card's memory
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <libdrm/drm.h>
#include <libdrm/drm_mode.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_WIDTH  320
#define WINDOW_HEIGHT 200
#define TITLE_HEIGHT  20
#define FRAME_NS      (1000000000L / 60)
#define DESKTOP       0x00456789u

/* The console's from red on, and those of the window's title. Nothing else on the screen looks like
 * them, whatever byte one begins to look at; a VGA's 6 bits a channel can show them. */
static const uint32_t colours[] = { 0x081018, 0x202830, 0x181008, 0x302820, 0x083810, 0x103808 };
#define NR_COLOURS (sizeof(colours) / sizeof(colours[0]))

static int terminal;
static unsigned colour = NR_COLOURS - 1; /* the last answer's */

static void say(const char *text)
{
	if (write(terminal, text, strlen(text)) < 0)
		fail("write");
}

/* A key within so many milliseconds, -1: for ever; 0: none. */
static char key(int timeout_ms)
{
	struct pollfd ready = { .fd = terminal, .events = POLLIN };
	char byte = 0;

	if (poll(&ready, 1, timeout_ms) == 1 && read(terminal, &byte, 1) < 0)
		fail("read");
	return byte;
}

static void begin(const char *name)
{
	printf("begin %s\n", name);
	fflush(stdout);
}

static void row(const char *name, double count, double seconds, const char *unit)
{
	printf("row %s %.6g %s\n", name, count / seconds, unit);
	fflush(stdout);
}

static void open_terminal(void)
{
	struct termios raw;

	if (terminal > 0)
		close(terminal);
	terminal = open("/dev/tty1", O_RDWR | O_NOCTTY);
	if (terminal < 0 || tcgetattr(terminal, &raw))
		fail("/dev/tty1");
	cfmakeraw(&raw);
	tcsetattr(terminal, TCSANOW, &raw);
	for (unsigned i = 0; i < NR_COLOURS; i++) {
		char palette[16];

		snprintf(palette, sizeof(palette), "\033]P%u%06x", i + 1, colours[i]);
		say(palette);
	}
	say("\033[0m\033[2J\033[H\033[?25l"); /* without a cursor, which would blink */
}

static void next_colour(void)
{
	colour = (colour + 1) % NR_COLOURS;
}

static void scroll(const char *name)
{
	unsigned long count = 0;
	char line[128];
	double start;
	char pressed;

	open_terminal();
	begin(name);
	start = now();
	while ((pressed = key(0)) != 'n') {
		if (pressed == 'c') {
			next_colour();
			snprintf(line, sizeof(line), "\033[%um", 31 + colour);
			say(line);
		}
		snprintf(line, sizeof(line),
			"%8lu: the quick brown fox %lx jumps over the lazy dog\r\n", count,
			count * 2654435761u);
		say(line);
		count++;
	}
	row(name, (double)count, now() - start, "lines/s");
}

static void type(void)
{
	unsigned long count = 0;
	char cell[32];
	double start;

	open_terminal();
	begin("typing");
	start = now();
	for (;;) {
		char pressed = key(-1);

		if (pressed == 'n')
			break;
		if (pressed != 'c')
			continue;
		next_colour();
		snprintf(cell, sizeof(cell), "\033[%um \033[0m", 41 + colour);
		say(cell);
		count++;
	}
	row("typing", (double)count, now() - start, "keys/s");
}

/* The graphics card: memory of its own that is shown, as a display server would have it. */

struct screen {
	uint32_t width, height, pitch; /* pixels */
	uint32_t *pixels;
};

static void command(int card, unsigned long request, void *argument, const char *what)
{
	if (ioctl(card, request, argument))
		fail(what);
}

static void open_screen(struct screen *screen)
{
	struct drm_mode_card_res resources = { 0 };
	struct drm_mode_get_connector connector = { 0 };
	struct drm_mode_modeinfo modes[64];
	struct drm_mode_create_dumb buffer = { .bpp = 32 };
	struct drm_mode_fb_cmd frame = { .bpp = 32, .depth = 24 };
	struct drm_mode_map_dumb map = { 0 };
	struct drm_mode_crtc crtc = { .mode_valid = 1 };
	uint32_t crtcs[8], connectors[8];
	int card = open("/dev/dri/card0", O_RDWR);

	if (card < 0)
		fail("/dev/dri/card0");
	resources.crtc_id_ptr = (uintptr_t)crtcs;
	resources.connector_id_ptr = (uintptr_t)connectors;
	resources.count_crtcs = resources.count_connectors = 8;
	command(card, DRM_IOCTL_MODE_GETRESOURCES, &resources, "resources");
	connector.connector_id = connectors[0];
	connector.modes_ptr = (uintptr_t)modes;
	connector.count_modes = sizeof(modes) / sizeof(modes[0]);
	command(card, DRM_IOCTL_MODE_GETCONNECTOR, &connector, "connector");
	for (unsigned i = 0; i < connector.count_modes; i++) {
		if (modes[i].hdisplay == 1024 && modes[i].vdisplay == 768)
			crtc.mode = modes[i];
	}
	buffer.width = screen->width = 1024;
	buffer.height = screen->height = 768;
	command(card, DRM_IOCTL_MODE_CREATE_DUMB, &buffer, "a buffer");
	frame.width = buffer.width;
	frame.height = buffer.height;
	frame.pitch = buffer.pitch;
	frame.handle = map.handle = buffer.handle;
	command(card, DRM_IOCTL_MODE_ADDFB, &frame, "a frame buffer");
	command(card, DRM_IOCTL_MODE_MAP_DUMB, &map, "a mapping");
	screen->pitch = buffer.pitch / 4;
	screen->pixels = mmap(
		NULL, buffer.size, PROT_READ | PROT_WRITE, MAP_SHARED, card, (off_t)map.offset);
	if (screen->pixels == MAP_FAILED)
		fail("mmap");
	for (uint32_t y = 0; y < screen->height; y++) {
		for (uint32_t x = 0; x < screen->width; x++)
			screen->pixels[y * screen->pitch + x] = DESKTOP;
	}
	crtc.crtc_id = crtcs[0];
	crtc.fb_id = frame.fb_id;
	crtc.set_connectors_ptr = (uintptr_t)connectors;
	crtc.count_connectors = 1;
	command(card, DRM_IOCTL_MODE_SETCRTC, &crtc, "the mode");
}

static void fill(const struct screen *screen, uint32_t x, uint32_t y, uint32_t width,
	uint32_t height, uint32_t pixel)
{
	for (uint32_t j = y; j < y + height; j++) {
		for (uint32_t i = x; i < x + width; i++)
			screen->pixels[j * screen->pitch + i] = pixel;
	}
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A page of words, whose letters are dots at random, 5 by 7 of them. */
static void draw_picture(uint32_t *picture)
{
	uint64_t letters[26], random = 88172645463325252u;

	for (unsigned i = 0; i < 26; i++)
		letters[i] = random_next(&random) & random_next(&random);
	for (uint32_t i = 0; i < WINDOW_WIDTH * WINDOW_HEIGHT; i++)
		picture[i] = 0xf0f0f0;
	for (uint32_t y = TITLE_HEIGHT + 6; y + 7 < WINDOW_HEIGHT; y += 14) {
		for (uint32_t x = 8; x + 5 < WINDOW_WIDTH - 8; x += 6) {
			uint32_t letter = (uint32_t)(random_next(&random) >> 32) % 32;

			for (uint32_t dot = 0; letter < 26 && dot < 35; dot++) {
				if (letters[letter] >> dot & 1)
					picture[(y + dot / 5) * WINDOW_WIDTH + x + dot % 5] =
						0x101010;
			}
		}
	}
}

static void place(const struct screen *screen, const uint32_t *picture, uint32_t x, uint32_t y)
{
	fill(screen, x, y, WINDOW_WIDTH, TITLE_HEIGHT, colours[colour]);
	for (uint32_t j = TITLE_HEIGHT; j < WINDOW_HEIGHT; j++)
		memcpy(&screen->pixels[(y + j) * screen->pitch + x], &picture[j * WINDOW_WIDTH],
			WINDOW_WIDTH * sizeof(*picture));
}

/* There and back again. */
static uint32_t bounce(unsigned long at, uint32_t room)
{
	uint32_t place = (uint32_t)(at % (2ul * room));

	return place < room ? place : 2 * room - place;
}

static void move(void)
{
	static uint32_t picture[WINDOW_WIDTH * WINDOW_HEIGHT];
	struct screen screen;
	struct timespec next;
	unsigned long frame = 0, drawn = 0;
	uint32_t x = 0, y = 0;
	double start;
	char pressed;

	open_screen(&screen);
	draw_picture(picture);
	begin("window");
	start = now();
	clock_gettime(CLOCK_MONOTONIC, &next);
	while ((pressed = key(0)) != 'n') {
		uint32_t old_x = x, old_y = y;

		if (pressed == 'c')
			next_colour();
		frame++;
		x = bounce(4 * frame, screen.width - WINDOW_WIDTH);
		y = bounce(2 * frame, screen.height - WINDOW_HEIGHT);
		/* What it leaves, and the window at its new place. */
		fill(&screen, x > old_x ? old_x : x + WINDOW_WIDTH, old_y,
			x > old_x ? x - old_x : old_x - x, WINDOW_HEIGHT, DESKTOP);
		fill(&screen, old_x, y > old_y ? old_y : y + WINDOW_HEIGHT, WINDOW_WIDTH,
			y > old_y ? y - old_y : old_y - y, DESKTOP);
		place(&screen, picture, x, y);
		drawn++;
		/* One that comes late is not made up for. */
		next.tv_nsec += FRAME_NS;
		if (next.tv_nsec >= 1000000000L) {
			next.tv_nsec -= 1000000000L;
			next.tv_sec++;
		}
		if (now() > (double)next.tv_sec + (double)next.tv_nsec * 1e-9)
			clock_gettime(CLOCK_MONOTONIC, &next);
		else
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	row("window", (double)drawn, now() - start, "frames/s");
}

static void load(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/modules/%s.ko", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		fail(path);
	close(fd);
}

int main(void)
{
	scroll("text");
	load("bochs");
	scroll("console");
	type();
	move();
	return 0;
}
