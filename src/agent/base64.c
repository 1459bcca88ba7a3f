#include "agent/base64.h"

#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const uint8_t *bytes, size_t size)
{
	char *text = malloc((size + 2) / 3 * 4 + 1), *out = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < size; i += 3) {
		uint32_t group = (uint32_t)bytes[i] << 16;

		if (i + 1 < size)
			group |= (uint32_t)bytes[i + 1] << 8;
		if (i + 2 < size)
			group |= bytes[i + 2];
		*out++ = digits[group >> 18];
		*out++ = digits[group >> 12 & 63];
		*out++ = i + 1 < size ? digits[group >> 6 & 63] : '=';
		*out++ = i + 2 < size ? digits[group & 63] : '=';
	}
	*out = '\0';
	return text;
}

static int digit_value(char digit)
{
	const char *at = digit ? strchr(digits, digit) : NULL;

	return at ? (int)(at - digits) : -1;
}

uint8_t *base64_decode(const char *text, size_t length, size_t *size)
{
	size_t padding = 0, used = 0;
	uint32_t group = 0;
	uint8_t *bytes;

	while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
		padding++;
	if (length % 4)
		return NULL;
	bytes = malloc(length / 4 * 3 + 1);
	for (size_t i = 0; bytes && i < length; i++) {
		int value = i < length - padding ? digit_value(text[i]) : 0;

		if (value < 0) {
			free(bytes);
			return NULL;
		}
		group = group << 6 | (uint32_t)value;
		if (i % 4 == 3) {
			bytes[used++] = (uint8_t)(group >> 16);
			bytes[used++] = (uint8_t)(group >> 8);
			bytes[used++] = (uint8_t)group;
			group = 0;
		}
	}
	*size = used - padding;
	return bytes;
}
