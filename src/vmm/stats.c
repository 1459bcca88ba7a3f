#include "vmm/stats.h"

#define MAX_COUNTERS 128

static void print_key(FILE *out, const char *name)
{
	bool joined = false;

	for (; *name; name++) {
		bool is_word = *name != ' ' && *name != ',';

		if (is_word && joined)
			fputc('_', out);
		if (is_word)
			fputc(*name >= 'A' && *name <= 'Z' ? *name + 'a' - 'A' : *name, out);
		joined = !is_word;
	}
}

static void print_json(FILE *out, const struct engine_counter *counters, unsigned count)
{
	fputc('{', out);
	for (unsigned i = 0; i < count; i++) {
		fprintf(out, "%s\"", i ? ", " : "");
		print_key(out, counters[i].name);
		fprintf(out, "\": %llu", (unsigned long long)counters[i].value);
	}
	fprintf(out, "}\n");
}

void stats_print(FILE *out, struct engine *engine, bool as_json)
{
	struct engine_counter counters[MAX_COUNTERS];
	unsigned count = 0;

	if (engine->ops->counters)
		count = engine->ops->counters(engine, counters, MAX_COUNTERS);
	if (count > MAX_COUNTERS)
		count = MAX_COUNTERS;
	if (as_json) {
		print_json(out, counters, count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		fprintf(out, "%-40s%14llu  %s\n", counters[i].name,
			(unsigned long long)counters[i].value, counters[i].meaning);
}
