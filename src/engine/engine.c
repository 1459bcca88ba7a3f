/*
 * The engines there are, and which one a machine gets.
 */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

/* In the order in which `auto` tries them; the last one runs everywhere. */
static const struct engine_ops *const engines[] = {
	&kvm_engine_ops,
	&soft_engine_ops,
};

/* A refusal reads "reason: remedy"; who gets another engine needs no remedy. */
static void drop_remedy(char *text)
{
	char *colon = NULL;

	for (char *at = strstr(text, ": "); at; at = strstr(at + 1, ": "))
		colon = at;
	if (colon)
		*colon = '\0';
}

static const struct engine_ops *engine_choose(char *why, size_t why_size, struct error *err)
{
	struct error reason = { 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		struct error refusal = { 0 };

		if (engines[i]->probe(&refusal) == 0) {
			drop_remedy(reason.text);
			if (reason.text[0])
				snprintf(why, why_size, "engine %s: %s", engines[i]->name,
					reason.text);
			else
				snprintf(why, why_size, "engine %s: hardware virtualization",
					engines[i]->name);
			return engines[i];
		}
		if (!reason.text[0])
			reason = refusal;
	}
	if (err && !err->text[0])
		*err = reason;
	return NULL;
}

const struct engine_ops *engine_select(
	const char *name, char *why, size_t why_size, struct error *err)
{
	if (why_size > 0)
		why[0] = '\0';
	if (!strcmp(name, "auto"))
		return engine_choose(why, why_size, err);
	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		if (strcmp(name, engines[i]->name) != 0)
			continue;
		return engines[i]->probe(err) == 0 ? engines[i] : NULL;
	}
	error_set(err, EXIT_CODE_USAGE,
		"there is no engine \"%s\": give --engine auto, kvm or soft", name);
	return NULL;
}
