/*
 * Option values of the form `WORD,key=value,key=value`, such as `--disk a.img,format=raw`. A comma
 * in a value is written twice. What the option knows is taken out by name; what is left is a
 * mistake.
 */
#ifndef BASE_PROPERTIES_H
#define BASE_PROPERTIES_H

#include "base/error.h"
#include "base/types.h"

#define PROPERTIES_MAX 24

struct property {
	const char *key, *value;
	bool taken;
};

struct properties {
	const char *option; /* for messages: "disk" */
	char *text;         /* owns what the rest points to */
	const char *word; /* what stands before the first comma, unless it is a property; or NULL */
	struct property items[PROPERTIES_MAX];
	unsigned count;
};

/* Returns 0, or fills `err`: an item without a value, a key given twice, too many. */
int properties_parse(
	struct properties *properties, const char *option, const char *text, struct error *err);
void properties_finish(struct properties *properties);

/* The value, valid until properties_finish; NULL if it is not given. */
const char *properties_take(struct properties *properties, const char *key);

/* These leave `*value` alone if the key is not given. Return 0, or fill `err`. */
int properties_take_bool(/* on or off */
	struct properties *properties, const char *key, bool *value, struct error *err);
int properties_take_number(struct properties *properties, const char *key, uint64_t min,
	uint64_t max, uint64_t *value, struct error *err);
/* Bytes: a number and K, M, G or T (powers of 1024). */
int properties_take_size(
	struct properties *properties, const char *key, uint64_t *bytes, struct error *err);

/* Fills `err` if anything was not taken; `known` names the keys, for the message. */
int properties_check(const struct properties *properties, const char *known, struct error *err);

/*
 * A size in bytes: a decimal number and B, K, M, G or T, perhaps with iB; without a unit it counts
 * in `unit`. Returns 0, or -EINVAL if the text is no size or does not fit.
 */
int size_parse(const char *text, uint64_t unit, uint64_t *bytes);

#endif
