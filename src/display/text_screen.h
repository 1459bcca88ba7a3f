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

#endif
