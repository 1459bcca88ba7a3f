/*
 * Base 64: RFC 4648, section 4, with padding.
 */
#ifndef AGENT_BASE64_H
#define AGENT_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* To be freed; NULL if memory ran out. */
char *base64_encode(const uint8_t *bytes, size_t size);
/* To be freed, with one byte to spare; NULL if the text is no base 64, or memory ran out. */
uint8_t *base64_decode(const char *text, size_t length, size_t *size);

#endif
