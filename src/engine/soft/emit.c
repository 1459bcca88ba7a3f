/*
 * Encodings of the host instructions that translated code is made of (SDM 2A 2.1, 2.2).
 */
#include "engine/soft/emit.h"

#define PREFIX_GS 0x65
#define REX_W     0x48
#define REX_R     0x04

static uint8_t rex_r(unsigned reg)
{
	return reg & 8 ? REX_R : 0;
}

void emit_modrm_memory(struct emitter *emitter, unsigned reg, struct emit_memory memory)
{
	unsigned field = (reg & 7) << 3, base = memory.base & 7;
	bool sib = memory.index != EMIT_NO_REGISTER || base == X86_RSP;
	unsigned mod;

	if (memory.base == EMIT_NO_REGISTER) {
		emit_u8(emitter, field | 4);
		emit_u8(emitter, 0x25);
		emit_u32(emitter, (uint32_t)memory.disp);
		return;
	}
	if (memory.disp == 0 && base != X86_RBP)
		mod = 0;
	else
		mod = fits_i8(memory.disp) ? 1 : 2;
	emit_u8(emitter, mod << 6 | field | (sib ? 4 : base));
	if (sib)
		emit_u8(emitter,
			(memory.index == EMIT_NO_REGISTER ? 4 : memory.index & 7) << 3 | base);
	if (mod == 1)
		emit_u8(emitter, (uint8_t)memory.disp);
	else if (mod == 2)
		emit_u32(emitter, (uint32_t)memory.disp);
}

void emit_memory_op(
	struct emitter *emitter, uint8_t opcode, unsigned reg, struct emit_memory memory)
{
	emit_u8(emitter, REX_W | rex_r(reg) | emit_memory_rex(memory));
	emit_u8(emitter, opcode);
	emit_modrm_memory(emitter, reg, memory);
}

static void emit_optional_rex(struct emitter *emitter, uint8_t rex)
{
	if (rex)
		emit_u8(emitter, 0x40 | rex);
}

void emit_sized_op(struct emitter *emitter, unsigned bytes, uint8_t opcode, unsigned reg,
	struct emit_memory memory)
{
	if (bytes == 2)
		emit_u8(emitter, 0x66);
	emit_optional_rex(emitter, (bytes == 8 ? 8 : 0) | rex_r(reg) | emit_memory_rex(memory));
	emit_u8(emitter, opcode);
	emit_modrm_memory(emitter, reg, memory);
}

void emit_load_sized(
	struct emitter *emitter, unsigned bytes, unsigned reg, struct emit_memory memory)
{
	if (bytes != 2) {
		emit_sized_op(emitter, bytes, OPCODE_LOAD, reg, memory);
		return;
	}
	emit_optional_rex(emitter, rex_r(reg) | emit_memory_rex(memory));
	emit_u8(emitter, 0x0f); /* movzx */
	emit_u8(emitter, 0xb7);
	emit_modrm_memory(emitter, reg, memory);
}

void emit_move_word(struct emitter *emitter, unsigned to, unsigned from)
{
	emit_u8(emitter, 0x66);
	emit_optional_rex(emitter, rex_r(to) | (from & 8 ? 1 : 0));
	emit_u8(emitter, OPCODE_LOAD);
	emit_u8(emitter, 0xc0 | (to & 7) << 3 | (from & 7));
}

void emit_move_sized(struct emitter *emitter, unsigned bytes, unsigned to, unsigned from)
{
	emit_optional_rex(emitter, (bytes == 8 ? 8 : 0) | rex_r(to) | (from & 8 ? 1 : 0));
	if (bytes == 2) {
		emit_u8(emitter, 0x0f);
		emit_u8(emitter, 0xb7);
	} else {
		emit_u8(emitter, OPCODE_LOAD);
	}
	emit_u8(emitter, 0xc0 | (to & 7) << 3 | (from & 7));
}

void emit_register_op(struct emitter *emitter, uint8_t opcode, unsigned reg, unsigned rm)
{
	emit_u8(emitter, REX_W | rex_r(reg) | (rm & 8 ? 1 : 0));
	emit_u8(emitter, opcode);
	emit_u8(emitter, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void emit_state_op(struct emitter *emitter, uint8_t opcode, unsigned reg, size_t offset)
{
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, REX_W | rex_r(reg));
	emit_u8(emitter, opcode);
	emit_u8(emitter, (reg & 7) << 3 | 4);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, (uint32_t)offset);
}

void emit_state_index_op(
	struct emitter *emitter, uint8_t opcode, unsigned reg, unsigned base, size_t offset)
{
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, REX_W | rex_r(reg) | (base & 8 ? 1 : 0));
	emit_u8(emitter, opcode);
	emit_u8(emitter, 0x80 | (reg & 7) << 3 | (base & 7));
	emit_u32(emitter, (uint32_t)offset);
}

void emit_load_immediate(struct emitter *emitter, unsigned reg, uint64_t value)
{
	uint8_t b = reg & 8 ? 1 : 0;

	if (value <= UINT32_MAX) {
		if (b)
			emit_u8(emitter, 0x40 | b);
		emit_u8(emitter, 0xb8 | (reg & 7));
		emit_u32(emitter, (uint32_t)value);
	} else if (fits_i32(value)) {
		emit_u8(emitter, REX_W | b);
		emit_u8(emitter, 0xc7);
		emit_u8(emitter, 0xc0 | (reg & 7));
		emit_u32(emitter, (uint32_t)value);
	} else {
		emit_u8(emitter, REX_W | b);
		emit_u8(emitter, 0xb8 | (reg & 7));
		emit_u64(emitter, value);
	}
}

static size_t gpr_offset(unsigned guest)
{
	return offsetof(struct vcpu, gpr) + guest * sizeof(uint64_t);
}

void emit_load_gpr(struct emitter *emitter, unsigned host, unsigned guest)
{
	emit_state_op(emitter, OPCODE_LOAD, host, gpr_offset(guest));
}

void emit_store_gpr(struct emitter *emitter, unsigned host, unsigned guest)
{
	emit_state_op(emitter, OPCODE_STORE, host, gpr_offset(guest));
}

void emit_store_state_u32(struct emitter *emitter, size_t offset, uint32_t value)
{
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, 0xc7);
	emit_u8(emitter, 0x04);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, (uint32_t)offset);
	emit_u32(emitter, value);
}

void emit_store_state_u16(struct emitter *emitter, size_t offset, uint16_t value)
{
	emit_u8(emitter, 0x66);
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, 0xc7);
	emit_u8(emitter, 0x04);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, (uint32_t)offset);
	emit_u16(emitter, value);
}

void emit_save_flags(struct emitter *emitter, unsigned temporary)
{
	static const uint8_t to_ax[] = { 0x9f, 0x0f, 0x90, 0xc0 }; /* lahf; seto al */

	emit_register_op(emitter, OPCODE_LOAD, temporary, X86_RAX);
	for (unsigned i = 0; i < sizeof(to_ax); i++)
		emit_u8(emitter, to_ax[i]);
	emit_u8(emitter, 0x66);
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, OPCODE_STORE);
	emit_u8(emitter, 0x04);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, offsetof(struct vcpu, flags_of));
	emit_register_op(emitter, OPCODE_LOAD, X86_RAX, temporary);
}

void emit_restore_flags(struct emitter *emitter, unsigned temporary)
{
	emit_register_op(emitter, OPCODE_LOAD, temporary, X86_RAX);
	emit_u8(emitter, PREFIX_GS); /* movzx eax, word */
	emit_u8(emitter, 0x0f);
	emit_u8(emitter, 0xb7);
	emit_u8(emitter, 0x04);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, offsetof(struct vcpu, flags_of));
	emit_u8(emitter, 0x04); /* add al, 0x7f; sahf */
	emit_u8(emitter, 0x7f);
	emit_u8(emitter, 0x9e);
	emit_register_op(emitter, OPCODE_LOAD, X86_RAX, temporary);
}

void emit_group(struct emitter *emitter, unsigned op, unsigned reg, uint32_t value)
{
	if (reg & 8)
		emit_u8(emitter, 0x41);
	emit_u8(emitter, 0x81);
	emit_u8(emitter, 0xc0 | op << 3 | (reg & 7));
	emit_u32(emitter, value);
}

void emit_test(struct emitter *emitter, unsigned reg, uint32_t value)
{
	if (reg & 8)
		emit_u8(emitter, 0x41);
	emit_u8(emitter, 0xf7);
	emit_u8(emitter, 0xc0 | (reg & 7));
	emit_u32(emitter, value);
}

void emit_shift(struct emitter *emitter, unsigned op, unsigned reg, unsigned count)
{
	if (reg & 8)
		emit_u8(emitter, 0x41);
	emit_u8(emitter, 0xc1);
	emit_u8(emitter, 0xc0 | op << 3 | (reg & 7));
	emit_u8(emitter, (uint8_t)count);
}

/* ModRM, SIB and displacement of GS:[offset]; the prefix comes first. */
static void emit_state_modrm(struct emitter *emitter, unsigned reg, size_t offset)
{
	emit_u8(emitter, (reg & 7) << 3 | 4);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, (uint32_t)offset);
}

void emit_state_group(struct emitter *emitter, unsigned op, size_t offset, uint32_t value)
{
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, 0x48);
	emit_u8(emitter, 0x81);
	emit_state_modrm(emitter, op, offset);
	emit_u32(emitter, value);
}

void emit_state_test(struct emitter *emitter, size_t offset, uint32_t value)
{
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, 0xf7);
	emit_state_modrm(emitter, 0, offset);
	emit_u32(emitter, value);
}

static void emit_movzx_state(struct emitter *emitter, uint8_t opcode, unsigned reg, size_t offset)
{
	emit_u8(emitter, PREFIX_GS);
	if (reg & 8)
		emit_u8(emitter, 0x44);
	emit_u8(emitter, 0x0f);
	emit_u8(emitter, opcode);
	emit_state_modrm(emitter, reg, offset);
}

void emit_load_state_u8(struct emitter *emitter, unsigned reg, size_t offset)
{
	emit_movzx_state(emitter, 0xb6, reg, offset);
}

void emit_load_state_u16(struct emitter *emitter, unsigned reg, size_t offset)
{
	emit_movzx_state(emitter, 0xb7, reg, offset);
}

void emit_store_state_i64(struct emitter *emitter, size_t offset, int32_t value)
{
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, REX_W);
	emit_u8(emitter, 0xc7);
	emit_state_modrm(emitter, 0, offset);
	emit_u32(emitter, (uint32_t)value);
}

void emit_store_state_u8(struct emitter *emitter, size_t offset, uint8_t value)
{
	emit_u8(emitter, PREFIX_GS);
	emit_u8(emitter, 0xc6);
	emit_state_modrm(emitter, 0, offset);
	emit_u8(emitter, value);
}

void emit_store_state_word(struct emitter *emitter, unsigned reg, size_t offset)
{
	emit_u8(emitter, 0x66);
	emit_u8(emitter, PREFIX_GS);
	if (reg & 8)
		emit_u8(emitter, 0x44);
	emit_u8(emitter, OPCODE_STORE);
	emit_state_modrm(emitter, reg, offset);
}

uint8_t *emit_jump(struct emitter *emitter)
{
	emit_u8(emitter, 0xe9);
	emit_u32(emitter, 0);
	return emitter->at - 4;
}

uint8_t *emit_jcc(struct emitter *emitter, unsigned condition)
{
	emit_u8(emitter, 0x0f);
	emit_u8(emitter, 0x80 | condition);
	emit_u32(emitter, 0);
	return emitter->at - 4;
}
