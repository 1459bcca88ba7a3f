#include "engine/soft/code_dump.h"

#include "engine/soft/translator.h"
#include "engine/soft/vcpu.h"

#include <inttypes.h>

#ifdef HAVE_ZYDIS
#include <Zydis/Zydis.h>

/* Prints the instruction at `bytes`; returns its length, 0 if it cannot be read. */
static unsigned print_insn(
	FILE *out, enum insn_mode mode, uint64_t address, const uint8_t *bytes, size_t size)
{
	static const ZydisMachineMode modes[] = {
		[INSN_MODE_16] = ZYDIS_MACHINE_MODE_LEGACY_16,
		[INSN_MODE_32] = ZYDIS_MACHINE_MODE_LEGACY_32,
		[INSN_MODE_64] = ZYDIS_MACHINE_MODE_LONG_64,
	};
	ZydisDisassembledInstruction insn;

	if (!ZYAN_SUCCESS(ZydisDisassembleIntel(modes[mode], address, bytes, size, &insn)))
		return 0;
	fputs(insn.text, out);
	return insn.info.length;
}
#else
static unsigned print_insn(
	FILE *out, enum insn_mode mode, uint64_t address, const uint8_t *bytes, size_t size)
{
	(void)out;
	(void)mode;
	(void)address;
	(void)bytes;
	(void)size;
	return 0;
}
#endif

static void print_bytes(FILE *out, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fprintf(out, i ? " %02x" : "%02x", bytes[i]);
}

/* Does an instruction's code begin at `offset`? */
static bool begins_at(
	const struct translator *translator, const struct translation *translation, unsigned offset)
{
	for (unsigned n = 0; n < translation->nr_insns; n++)
		if (translator->sites[translation->sites + n].host == offset)
			return true;
	return false;
}

static void dump_guest(FILE *out, const struct translator *translator,
	const struct translation *translation, unsigned n)
{
	const struct insn *insn = translation_insn(translator->vcpu, translation, n);
	gva_t address = translation_address(translator, translation, n);

	fprintf(out, "%016" PRIx64 "  ", address);
	if (!print_insn(out, (enum insn_mode)translation_mode(translator, translation)->insn,
		    address, insn->bytes, insn->length))
		print_bytes(out, insn->bytes, insn->length);
	fputc('\n', out);
}

/* One host instruction, or bytes up to the next guest instruction; returns how many. */
static unsigned dump_host(FILE *out, const struct translator *translator,
	const struct translation *translation, unsigned offset)
{
	const uint8_t *code = translator->executable + translation->code;
	unsigned length;

	fprintf(out, "    +%04x  ", offset);
	length = print_insn(out, INSN_MODE_64, (uintptr_t)code + offset, code + offset,
		translation->code_size - offset);
	if (!length) {
		do
			length++;
		while (length < 16 && offset + length < translation->code_size &&
			!begins_at(translator, translation, offset + length));
		print_bytes(out, code + offset, length);
	}
	fputc('\n', out);
	return length;
}

static const char *entry_name(const struct translation *translation, unsigned offset)
{
	if (offset == translation->guard)
		return "guard";
	if (offset == translation->poll)
		return "poll";
	if (offset == translation->memory)
		return "memory";
	if (offset == translation->body)
		return "body";
	return NULL;
}

void code_dump(
	FILE *out, const struct translator *translator, const struct translation *translation)
{
	unsigned offset = 0;

	flockfile(out);
	fprintf(out,
		"\nblock %016" PRIx64 " physical %" PRIx64 " vcpu %u: %u instructions, %u bytes "
		"at %p\n",
		translation->rip, translation_block(translator->vcpu, translation, 0)->physical,
		translator->vcpu->index, translation->nr_insns, translation->code_size,
		(const void *)(translator->executable + translation->code));
	while (offset < translation->code_size) {
		const char *entry = entry_name(translation, offset);

		if (entry)
			fprintf(out, "  %s:\n", entry);
		/* Several, if all but the last come to nothing or are done by the first. */
		for (unsigned n = 0; n < translation->nr_insns; n++)
			if (translator->sites[translation->sites + n].host == offset)
				dump_guest(out, translator, translation, n);
		offset += dump_host(out, translator, translation, offset);
	}
	funlockfile(out);
}
