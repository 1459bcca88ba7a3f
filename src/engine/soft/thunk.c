/*
 * Thunks (thunk.h): assembling them, and the cache that holds them.
 *
 * The instruction is encoded anew from its row: mandatory prefix, REX or VEX, opcode, ModRM,
 * immediates. RDI is the base of its memory operand; a general register named by ModRM.reg becomes
 * RAX and one named by ModRM.rm RCX; implied ones (RAX, RCX, RDX) are themselves. Bits that only
 * 64-bit mode has are ignored or forced to 0 where the guest is not in it, as SDM 2A 2.3.5 says.
 */
#include "engine/soft/thunk.h"

#include "engine/soft/flags.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define THUNK_MAX_BYTES 128

/* Host registers, by number. */
#define HOST_REG_OPERAND X86_RAX
#define HOST_RM_OPERAND  X86_RCX
#define HOST_MEMORY      X86_RDI
#define HOST_VCPU        X86_RSI

#define OPCODE_VZERO 0x77 /* VZEROUPPER, VZEROALL by VEX.L */

struct thunk_code {
	uint8_t bytes[THUNK_MAX_BYTES];
	unsigned length;
};

static void emit(struct thunk_code *code, uint8_t byte)
{
	code->bytes[code->length++] = byte;
}

static void emit_u32(struct thunk_code *code, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		emit(code, (uint8_t)(value >> (8 * i)));
}

/* ModRM and displacement of [vcpu + offset]. */
static void emit_vcpu_operand(struct thunk_code *code, unsigned reg, size_t offset)
{
	emit(code, 0x80 | reg << 3 | HOST_VCPU);
	emit_u32(code, (uint32_t)offset);
}

/* The second half of vcpu.gpr is reached by a displacement as well: no REX bit but W is needed. */
static void emit_gpr_move(struct thunk_code *code, bool load, unsigned host, unsigned guest)
{
	emit(code, 0x48);
	emit(code, load ? 0x8b : 0x89);
	emit_vcpu_operand(code, host, offsetof(struct vcpu, gpr) + 8 * guest);
}

_Static_assert(offsetof(struct vcpu, flags_low) == offsetof(struct vcpu, flags_of) + 1,
	"the flags are one word, AX after LAHF; SETO AL");

static void emit_flags_load(struct thunk_code *code)
{
	static const uint8_t from_ax[] = { 0x04, 0x7f, 0x9e }; /* add al, 0x7f; sahf */

	emit(code, 0x0f); /* movzx eax, word */
	emit(code, 0xb7);
	emit_vcpu_operand(code, X86_RAX, offsetof(struct vcpu, flags_of));
	for (unsigned i = 0; i < sizeof(from_ax); i++)
		emit(code, from_ax[i]);
}

static void emit_flags_store(struct thunk_code *code)
{
	static const uint8_t to_ax[] = { 0x9f, 0x0f, 0x90, 0xc0 }; /* lahf; seto al */

	for (unsigned i = 0; i < sizeof(to_ax); i++)
		emit(code, to_ax[i]);
	emit(code, 0x66); /* mov word */
	emit(code, 0x89);
	emit_vcpu_operand(code, X86_RAX, offsetof(struct vcpu, flags_of));
}

static bool is_64_bit_mode(const struct insn *insn)
{
	return insn->stack_bytes == 8;
}

static bool reg_is_gpr(const struct isa_row *row)
{
	return row->reg_kind == ISA_G;
}

static bool rm_is_gpr(const struct isa_row *row, const struct insn *insn)
{
	return !insn->has_memory && (row->rm_kind == ISA_E || row->rm_kind == ISA_R);
}

/* Moves between the guest's general registers and those the thunk uses for them. */
static void emit_gprs(struct thunk_code *code, const struct insn *insn, bool load)
{
	const struct isa_row *row = insn_row(insn);

	for (unsigned i = 0; i < ISA_MAX_OPERANDS && row->operand[i].kind != ISA_NONE; i++) {
		const struct isa_operand *operand = &row->operand[i];

		if (!load && !(operand->access & ISA_WRITE))
			continue;
		if (operand->kind == ISA_GPR && operand->reg <= X86_RDX)
			emit_gpr_move(code, load, operand->reg, operand->reg);
		else if (operand->kind == ISA_G)
			emit_gpr_move(code, load, HOST_REG_OPERAND, insn->reg);
		else if ((operand->kind == ISA_E || operand->kind == ISA_R) && !insn->has_memory)
			emit_gpr_move(code, load, HOST_RM_OPERAND, insn->rm);
	}
}

static const uint8_t *immediate_bytes(const struct insn *insn, unsigned *count)
{
	const struct isa_row *row = insn_row(insn);

	*count = (row->immediate[0] != ISA_SIZE_NONE) + (row->immediate[1] != ISA_SIZE_NONE);
	return insn->bytes + insn->length - *count;
}

static uint8_t mandatory_prefix(const struct isa_row *row)
{
	switch (row->encoding.prefix) {
	case ISA_PREFIX_66: return 0x66;
	case ISA_PREFIX_F3: return 0xf3;
	case ISA_PREFIX_F2: return 0xf2;
	default: return 0;
	}
}

/* R and B as REX has them; X never. */
static void host_extension(const struct insn *insn, bool *r, bool *b)
{
	const struct isa_row *row = insn_row(insn);
	bool reg_is_register = row->encoding.modrm == ISA_MODRM_REGISTER;

	*r = reg_is_register && !reg_is_gpr(row) && (insn->reg & 8);
	*b = !insn->has_memory && !rm_is_gpr(row, insn) &&
	     row->encoding.modrm != ISA_MODRM_ABSENT && row->encoding.modrm != ISA_MODRM_BYTE &&
	     (insn->rm & 8);
}

static void emit_legacy_opcode(struct thunk_code *code, const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	uint8_t prefix = mandatory_prefix(row);
	bool r, b, w = insn->prefixes & PREFIX_REX_W;

	if (prefix)
		emit(code, prefix);
	host_extension(insn, &r, &b);
	if (w || r || b)
		emit(code, 0x40 | w << 3 | r << 2 | b);
	if (row->encoding.map != ISA_MAP_1)
		emit(code, 0x0f);
	if (row->encoding.map == ISA_MAP_0F38)
		emit(code, 0x38);
	if (row->encoding.map == ISA_MAP_0F3A)
		emit(code, 0x3a);
	emit(code, insn->opcode);
}

static void emit_vex_opcode(struct thunk_code *code, const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	const uint8_t *opcode = insn->bytes + insn->opcode_at;
	bool three_bytes = insn->opcode_at >= 3 && opcode[-3] == 0xc4;
	uint8_t last = three_bytes ? opcode[-1] : opcode[-1] & ~0x80; /* W vvvv L pp */
	bool has_gpr = reg_is_gpr(row) || row->rm_kind == ISA_E || row->rm_kind == ISA_R;
	bool r, b;

	if (!is_64_bit_mode(insn)) {
		last |= 0x40;
		if (has_gpr)
			last &= ~0x80;
	}
	host_extension(insn, &r, &b);
	emit(code, 0xc4);
	emit(code, !r << 7 | 0x40 | !b << 5 | (row->encoding.map - ISA_MAP_VEX_0F + 1));
	emit(code, last);
	emit(code, insn->opcode);
}

static void emit_modrm(struct thunk_code *code, const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	uint8_t reg = insn->modrm >> 3 & 7, rm = insn->modrm & 7;

	if (row->encoding.modrm == ISA_MODRM_ABSENT)
		return;
	if (reg_is_gpr(row))
		reg = HOST_REG_OPERAND;
	if (insn->has_memory) {
		emit(code, reg << 3 | HOST_MEMORY);
		return;
	}
	if (rm_is_gpr(row, insn))
		rm = HOST_RM_OPERAND;
	emit(code, 0xc0 | reg << 3 | rm);
}

static void emit_immediates(struct thunk_code *code, const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	unsigned count;
	const uint8_t *bytes = immediate_bytes(insn, &count);
	bool is_register = false;

	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++)
		is_register |= row->operand[i].kind == ISA_L;
	for (unsigned i = 0; i < count; i++)
		emit(code, is_register && !is_64_bit_mode(insn) ? bytes[i] & 0x7f : bytes[i]);
}

/*
 * Outside 64-bit mode VZEROALL and VZEROUPPER leave registers 8 to 15 alone (SDM 2, VZEROALL):
 * VPXOR of each of the eight with itself, VMOVAPS from itself to itself.
 */
static void emit_vzero_of_eight(struct thunk_code *code, bool all)
{
	for (unsigned n = 0; n < 8; n++) {
		emit(code, 0xc5);
		emit(code, all ? (0x80 | (~n & 15) << 3 | 1) : 0xf8);
		emit(code, all ? 0xef : 0x28);
		emit(code, 0xc0 | n << 3 | n);
	}
}

static void emit_instruction(struct thunk_code *code, const struct insn *insn)
{
	bool vex = insn->prefixes & PREFIX_VEX;

	if (insn_row(insn)->encoding.map == ISA_MAP_VEX_0F && insn->opcode == OPCODE_VZERO &&
		!is_64_bit_mode(insn)) {
		emit_vzero_of_eight(code, insn->bytes[insn->opcode_at - 1] & 4);
		return;
	}
	if (vex)
		emit_vex_opcode(code, insn);
	else
		emit_legacy_opcode(code, insn);
	emit_modrm(code, insn);
	emit_immediates(code, insn);
}

static void thunk_assemble(struct thunk_code *code, const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);

	code->length = 0;
	if (row->flags_read | row->flags_written)
		emit_flags_load(code);
	emit_gprs(code, insn, true);
	emit_instruction(code, insn);
	emit_gprs(code, insn, false);
	if (row->flags_written)
		emit_flags_store(code);
	emit(code, 0xc3);
}

static uint32_t thunk_hash(const struct thunk_code *code)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (unsigned i = 0; i < code->length; i++)
		hash = (hash ^ code->bytes[i]) * UINT64_C(0x100000001b3);
	return (uint32_t)(hash ^ hash >> 32);
}

static void thunk_cache_flush(struct thunk_cache *cache)
{
	cache->used = 0;
	cache->count = 0;
	cache->generation++;
	if (cache->generation == 0)
		cache->generation = 1;
	cache->flushes++;
	for (unsigned i = 0; i < THUNK_SLOTS; i++)
		cache->slots[i] = (struct thunk_slot){ 0 };
}

static bool thunk_equal(const struct thunk_cache *cache, const struct thunk_slot *slot,
	const struct thunk_code *code)
{
	const uint8_t *bytes = cache->writable + (size_t)slot->grain * THUNK_GRAIN;

	if (slot->length != code->length)
		return false;
	for (unsigned i = 0; i < code->length; i++)
		if (bytes[i] != code->bytes[i])
			return false;
	return true;
}

/*
 * New code was written through another address than it runs at: a serialising instruction must come
 * between (SDM 3A 8.1.3). IRET to the next instruction is the cheapest that traps nowhere.
 */
void thunk_serialise(void)
{
	uint64_t cs, ss, scratch;

	__asm__ volatile("movl %%cs, %k0\n\t"
			 "movl %%ss, %k1"
			 : "=r"(cs), "=r"(ss));
	__asm__ volatile("movq %%rsp, %0\n\t"
			 "pushq %2\n\t"
			 "pushq %0\n\t"
			 "pushfq\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %0\n\t"
			 "pushq %0\n\t"
			 "iretq\n"
			 "1:"
			 : "=&r"(scratch)
			 : "r"(cs), "r"(ss)
			 : "cc", "memory");
}

static void thunk_add(struct thunk_cache *cache, struct thunk_slot *slot, uint32_t hash,
	const struct thunk_code *code)
{
	uint8_t *bytes = cache->writable + cache->used;

	for (unsigned i = 0; i < code->length; i++)
		bytes[i] = code->bytes[i];
	thunk_serialise();
	slot->hash = hash;
	slot->grain = (uint16_t)(cache->used / THUNK_GRAIN);
	slot->length = (uint16_t)code->length;
	cache->used += (uint32_t)align_up(code->length, THUNK_GRAIN);
	cache->count++;
}

/* The slot of such a thunk, or the free one where it belongs: the table is never full. */
static struct thunk_slot *thunk_find(
	struct thunk_cache *cache, uint32_t hash, const struct thunk_code *code)
{
	for (unsigned i = hash % THUNK_SLOTS;; i = (i + 1) % THUNK_SLOTS) {
		struct thunk_slot *slot = &cache->slots[i];

		if (slot->length == 0 || (slot->hash == hash && thunk_equal(cache, slot, code)))
			return slot;
	}
}

void thunk_bind(struct thunk_cache *cache, struct insn *insn)
{
	struct thunk_code code;
	struct thunk_slot *slot;
	uint32_t hash;

	thunk_assemble(&code, insn);
	hash = thunk_hash(&code);
	if (cache->used + THUNK_MAX_BYTES > THUNK_CODE_BYTES || cache->count == THUNK_MAX_COUNT)
		thunk_cache_flush(cache);
	slot = thunk_find(cache, hash, &code);
	if (slot->length == 0)
		thunk_add(cache, slot, hash, &code);
	insn->thunk = (uint32_t)slot->grain * THUNK_GRAIN;
	insn->thunk_generation = cache->generation;
}

int thunk_cache_create(struct thunk_cache **out)
{
	struct thunk_cache *cache = calloc(1, sizeof(*cache));
	int fd, ret = 0;

	if (!cache)
		return -ENOMEM;
	cache->generation = 1;
	cache->writable = MAP_FAILED;
	cache->executable = MAP_FAILED;
	fd = memfd_create("atoll-thunks", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, THUNK_CODE_BYTES) < 0) {
		ret = -errno;
		goto out;
	}
	cache->writable = mmap(NULL, THUNK_CODE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cache->executable = mmap(NULL, THUNK_CODE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (cache->writable == MAP_FAILED || cache->executable == MAP_FAILED)
		ret = -errno;
out:
	if (fd >= 0)
		close(fd);
	if (ret) {
		thunk_cache_destroy(cache);
		cache = NULL;
	}
	*out = cache;
	return ret;
}

void thunk_cache_destroy(struct thunk_cache *cache)
{
	if (!cache)
		return;
	if (cache->writable != MAP_FAILED)
		munmap(cache->writable, THUNK_CODE_BYTES);
	if (cache->executable != MAP_FAILED)
		munmap((void *)(uintptr_t)cache->executable, THUNK_CODE_BYTES);
	free(cache);
}
