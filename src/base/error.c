#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void error_format(
	struct error *err, enum exit_code exit_code, const char *format, va_list args)
{
	err->exit_code = exit_code;
	vsnprintf(err->text, sizeof(err->text), format, args);
}

static bool error_is_free(const struct error *err)
{
	return err && err->exit_code == EXIT_CODE_OK;
}

int error_set(struct error *err, enum exit_code exit_code, const char *format, ...)
{
	va_list args;

	if (error_is_free(err)) {
		va_start(args, format);
		error_format(err, exit_code, format, args);
		va_end(args);
	}
	return -EINVAL;
}

int error_set_errno(
	struct error *err, enum exit_code exit_code, int errno_value, const char *format, ...)
{
	va_list args;
	size_t used;

	if (error_is_free(err)) {
		va_start(args, format);
		error_format(err, exit_code, format, args);
		va_end(args);
		used = strlen(err->text);
		snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(errno_value));
	}
	return -errno_value;
}
