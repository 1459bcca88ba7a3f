/*
 * Option values of the form WORD,key=value (properties.h).
 */
#include "base/properties.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Cuts the item at `at` off, makes two commas one, and returns what follows, or NULL. */
static char *cut_item(char *at)
{
	char *to = at;

	for (; *at; at++) {
		if (*at == ',' && at[1] != ',') {
			*to = '\0';
			return at + 1;
		}
		if (*at == ',')
			at++;
		*to++ = *at;
	}
	*to = '\0';
	return NULL;
}

static int add(struct properties *properties, char *item, struct error *err)
{
	char *equals = strchr(item, '=');

	if (!equals || equals == item)
		return error_set(err, EXIT_CODE_USAGE,
			"--%s cannot read '%s'; give key=value, separated by commas",
			properties->option, item);
	*equals = '\0';
	for (unsigned i = 0; i < properties->count; i++)
		if (strcmp(properties->items[i].key, item) == 0)
			return error_set(err, EXIT_CODE_USAGE, "--%s has '%s' twice; give it once",
				properties->option, item);
	if (properties->count == PROPERTIES_MAX)
		return error_set(err, EXIT_CODE_USAGE, "--%s has too many properties (%u at most)",
			properties->option, PROPERTIES_MAX);
	properties->items[properties->count++] =
		(struct property){ .key = item, .value = equals + 1 };
	return 0;
}

int properties_parse(
	struct properties *properties, const char *option, const char *text, struct error *err)
{
	bool first = true;
	char *next;

	*properties = (struct properties){ .option = option, .text = strdup(text) };
	if (!properties->text)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot read --%s", option);
	for (char *item = properties->text; item; item = next, first = false) {
		next = cut_item(item);
		if (first && !strchr(item, '=')) {
			properties->word = *item ? item : NULL;
		} else if (add(properties, item, err)) {
			properties_finish(properties);
			return -EINVAL;
		}
	}
	return 0;
}

void properties_finish(struct properties *properties)
{
	free(properties->text);
	properties->text = NULL;
	properties->word = NULL;
	properties->count = 0;
}

const char *properties_take(struct properties *properties, const char *key)
{
	for (unsigned i = 0; i < properties->count; i++) {
		if (strcmp(properties->items[i].key, key) == 0) {
			properties->items[i].taken = true;
			return properties->items[i].value;
		}
	}
	return NULL;
}

int properties_take_bool(
	struct properties *properties, const char *key, bool *value, struct error *err)
{
	const char *text = properties_take(properties, key);

	if (!text)
		return 0;
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return error_set(err, EXIT_CODE_USAGE, "--%s cannot read %s=%s; use on or off",
			properties->option, key, text);
	*value = strcmp(text, "on") == 0;
	return 0;
}

int properties_take_number(struct properties *properties, const char *key, uint64_t min,
	uint64_t max, uint64_t *value, struct error *err)
{
	const char *text = properties_take(properties, key);
	unsigned long long number;
	char *end;

	if (!text)
		return 0;
	errno = 0;
	number = strtoull(text, &end, 0);
	if (!isdigit((unsigned char)*text) || *end || errno || number < min || number > max)
		return error_set(err, EXIT_CODE_USAGE,
			"--%s cannot use %s=%s; give a number from %" PRIu64 " to %" PRIu64,
			properties->option, key, text, min, max);
	*value = number;
	return 0;
}

int properties_take_size(
	struct properties *properties, const char *key, uint64_t *bytes, struct error *err)
{
	const char *text = properties_take(properties, key);

	if (!text || size_parse(text, 1, bytes) == 0)
		return 0;
	return error_set(err, EXIT_CODE_USAGE,
		"--%s cannot read %s=%s; give a number and K, M, G or T, such as 10G",
		properties->option, key, text);
}

int properties_check(const struct properties *properties, const char *known, struct error *err)
{
	for (unsigned i = 0; i < properties->count; i++)
		if (!properties->items[i].taken)
			return error_set(err, EXIT_CODE_USAGE,
				"--%s does not know '%s'; it knows %s", properties->option,
				properties->items[i].key, known);
	return 0;
}

int size_parse(const char *text, uint64_t unit, uint64_t *bytes)
{
	static const char units[] = "BKMGT";
	unsigned long long number;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		const char *found = strchr(units, toupper((unsigned char)*end));

		if (!found)
			return -EINVAL;
		unit = UINT64_C(1) << 10 * (found - units);
		end++;
		if (strcmp(end, "iB") == 0)
			end += 2;
	}
	if (*end || __builtin_mul_overflow((uint64_t)number, unit, bytes))
		return -EINVAL;
	return 0;
}
