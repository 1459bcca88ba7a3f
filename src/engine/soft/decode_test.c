/*
 * The decoder against Zydis over all opcodes, the installed system's programs, and random bytes.
 * ATOLL_TEST_FULL: every ModRM byte with every prefix, and all of the installed system.
 * ATOLL_TEST_SEED: other random choices.
 */
#include "engine/soft/decode_oracle.h"
#include "engine/soft/isa_assemble.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct comparison {
	struct decode_oracle oracle;
	uint64_t seed;
	bool full;
	unsigned long nr_cases;
};

static void start(struct comparison *c)
{
	const char *seed = getenv("ATOLL_TEST_SEED");

	decode_oracle_init(&c->oracle);
	c->seed = seed ? strtoull(seed, NULL, 0) | 1 : 1;
	c->full = getenv("ATOLL_TEST_FULL") != NULL;
	c->nr_cases = 0;
}

static void compare_failed(const struct comparison *c, const uint8_t *bytes, unsigned size)
{
	char text[3 * 16 + 1] = "";

	for (unsigned i = 0; i < size && i < 16; i++)
		snprintf(text + 3 * i, 4, " %02x", bytes[i]);
	fail_msg("seed %llu:%s: %s", (unsigned long long)c->seed, text, c->oracle.why);
}

/* Returns the length, or 1 if it is no instruction. */
static unsigned compare(
	struct comparison *c, const uint8_t *bytes, unsigned size, enum insn_mode mode)
{
	struct insn insn;

	c->nr_cases++;
	if (!decode_oracle_agrees(&c->oracle, bytes, size, mode, &insn))
		compare_failed(c, bytes, size);
	return insn.exec ? insn.length : 1;
}

static void finish(const struct comparison *c, unsigned long minimum)
{
	print_message("%lu cases\n", c->nr_cases);
	assert_true(c->nr_cases >= minimum);
}

/* --- Fields ---------------------------------------------------------------------------------- */

static enum insn_error decode_64(struct insn *insn, const char *bytes, unsigned size)
{
	return insn_decode(insn, (const uint8_t *)bytes, size, INSN_MODE_64, NULL);
}

static void test_fields(void **state)
{
	struct insn insn;
	char name[16];

	(void)state;
	/* lock add dword [r12 + r9*4 - 0x80], 0xffffffff */
	assert_int_equal(decode_64(&insn, "\xf0\x43\x83\x44\x8c\x80\xff", 7), INSN_OK);
	assert_int_equal(insn.length, 7);
	assert_string_equal(insn_mnemonic(&insn, name, sizeof(name)), "add");
	assert_int_equal(insn.base, X86_R12);
	assert_int_equal(insn.index, X86_R9);
	assert_int_equal(insn.scale, 2);
	assert_int_equal(insn.disp, -0x80);
	assert_int_equal(insn.imm, UINT64_MAX);
	assert_int_equal(insn.segment, X86_DS);
	assert_int_equal(insn.operand_bytes, 4);
	assert_int_equal(insn.memory_bytes, 4);
	assert_int_equal(insn.prefixes, PREFIX_LOCK | PREFIX_REX);
	assert_int_equal(insn.opcode_at, 2);
	assert_int_equal(insn.modrm_at, 3);
	/* mov ah, dh */
	assert_int_equal(decode_64(&insn, "\x88\xf4", 2), INSN_OK);
	assert_int_equal(insn.reg, INSN_HIGH_BYTE + X86_RDX);
	assert_int_equal(insn.rm, INSN_HIGH_BYTE + X86_RAX);
	/* rep movsq, by segment FS */
	assert_int_equal(decode_64(&insn, "\xf3\x64\x48\xa5", 4), INSN_OK);
	assert_string_equal(insn_mnemonic(&insn, name, sizeof(name)), "movsq");
	assert_int_equal(insn.segment, X86_FS);
	assert_true(insn.prefixes & PREFIX_REP);
	/* popcnt: F3 is not a repeat prefix */
	assert_int_equal(decode_64(&insn, "\xf3\x0f\xb8\xc1", 4), INSN_OK);
	assert_false(insn.prefixes & PREFIX_REP);
}

static void test_limits(void **state)
{
	static const char nops[] =
		"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90";
	struct insn insn;

	(void)state;
	assert_int_equal(decode_64(&insn, nops + 1, 15), INSN_OK);
	assert_int_equal(decode_64(&insn, nops, 16), INSN_TOO_LONG);
	assert_int_equal(decode_64(&insn, nops + 2, 13), INSN_TRUNCATED);
	assert_int_equal(decode_64(&insn, "\xf0\x90", 2), INSN_INVALID);
}

/* LZCNT without ABM is BSR (SDM 2A, LZCNT); POPCNT without its bit is #UD. */
static void test_features(void **state)
{
	struct insn_features none = { 0 };
	struct insn insn;

	(void)state;
	assert_int_equal(
		insn_decode(&insn, (const uint8_t *)"\xf3\x0f\xbd\xc1", 4, INSN_MODE_32, &none),
		INSN_OK);
	assert_string_equal(insn_row(&insn)->mnemonic, "bsr");
	assert_int_equal(
		insn_decode(&insn, (const uint8_t *)"\xf3\x0f\xb8\xc1", 4, INSN_MODE_32, &none),
		INSN_INVALID);
}

/* --- Rows ------------------------------------------------------------------------------------ */

/* Rows of which another takes a part: hints of the NOP space, and XCHG of rAX with itself. */
static bool is_shadowed(const struct isa_row *row, const struct isa_row *by)
{
	if (strcmp(row->mnemonic, "nop") == 0)
		return by->exec[0] == row->exec[0];
	return strcmp(row->mnemonic, "xchg") == 0 && strcmp(by->mnemonic, "nop") == 0;
}

static void compare_row(struct comparison *c, const struct isa_row *row, enum insn_mode mode)
{
	uint8_t bytes[INSN_MAX_LENGTH];
	struct isa_form form;
	struct insn insn;
	unsigned length;

	isa_form_random(row, mode, &c->seed, &form);
	if (row->rm_kind == ISA_VSIB) {
		form.reg = 1;
		form.index = 2;
		form.vvvv = 3;
	}
	form.disp = (int32_t)(isa_random(&c->seed) >> 32);
	length = isa_assemble(row, &form, bytes);
	if (length == 0)
		return;
	c->nr_cases++;
	if (!decode_oracle_agrees_on_row(&c->oracle, bytes, length, mode))
		compare_failed(c, bytes, length);
	assert_int_equal(insn_decode(&insn, bytes, length, mode, NULL), INSN_OK);
	assert_int_equal(insn.length, length);
	if (insn_row(&insn) != row && !is_shadowed(row, insn_row(&insn)))
		fail_msg("%s %s decodes as %s", row->mnemonic, row->syntax,
			insn_row(&insn)->mnemonic);
	for (unsigned size = 0; size < length; size++)
		assert_int_equal(insn_decode(&insn, bytes, size, mode, NULL), INSN_TRUNCATED);
	assert_int_equal(insn_decode(&insn, bytes, length, mode, NULL), INSN_OK);
	if (row->memory_size == ISA_SIZE_V && insn.has_memory)
		assert_int_equal(insn.memory_bytes, insn.operand_bytes);
}

/* Every row, assembled from random choices, decodes to itself, and means what Zydis says. */
static void test_rows(void **state)
{
	struct comparison c;

	(void)state;
	start(&c);
	for (unsigned i = 0; i < 300 * isa_nr_rows; i++)
		compare_row(&c, &isa_rows[i % isa_nr_rows], (isa_random(&c.seed) >> 32) % 3);
	finish(&c, 300000);
}

/* --- All opcodes ----------------------------------------------------------------------------- */

/* Fills the rest with random bytes. */
static void compare_start(
	struct comparison *c, uint8_t *bytes, unsigned length, enum insn_mode mode)
{
	uint64_t tail[2] = { isa_random(&c->seed), isa_random(&c->seed) };

	memcpy(bytes + length, tail, 16 - length);
	compare(c, bytes, 16, mode);
}

/* All ModRM bytes, or about one in seven. */
static unsigned next_modrm(struct comparison *c, bool all, unsigned modrm)
{
	return modrm + (all || c->full ? 1 : 1 + (isa_random(&c->seed) >> 32) % 13);
}

static void compare_map(
	struct comparison *c, const char *prefixes, unsigned map, enum insn_mode mode, bool all)
{
	static const char escapes[][3] = { "", "\x0f", "\x0f\x38", "\x0f\x3a" };
	unsigned length = strlen(prefixes) + strlen(escapes[map]);
	uint8_t bytes[16];

	memcpy(bytes, prefixes, strlen(prefixes));
	memcpy(bytes + strlen(prefixes), escapes[map], strlen(escapes[map]));
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		for (unsigned modrm = 0; modrm < 256; modrm = next_modrm(c, all, modrm)) {
			bytes[length] = opcode;
			bytes[length + 1] = modrm;
			compare_start(c, bytes, length + 2, mode);
		}
	}
}

static void test_legacy_opcodes(void **state)
{
	static const char *const prefixes[] = { "", "\x66", "\xf2", "\xf3", "\x66\xf2", "\xf3\x66",
		"\xf2\xf3", "\x67", "\xf0", "\xf0\xf2", "\x2e", "\x64", "\x65\x66", "\x66\x67" };
	static const char *const rex[] = { "\x40", "\x41", "\x42", "\x44", "\x48", "\x4f",
		"\x66\x45", "\xf3\x4d", "\xf2\x48", "\x66\x48", "\xf0\x48", "\x67\x41",
		"\x48\x66" };
	struct comparison c;

	(void)state;
	start(&c);
	for (enum insn_mode mode = INSN_MODE_16; mode <= INSN_MODE_64; mode++) {
		for (unsigned map = 0; map < 4; map++) {
			for (unsigned i = 0; i < ARRAY_SIZE(prefixes); i++)
				compare_map(&c, prefixes[i], map, mode, i < 4);
			for (unsigned i = 0; i < ARRAY_SIZE(rex) && mode == INSN_MODE_64; i++)
				compare_map(&c, rex[i], map, mode, false);
		}
	}
	finish(&c, 4000000);
}

/* One of C4 (with `low` and `high`) and C5. */
static void compare_vex(struct comparison *c, uint8_t low, uint8_t high, enum insn_mode mode)
{
	bool two_bytes = (low & 0x7f) == 0x61 && !(high & 0x80);
	uint8_t bytes[16] = { 0xc4, low, high };
	unsigned length = 3;

	if (two_bytes) {
		bytes[0] = 0xc5;
		bytes[1] = (low & 0x80) | high;
		length = 2;
	}
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		for (unsigned modrm = 0; modrm < 256; modrm = next_modrm(c, false, modrm)) {
			bytes[length] = opcode;
			bytes[length + 1] = modrm;
			compare_start(c, bytes, length + 2, mode);
		}
	}
}

/* W, vvvv, L and pp; R, X, B and map (0 and 4 are none); vvvv 1111 as often as all others. */
static void test_vex_opcodes(void **state)
{
	struct comparison c;

	(void)state;
	start(&c);
	for (enum insn_mode mode = INSN_MODE_16; mode <= INSN_MODE_64; mode++) {
		for (unsigned map = 0; map < 5; map++) {
			for (unsigned w_l_pp = 0; w_l_pp < 16; w_l_pp++) {
				uint8_t high = (w_l_pp & 8) << 4 | (w_l_pp & 7);
				unsigned random = isa_random(&c.seed) >> 32;

				compare_vex(&c, 0xe0 | map, high | 0x78, mode);
				compare_vex(&c, (random & 0xe0) | map, high | (random >> 5 & 0x78),
					mode);
			}
		}
	}
	finish(&c, 1000000);
}

static void test_random(void **state)
{
	struct comparison c;

	(void)state;
	start(&c);
	for (unsigned i = 0; i < 2000000; i++) {
		uint64_t words[2] = { isa_random(&c.seed), isa_random(&c.seed) };
		uint64_t choice = isa_random(&c.seed) >> 32;
		unsigned size = choice & 0x100 ? choice >> 10 & 15 : 16;

		compare(&c, (const uint8_t *)words, size, choice % 3);
	}
	finish(&c, 2000000);
}

/* --- Installed programs ---------------------------------------------------------------------- */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static bool out_of_time(const struct comparison *c, double until)
{
	return !c->full && seconds() > until;
}

/* A linear sweep; a program bounded in time starts somewhere within. */
static void compare_section(
	struct comparison *c, const uint8_t *code, size_t size, enum insn_mode mode, double until)
{
	size_t at = c->full || size < 100000 ? 0 : isa_random(&c->seed) % (size - 50000);
	size_t end = c->full || size - at < 100000 ? size : at + 100000;

	while (at < end && !out_of_time(c, until))
		at += compare(c, code + at, end - at < 16 ? end - at : 16, mode);
}

static void compare_elf64(struct comparison *c, const uint8_t *file, size_t size, double until)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)file;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(file + header->e_shoff);

	if (header->e_machine != EM_X86_64 || header->e_shoff > size ||
		header->e_shnum * sizeof(*sections) > size - header->e_shoff)
		return;
	for (unsigned i = 0; i < header->e_shnum; i++) {
		const Elf64_Shdr *section = &sections[i];

		if (!(section->sh_flags & SHF_EXECINSTR) || section->sh_type != SHT_PROGBITS ||
			section->sh_offset > size || section->sh_size > size - section->sh_offset)
			continue;
		compare_section(
			c, file + section->sh_offset, section->sh_size, INSN_MODE_64, until);
	}
}

static void compare_file(struct comparison *c, const char *path, double until)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;
	void *file;

	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
		status.st_size > (off_t)sizeof(Elf64_Ehdr)) {
		file = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (file != MAP_FAILED) {
			if (memcmp(file, ELFMAG "\2", SELFMAG + 1) == 0)
				compare_elf64(c, file, status.st_size, until);
			munmap(file, status.st_size);
		}
	}
	close(fd);
}

static void compare_directory(struct comparison *c, const char *path, double until)
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	while (directory && (entry = readdir(directory)) && !out_of_time(c, until)) {
		char name[PATH_MAX];

		if (!c->full && isa_random(&c->seed) >> 61 != 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		compare_file(c, name, until);
	}
	if (directory)
		closedir(directory);
}

static void test_installed_programs(void **state)
{
	static const char *const directories[] = { "/usr/lib/x86_64-linux-gnu", "/usr/bin",
		"/usr/sbin", "/usr/lib" };
	struct comparison c;

	(void)state;
	start(&c);
	for (unsigned i = 0; i < ARRAY_SIZE(directories); i++)
		compare_directory(&c, directories[i], seconds() + 2.5);
	finish(&c, 500000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_legacy_opcodes),
		cmocka_unit_test(test_vex_opcodes),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_installed_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
