/*
 * A text mode's characters and colours, as a terminal can show them.
 */
#ifndef DISPLAY_TEXT_SCREEN_H
#define DISPLAY_TEXT_SCREEN_H

#include "base/types.h"

#define TEXT_SCREEN_MAX_COLUMNS 160
#define TEXT_SCREEN_MAX_ROWS    100

struct text_cell {
	uint8_t character; /* of code page 437 */
	uint8_t attribute; /* bits 0 to 3 the foreground, 4 to 6 the background */
};

struct text_screen {
	unsigned columns, rows;
	bool has_cursor;
	unsigned cursor_column, cursor_row;
	struct text_cell cells[TEXT_SCREEN_MAX_ROWS][TEXT_SCREEN_MAX_COLUMNS];
};

/* The Unicode character that code page 437 shows. */
uint32_t text_screen_unicode(uint8_t character);

/* A row as UTF-8 without the spaces at its end; three bytes a cell and one more. */
#define TEXT_SCREEN_ROW_BYTES (TEXT_SCREEN_MAX_COLUMNS * 3 + 1)
void text_screen_row(
	const struct text_screen *screen, unsigned row, char text[TEXT_SCREEN_ROW_BYTES]);

/* Writes one as UTF-8 and returns its bytes, at most 3. */
unsigned text_screen_encode(uint32_t unicode, char *to);

#endif
