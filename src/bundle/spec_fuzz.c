/*
 * Fuzz target: arbitrary bytes as vm.yaml. What is accepted must keep to its bounds, and a second
 * reading of what is written from it must give the same entries.
 */
#include "bundle/spec.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static unsigned count_key(const struct spec *spec, const char *key)
{
	unsigned count = 0;

	for (unsigned i = 0; i < spec->nr_entries; i++)
		count += strcmp(spec->entries[i].key, key) == 0;
	return count;
}

static void write_and_read_again(const struct spec *spec)
{
	static int dir_fd = -1;
	struct spec again;

	if (dir_fd < 0) {
		char path[] = "/tmp/spec_fuzz.XXXXXX";

		if (!mkdtemp(path))
			abort();
		dir_fd = open(path, O_RDONLY | O_DIRECTORY);
	}
	if (spec_write(spec, dir_fd, "vm.yaml", NULL))
		return;
	if (spec_read(&again, dir_fd, "vm.yaml", NULL))
		return; /* quoting made it too large */
	for (unsigned i = 0; i < spec->nr_entries; i++)
		if (count_key(spec, spec->entries[i].key) !=
			count_key(&again, spec->entries[i].key))
			abort();
	spec_finish(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct error err = { 0 };
	struct spec spec;

	if (spec_parse(&spec, (const char *)bytes, size, "vm.yaml", &err)) {
		if (!err.exit_code || strncmp(err.text, "vm.yaml", 7) != 0 || spec.nr_entries)
			abort();
		return 0;
	}
	if (spec.nr_entries > SPEC_MAX_ENTRIES)
		abort();
	for (unsigned i = 0; i < spec.nr_entries; i++)
		if (!spec.entries[i].line || !*spec.entries[i].key)
			abort();
	if (size < 512)
		write_and_read_again(&spec);
	spec_finish(&spec);
	return 0;
}
