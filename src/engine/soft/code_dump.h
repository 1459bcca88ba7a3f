/*
 * `atoll run --dump-code`: translated code beside the guest's, as assembly where Atoll was built
 * with a disassembler (Zydis), else as bytes.
 */
#ifndef ENGINE_SOFT_CODE_DUMP_H
#define ENGINE_SOFT_CODE_DUMP_H

#include <stdio.h>

struct translator;
struct translation;

/*
 * Writes a new translation, whose decoded block is still there. Any thread; not while the guest's
 * vector registers are live.
 */
void code_dump(
	FILE *out, const struct translator *translator, const struct translation *translation);

#endif
