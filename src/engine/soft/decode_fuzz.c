/*
 * Fuzzes the decoder against Zydis: the first byte is the mode, the rest code.
 */
#include "engine/soft/decode_oracle.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct decode_oracle oracle;
	static bool initialised;
	struct insn insn;

	if (!initialised)
		decode_oracle_init(&oracle);
	initialised = true;
	if (size < 2)
		return -1;
	if (!decode_oracle_agrees(&oracle, data + 1, size - 1, data[0] % 3, &insn)) {
		fprintf(stderr, "%s\n", oracle.why);
		abort();
	}
	return 0;
}
