#include "vmm/curses.h"

#include "base/host_time.h"
#include "base/log.h"
#include "display/key.h"

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of linux/input-event-codes.h, which has names that curses.h has for other things. */
enum linux_key {
	LINUX_ESC = 1,
	LINUX_BACKSPACE = 14,
	LINUX_TAB = 15,
	LINUX_ENTER = 28,
	LINUX_LEFTCTRL = 29,
	LINUX_LEFTSHIFT = 42,
	LINUX_F1 = 59, /* to F10 */
	LINUX_F11 = 87,
	LINUX_F12 = 88,
	LINUX_RIGHTALT = 100,
	LINUX_HOME = 102,
	LINUX_UP = 103,
	LINUX_PAGEUP = 104,
	LINUX_LEFT = 105,
	LINUX_RIGHT = 106,
	LINUX_END = 107,
	LINUX_DOWN = 108,
	LINUX_PAGEDOWN = 109,
	LINUX_INSERT = 110,
	LINUX_DELETE = 111,
};

#define DRAW_NS    (50 * NS_PER_MS)
#define MAX_KEYS   64 /* of one round */
#define ESCAPE_MS  25
#define CTRL_A     1
#define NR_COLOURS 8

bool curses_is_wanted(const char *display)
{
	return display && strcmp(display, "curses") == 0;
}

/* Red and blue are the other way round than on a VGA. */
static short colour(unsigned vga)
{
	return (short)((vga & 1) << 2 | (vga & 2) | (vga & 4) >> 2);
}

static void set_colours(void)
{
	if (!has_colors())
		return;
	start_color();
	for (unsigned i = 0; i < NR_COLOURS * NR_COLOURS; i++)
		init_pair((short)(i + 1), colour(i % NR_COLOURS), colour(i / NR_COLOURS));
}

static void draw_cell(unsigned row, unsigned column, const struct text_cell *cell)
{
	unsigned pair = (cell->attribute & 7u) + (cell->attribute >> 4 & 7u) * NR_COLOURS + 1;
	wchar_t text[2] = { (wchar_t)text_screen_unicode(cell->character) };
	cchar_t character;

	if (text[0] < L' ')
		text[0] = L' ';
	setcchar(&character, text, cell->attribute & 8 ? A_BOLD : A_NORMAL,
		has_colors() ? (short)pair : 0, NULL);
	mvadd_wch((int)row, (int)column, &character);
}

static void draw_text(const struct text_screen *text)
{
	for (unsigned row = 0; row < text->rows && (int)row < LINES; row++) {
		for (unsigned column = 0; column < text->columns && (int)column < COLS; column++)
			draw_cell(row, column, &text->cells[row][column]);
	}
	curs_set(text->has_cursor);
	if (text->has_cursor)
		move((int)text->cursor_row, (int)text->cursor_column);
}

static void draw_graphics(struct curses *curses)
{
	struct surface surface = { 0 };

	erase();
	if (screen_draw(curses->devices, &surface, NULL) == 0)
		mvprintw(0, 0, "%u x %u pixels (Ctrl-A x ends, Ctrl-A p presses the power button)",
			surface.width, surface.height);
	surface_finish(&surface);
	curs_set(0);
}

/* By the terminal's names of keys. */
static const struct {
	int code;
	uint8_t key, modifier;
} special_keys[] = {
	{ KEY_UP, LINUX_UP, 0 },
	{ KEY_DOWN, LINUX_DOWN, 0 },
	{ KEY_LEFT, LINUX_LEFT, 0 },
	{ KEY_RIGHT, LINUX_RIGHT, 0 },
	{ KEY_HOME, LINUX_HOME, 0 },
	{ KEY_END, LINUX_END, 0 },
	{ KEY_PPAGE, LINUX_PAGEUP, 0 },
	{ KEY_NPAGE, LINUX_PAGEDOWN, 0 },
	{ KEY_IC, LINUX_INSERT, 0 },
	{ KEY_DC, LINUX_DELETE, 0 },
	{ KEY_BTAB, LINUX_TAB, LINUX_LEFTSHIFT },
};

static void press(struct curses *curses, unsigned modifier, unsigned key)
{
	unsigned keys[] = { modifier, key };

	if (modifier)
		input_chord(curses->input, keys, 2);
	else
		input_chord(curses->input, &key, 1);
}

static void press_special(struct curses *curses, int code)
{
	if (code == KEY_RESIZE) {
		clear();
		return;
	}
	if (code == KEY_BACKSPACE) {
		press(curses, 0, LINUX_BACKSPACE);
		return;
	}
	if (code >= KEY_F(1) && code <= KEY_F(10))
		press(curses, 0, LINUX_F1 + (unsigned)(code - KEY_F(1)));
	else if (code == KEY_F(11) || code == KEY_F(12))
		press(curses, 0, code == KEY_F(11) ? LINUX_F11 : LINUX_F12);
	for (size_t i = 0; i < sizeof(special_keys) / sizeof(special_keys[0]); i++) {
		if (special_keys[i].code == code)
			press(curses, special_keys[i].modifier, special_keys[i].key);
	}
}

static void press_character(struct curses *curses, wint_t character)
{
	struct key_stroke stroke;

	switch (character) {
	case '\r':
	case '\n': press(curses, 0, LINUX_ENTER); return;
	case '\t': press(curses, 0, LINUX_TAB); return;
	case 8:
	case 127: press(curses, 0, LINUX_BACKSPACE); return;
	case 27: press(curses, 0, LINUX_ESC); return;
	}
	if (character < 27) {
		stroke = key_for_character(NULL, character + 'a' - 1);
		press(curses, LINUX_LEFTCTRL, stroke.key);
		return;
	}
	stroke = key_for_character(NULL, character);
	if (stroke.key)
		press(curses,
			stroke.shift   ? LINUX_LEFTSHIFT
			: stroke.altgr ? LINUX_RIGHTALT
				       : 0,
			stroke.key);
}

static void escape(struct curses *curses, wint_t character)
{
	switch (character) {
	case CTRL_A: press_character(curses, CTRL_A); break;
	case 'x': curses->key(curses->context, SERIAL_KEY_QUIT); break;
	case 'p': curses->key(curses->context, SERIAL_KEY_POWER); break;
	case 'r': curses->key(curses->context, SERIAL_KEY_RESET); break;
	}
}

static void on_key(void *context, unsigned events)
{
	struct curses *curses = context;
	wint_t character;
	int kind;

	(void)events;
	for (unsigned i = 0; i < MAX_KEYS && (kind = get_wch(&character)) != ERR; i++) {
		if (kind == KEY_CODE_YES) {
			press_special(curses, (int)character);
		} else if (curses->escaped) {
			curses->escaped = false;
			escape(curses, character);
		} else if (character == CTRL_A) {
			curses->escaped = true;
		} else {
			press_character(curses, character);
		}
	}
}

int curses_open(struct curses *curses, struct loop *loop, struct devices *devices,
	struct input *input, struct error *err)
{
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return error_set(err, EXIT_CODE_CONFIG,
			"--display curses needs a terminal; start the machine on one, or use "
			"--display vnc");
	curses->loop = loop;
	curses->devices = devices;
	curses->input = input;
	curses->text = calloc(1, sizeof(*curses->text));
	if (!curses->text)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	setlocale(LC_CTYPE, "");
	curses->terminal = newterm(NULL, stdout, stdin);
	if (!curses->terminal)
		return error_set(err, EXIT_CODE_CONFIG,
			"this terminal is of a kind that cannot show a screen; set TERM, or use "
			"--display vnc");
	raw();
	noecho();
	nonl();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	set_escdelay(ESCAPE_MS);
	set_colours();
	if (loop_add(loop, STDIN_FILENO, LOOP_READ, on_key, curses) < 0)
		return error_set(err, EXIT_CODE_HOST, "cannot watch the terminal");
	return 0;
}

void curses_close(struct curses *curses)
{
	if (curses->terminal) {
		loop_remove(curses->loop, STDIN_FILENO);
		endwin();
		delscreen(curses->terminal);
	}
	free(curses->text);
	memset(curses, 0, sizeof(*curses));
}

ns_t curses_deadline(const struct curses *curses)
{
	return curses->terminal ? curses->next_ns : INT64_MAX;
}

void curses_service(struct curses *curses)
{
	ns_t now_ns;

	if (!curses->terminal)
		return;
	now_ns = host_now();
	if (now_ns < curses->next_ns)
		return;
	curses->next_ns = now_ns + DRAW_NS;
	if (screen_read_text(curses->devices, curses->text))
		draw_text(curses->text);
	else
		draw_graphics(curses);
	refresh();
}
