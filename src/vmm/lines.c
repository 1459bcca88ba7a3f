#include "vmm/lines.h"

#include <stdlib.h>

int lines_parse(const char *option, const char *text, struct error *err)
{
	enum serial_kind kind;
	const char *path;

	if (serial_parse(text, &kind, &path, NULL) == 0 &&
		(kind == SERIAL_FILE || kind == SERIAL_UNIX))
		return 0;
	return error_set(err, EXIT_CODE_USAGE,
		"--%s does not know '%.80s'; use file:PATH or unix:PATH", option, text);
}

int lines_describe(struct lines *lines, const struct vm_config *config, struct board_config *board,
	struct error *err)
{
	for (unsigned i = 0; i < BOARD_NR_LINES; i++) {
		if (!config->lines[i])
			continue;
		lines->items[i] = calloc(1, sizeof(*lines->items[i]));
		if (!lines->items[i])
			return error_set(err, EXIT_CODE_HOST, "out of memory");
		board->lines[i] = (struct board_line_config){ .present = true,
			.line = serial_line(lines->items[i]) };
	}
	return 0;
}

int lines_open(struct lines *lines, const struct vm_config *config, struct loop *loop,
	struct board *board, struct error *err)
{
	for (unsigned i = 0; i < BOARD_NR_LINES; i++) {
		struct serial *serial = lines->items[i];

		if (!serial)
			continue;
		if (serial_open(serial, config->lines[i], loop, board->machine, err))
			return -1;
		serial->line = (enum board_line)i;
		serial->board = board;
	}
	return 0;
}

void lines_service(struct lines *lines)
{
	for (unsigned i = 0; i < BOARD_NR_LINES; i++) {
		if (lines->items[i])
			serial_service(lines->items[i]);
	}
}

void lines_close(struct lines *lines)
{
	for (unsigned i = 0; i < BOARD_NR_LINES; i++) {
		if (lines->items[i])
			serial_close(lines->items[i]);
		free(lines->items[i]);
		lines->items[i] = NULL;
	}
}
