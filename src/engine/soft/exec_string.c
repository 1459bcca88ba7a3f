/*
 * MOVS, STOS, LODS, SCAS, CMPS, repeated or not (SDM 2; SDM 1 7.3.9).
 *
 * A repeated instruction executes for some time (STRING_BUDGET) and then asks to be called again,
 * so that interrupts get in between. Iterations whose operands are plain RAM run as one host
 * instruction up to the end of a page or segment, descending ones of MOVS and STOS, too (Linux
 * moves itself so when it starts); everything else goes element by element.
 * RCX, RSI and RDI are up to date whenever something may raise.
 */
#include "engine/soft/debug.h"
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

/* A call does so many elements one by one, or for each so many bytes by the host's instruction:
 * some tens of microseconds either way. */
#define STRING_BUDGET 4096
#define BYTES_FOR_ONE 32

/* A string operand: where its next element is. */
struct string {
	unsigned segment;
	unsigned index; /* X86_RSI or X86_RDI */
	gva_t address;
	void *host;    /* of the first element, if `run` */
	uint64_t run;  /* elements that can be accessed from `host` on; 0: use the MMU */
	bool descends; /* a run may, with RFLAGS.DF */
};

/* What SCAS and CMPS found. The flags reach the vCPU only when nothing raises any more: a fault
 * restores those from before the instruction. */
struct comparison {
	uint32_t flags; /* an image, see flags.h */
	bool stop;
};

/* Executes between 1 and `max` iterations and returns how many. */
typedef uint64_t string_step(
	struct vcpu *vcpu, const struct insn *insn, uint64_t max, struct comparison *comparison);

static uint64_t bytes_to_page_end(gva_t address)
{
	return GUEST_PAGE_SIZE - (address & (GUEST_PAGE_SIZE - 1));
}

/* How many bytes from `offset` on lie in the segment without wrapping, given that one element does;
 * may say less. */
static uint64_t bytes_in_segment(
	const struct vcpu *vcpu, const struct insn *insn, unsigned segment, uint64_t offset)
{
	const struct cpu_segment *s = &vcpu->segment[segment];
	uint64_t last = byte_mask(insn->address_bytes);

	if (vcpu->mode.insn != INSN_MODE_64) {
		bool code = s->attributes & SEG_TYPE_CODE;

		if (!code && (s->attributes & SEG_TYPE_EXPAND_DOWN))
			return 0;
		if (s->limit < last)
			last = s->limit;
	}
	return last - offset < GUEST_PAGE_SIZE ? last - offset + 1 : GUEST_PAGE_SIZE;
}

/* How many bytes below the end of the element at `offset` lie in the segment; likewise. */
static uint64_t bytes_below(
	const struct vcpu *vcpu, const struct insn *insn, unsigned segment, uint64_t offset)
{
	uint32_t attributes = vcpu->segment[segment].attributes;

	if (vcpu->mode.insn != INSN_MODE_64 && !(attributes & SEG_TYPE_CODE) &&
		attributes & SEG_TYPE_EXPAND_DOWN)
		return 0;
	return offset < GUEST_PAGE_SIZE ? offset + insn->operand_bytes : GUEST_PAGE_SIZE;
}

/* The run that ends with the element at the operand's address, in memory. */
static void find_descending(struct vcpu *vcpu, const struct insn *insn, struct string *string,
	enum mmu_access access, uint64_t offset, uint64_t max)
{
	unsigned size = insn->operand_bytes;
	uint64_t bytes = bytes_below(vcpu, insn, string->segment, offset);
	uint64_t in_page = (string->address & (GUEST_PAGE_SIZE - 1)) + size;
	uint64_t n;

	if (in_page > GUEST_PAGE_SIZE)
		return;
	n = (bytes < in_page ? bytes : in_page) / size;
	/* A fault is the first element's, and all are in its page. */
	string->host = mmu_pointer(vcpu, string->address, size, access);
	if (string->host)
		string->run = n < max ? n : max;
}

/* Finds the operand's next element, raising what its access raises, and how far it extends. */
static void string_operand(struct vcpu *vcpu, const struct insn *insn, struct string *string,
	enum mmu_access access, uint64_t max)
{
	unsigned size = insn->operand_bytes;
	uint64_t offset = vcpu->gpr[string->index] & byte_mask(insn->address_bytes);
	uint64_t bytes;

	string->address = segment_linear(vcpu, string->segment, offset, size, access);
	string->run = 0;
	if (max == 1)
		return;
	if (vcpu->flags_system & RFLAGS_DF) {
		if (string->descends)
			find_descending(vcpu, insn, string, access, offset, max);
		return;
	}
	bytes = bytes_in_segment(vcpu, insn, string->segment, offset);
	if (bytes > bytes_to_page_end(string->address))
		bytes = bytes_to_page_end(string->address);
	if (bytes / size > max)
		bytes = max * size;
	if (bytes < size)
		return;
	string->host = mmu_pointer(vcpu, string->address, bytes - bytes % size, access);
	if (string->host)
		string->run = bytes / size;
}

static void string_advance(struct vcpu *vcpu, const struct insn *insn, unsigned index, uint64_t n)
{
	uint64_t distance = n * insn->operand_bytes;

	if (vcpu->flags_system & RFLAGS_DF)
		distance = -distance;
	gpr_write(vcpu, index, insn->address_bytes, vcpu->gpr[index] + distance);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A debug trap may follow each iteration (SDM 3B 18.3). */
static bool is_traced(const struct vcpu *vcpu)
{
	return vcpu->flags_system & RFLAGS_TF || vcpu->dr7 & DR7_ENABLES;
}

static void repeat(struct vcpu *vcpu, const struct insn *insn, string_step *step)
{
	uint64_t count = vcpu->gpr[X86_RCX] & byte_mask(insn->address_bytes);
	uint64_t most = is_traced(vcpu) ? 1 : UINT64_MAX, budget = most == 1 ? 1 : STRING_BUDGET;
	struct comparison comparison = { .flags = flags_image(vcpu) };

	if (!(insn->prefixes & (PREFIX_REP | PREFIX_REPNE))) {
		step(vcpu, insn, 1, &comparison);
		flags_set_image(vcpu, comparison.flags);
		return;
	}
	while (count && budget && !comparison.stop) {
		uint64_t n = step(vcpu, insn, min_u64(count, most), &comparison);

		count -= n;
		budget -= min_u64(budget, 1 + (n - 1) * insn->operand_bytes / BYTES_FOR_ONE);
		gpr_write(vcpu, X86_RCX, insn->address_bytes, count);
	}
	flags_set_image(vcpu, comparison.flags);
	if (count && !comparison.stop)
		string_goes_on(vcpu);
}

/* The host's DF is the guest's meanwhile. */
#define MOVE(instruction)                                                                          \
	asm volatile(instruction : "+S"(from->host), "+D"(to->host), "+c"(n) : : "memory")
#define MOVE_BY_SIZE(before, after)                                                                \
	switch (size) {                                                                            \
	case 1: MOVE(before "rep movsb" after); break;                                             \
	case 2: MOVE(before "rep movsw" after); break;                                             \
	case 4: MOVE(before "rep movsl" after); break;                                             \
	default: MOVE(before "rep movsq" after);                                                   \
	}
#define STORE(instruction)                                                                         \
	asm volatile(instruction : "+D"(to->host), "+c"(n) : "a"(value) : "memory")
#define STORE_BY_SIZE(before, after)                                                               \
	switch (size) {                                                                            \
	case 1: STORE(before "rep stosb" after); break;                                            \
	case 2: STORE(before "rep stosw" after); break;                                            \
	case 4: STORE(before "rep stosl" after); break;                                            \
	default: STORE(before "rep stosq" after);                                                  \
	}

static void move_run(struct string *from, struct string *to, unsigned size, uint64_t n, bool down)
{
	if (down)
		MOVE_BY_SIZE("std; ", "; cld")
	else
		MOVE_BY_SIZE("", "")
}

static void store_run(struct string *to, uint64_t value, unsigned size, uint64_t n, bool down)
{
	if (down)
		STORE_BY_SIZE("std; ", "; cld")
	else
		STORE_BY_SIZE("", "")
}

static uint64_t movs_step(
	struct vcpu *vcpu, const struct insn *insn, uint64_t max, struct comparison *comparison)
{
	struct string from = { .segment = insn->segment, .index = X86_RSI, .descends = true };
	struct string to = { .segment = X86_ES, .index = X86_RDI, .descends = true };
	unsigned size = insn->operand_bytes;
	uint64_t value, n = 1;

	(void)comparison;
	string_operand(vcpu, insn, &from, MMU_READ, max);
	if (from.run) {
		string_operand(vcpu, insn, &to, MMU_WRITE, from.run);
		n = min_u64(from.run, to.run);
	}
	if (from.run && to.run) {
		move_run(&from, &to, size, n, vcpu->flags_system & RFLAGS_DF);
	} else {
		n = 1;
		value = mmu_read_sized(vcpu, from.address, size);
		string_operand(vcpu, insn, &to, MMU_WRITE, 1);
		mmu_write_sized(vcpu, to.address, size, value);
	}
	string_advance(vcpu, insn, X86_RSI, n);
	string_advance(vcpu, insn, X86_RDI, n);
	return n;
}

static uint64_t stos_step(
	struct vcpu *vcpu, const struct insn *insn, uint64_t max, struct comparison *comparison)
{
	struct string to = { .segment = X86_ES, .index = X86_RDI, .descends = true };
	uint64_t value = vcpu->gpr[X86_RAX], n = 1;
	unsigned size = insn->operand_bytes;

	(void)comparison;
	string_operand(vcpu, insn, &to, MMU_WRITE, max);
	if (to.run) {
		n = to.run;
		store_run(&to, value, size, n, vcpu->flags_system & RFLAGS_DF);
	} else {
		mmu_write_sized(vcpu, to.address, size, value);
	}
	string_advance(vcpu, insn, X86_RDI, n);
	return n;
}

/* Of a run in RAM only the last element matters. */
static uint64_t lods_step(
	struct vcpu *vcpu, const struct insn *insn, uint64_t max, struct comparison *comparison)
{
	struct string from = { .segment = insn->segment, .index = X86_RSI };
	unsigned size = insn->operand_bytes;
	uint64_t n;

	(void)comparison;
	string_operand(vcpu, insn, &from, MMU_READ, max);
	n = from.run ? from.run : 1;
	gpr_write(vcpu, X86_RAX, size, mmu_read_sized(vcpu, from.address + (n - 1) * size, size));
	string_advance(vcpu, insn, X86_RSI, n);
	return n;
}

#define SCAN(instruction)                                                                          \
	asm volatile(instruction FLAGS_SAVE : "+a"(image), "+D"(host), "+c"(left) : : "memory")
#define SCAN_BY_SIZE(prefix)                                                                       \
	switch (size) {                                                                            \
	case 1: SCAN(prefix "scasb"); break;                                                       \
	case 2: SCAN(prefix "scasw"); break;                                                       \
	case 4: SCAN(prefix "scasl"); break;                                                       \
	default: SCAN(prefix "scasq");                                                             \
	}
#define COMPARE(instruction)                                                                       \
	asm volatile(instruction FLAGS_SAVE                                                        \
		     : "=a"(image), "+S"(from), "+D"(host), "+c"(left)                             \
		     :                                                                             \
		     : "memory")
#define COMPARE_BY_SIZE(prefix)                                                                    \
	switch (size) {                                                                            \
	case 1: COMPARE(prefix "cmpsb"); break;                                                    \
	case 2: COMPARE(prefix "cmpsw"); break;                                                    \
	case 4: COMPARE(prefix "cmpsl"); break;                                                    \
	default: COMPARE(prefix "cmpsq");                                                          \
	}

/* Scans up to `n` > 0 elements at `host`, as the prefix says, and returns how many there were. REPE
 * stops at the first difference, REPNE at the first match. */
static uint64_t host_scas(const struct vcpu *vcpu, const struct insn *insn, const void *host,
	uint64_t n, struct comparison *comparison)
{
	uint64_t image = vcpu->gpr[X86_RAX], left = n;
	bool until_equal = insn->prefixes & PREFIX_REPNE;
	unsigned size = insn->operand_bytes;

	if (until_equal)
		SCAN_BY_SIZE("repne ")
	else
		SCAN_BY_SIZE("repe ")
	comparison->flags = (uint32_t)image;
	comparison->stop = !(image >> 8 & FLAGS_ZF) != until_equal;
	return n - left;
}

static uint64_t host_cmps(const struct insn *insn, const void *from, const void *host, uint64_t n,
	struct comparison *comparison)
{
	bool until_equal = insn->prefixes & PREFIX_REPNE;
	unsigned size = insn->operand_bytes;
	uint64_t image, left = n;

	if (until_equal)
		COMPARE_BY_SIZE("repne ")
	else
		COMPARE_BY_SIZE("repe ")
	comparison->flags = (uint32_t)image;
	comparison->stop = !(image >> 8 & FLAGS_ZF) != until_equal;
	return n - left;
}

static uint64_t scas_step(
	struct vcpu *vcpu, const struct insn *insn, uint64_t max, struct comparison *comparison)
{
	struct string string = { .segment = X86_ES, .index = X86_RDI };
	uint64_t value, n;

	string_operand(vcpu, insn, &string, MMU_READ, max);
	if (string.run) {
		n = host_scas(vcpu, insn, string.host, string.run, comparison);
	} else {
		value = mmu_read_sized(vcpu, string.address, insn->operand_bytes);
		n = host_scas(vcpu, insn, &value, 1, comparison);
	}
	string_advance(vcpu, insn, X86_RDI, n);
	return n;
}

static uint64_t cmps_step(
	struct vcpu *vcpu, const struct insn *insn, uint64_t max, struct comparison *comparison)
{
	struct string a = { .segment = insn->segment, .index = X86_RSI };
	struct string b = { .segment = X86_ES, .index = X86_RDI };
	unsigned size = insn->operand_bytes;
	uint64_t a_value, b_value, n;

	string_operand(vcpu, insn, &a, MMU_READ, max);
	if (a.run)
		string_operand(vcpu, insn, &b, MMU_READ, a.run);
	if (a.run && b.run) {
		n = host_cmps(insn, a.host, b.host, min_u64(a.run, b.run), comparison);
	} else {
		a_value = mmu_read_sized(vcpu, a.address, size);
		string_operand(vcpu, insn, &b, MMU_READ, 1);
		b_value = mmu_read_sized(vcpu, b.address, size);
		n = host_cmps(insn, &a_value, &b_value, 1, comparison);
	}
	string_advance(vcpu, insn, X86_RSI, n);
	string_advance(vcpu, insn, X86_RDI, n);
	return n;
}

#define STRING(s)                                                                                  \
	EXEC(exec_movs_##s##_r)                                                                    \
	{                                                                                          \
		repeat(vcpu, insn, movs_step);                                                     \
	}                                                                                          \
	EXEC(exec_stos_##s##_r)                                                                    \
	{                                                                                          \
		repeat(vcpu, insn, stos_step);                                                     \
	}                                                                                          \
	EXEC(exec_lods_##s##_r)                                                                    \
	{                                                                                          \
		repeat(vcpu, insn, lods_step);                                                     \
	}                                                                                          \
	EXEC(exec_scas_##s##_r)                                                                    \
	{                                                                                          \
		repeat(vcpu, insn, scas_step);                                                     \
	}                                                                                          \
	EXEC(exec_cmps_##s##_r)                                                                    \
	{                                                                                          \
		repeat(vcpu, insn, cmps_step);                                                     \
	}
FOR_SIZES(STRING)
