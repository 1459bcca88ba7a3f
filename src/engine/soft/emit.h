/*
 * Host instructions for the translator.
 *
 * State is addressed through GS, whose base is the vCPU: offsets are those of struct vcpu.
 * Registers are numbered as the guest's.
 */
#ifndef ENGINE_SOFT_EMIT_H
#define ENGINE_SOFT_EMIT_H

#include "base/bits.h"
#include "base/types.h"
#include "engine/soft/mmu.h"

struct emitter {
	uint8_t *at;
};

#define EMIT_NO_REGISTER 0xff

/* [base + index + disp]; without a base, [disp]. */
struct emit_memory {
	uint8_t base, index;
	int32_t disp;
};

static inline void emit_u8(struct emitter *emitter, uint8_t value)
{
	*emitter->at++ = value;
}

static inline void emit_u16(struct emitter *emitter, uint16_t value)
{
	*(host_u16 *)emitter->at = value;
	emitter->at += 2;
}

static inline void emit_u32(struct emitter *emitter, uint32_t value)
{
	*(host_u32 *)emitter->at = value;
	emitter->at += 4;
}

static inline void emit_u64(struct emitter *emitter, uint64_t value)
{
	*(host_u64 *)emitter->at = value;
	emitter->at += 8;
}

static inline void emit_bytes(struct emitter *emitter, const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		emit_u8(emitter, bytes[i]);
}

static inline bool fits_i32(uint64_t value)
{
	return (uint64_t)(int64_t)(int32_t)value == value;
}

static inline bool fits_i8(int32_t value)
{
	return (int8_t)value == value;
}

/* ModRM, SIB and displacement; the REX bits are emit_memory_rex's. */
void emit_modrm_memory(struct emitter *emitter, unsigned reg, struct emit_memory memory);

static inline uint8_t emit_memory_rex(struct emit_memory memory)
{
	uint8_t rex = 0;

	if (memory.base != EMIT_NO_REGISTER && memory.base & 8)
		rex |= 1;
	if (memory.index != EMIT_NO_REGISTER && memory.index & 8)
		rex |= 2;
	return rex;
}

/* 64-bit `opcode` with a register and memory. */
void emit_memory_op(
	struct emitter *emitter, uint8_t opcode, unsigned reg, struct emit_memory memory);
/* `opcode` of 2, 4 or 8 bytes with a register and memory. */
void emit_sized_op(struct emitter *emitter, unsigned bytes, uint8_t opcode, unsigned reg,
	struct emit_memory memory);
/* MOV of 4 or 8 bytes, MOVZX of 2. */
void emit_load_sized(
	struct emitter *emitter, unsigned bytes, unsigned reg, struct emit_memory memory);
/* MOV of 2 bytes, which leaves the others alone. */
void emit_move_word(struct emitter *emitter, unsigned to, unsigned from);
void emit_move_sized(struct emitter *emitter, unsigned bytes, unsigned to, unsigned from);
/* 64-bit `opcode` with a register (ModRM.reg) and a register. */
void emit_register_op(struct emitter *emitter, uint8_t opcode, unsigned reg, unsigned rm);
/* 64-bit `opcode` with a register and GS:[offset]. */
void emit_state_op(struct emitter *emitter, uint8_t opcode, unsigned reg, size_t offset);
/* Likewise GS:[base + offset], of a base that is not RSP or R12. */
void emit_state_index_op(
	struct emitter *emitter, uint8_t opcode, unsigned reg, unsigned base, size_t offset);

#define OPCODE_ADD             0x03
#define OPCODE_OR              0x0b
#define OPCODE_OR_STORE        0x09
#define OPCODE_SUB             0x2b
#define OPCODE_XOR             0x33
#define OPCODE_AND             0x23
#define OPCODE_CMP             0x3b
#define OPCODE_CMP_STORE       0x39
#define OPCODE_TEST            0x85
#define OPCODE_STORE           0x89
#define OPCODE_LOAD            0x8b
#define OPCODE_LEA             0x8d
#define OPCODE_STORE_IMMEDIATE 0xc7

void emit_load_immediate(struct emitter *emitter, unsigned reg, uint64_t value);
void emit_load_gpr(struct emitter *emitter, unsigned host, unsigned guest);
void emit_store_gpr(struct emitter *emitter, unsigned host, unsigned guest);
/* MOV DWORD GS:[offset], value */
void emit_store_state_u32(struct emitter *emitter, size_t offset, uint32_t value);
void emit_store_state_u16(struct emitter *emitter, size_t offset, uint16_t value);

/* Between the host's flags and vcpu->flags_of and flags_low; RAX is kept in `temporary`. */
void emit_save_flags(struct emitter *emitter, unsigned temporary);
void emit_restore_flags(struct emitter *emitter, unsigned temporary);

/* The operations of 81, as its ModRM.reg: `op` reg, value, of 32 bits; TEST of 32 bits. */
#define GROUP_ADD 0
#define GROUP_OR  1
#define GROUP_ADC 2
#define GROUP_AND 4
#define GROUP_CMP 7
void emit_group(struct emitter *emitter, unsigned op, unsigned reg, uint32_t value);
void emit_test(struct emitter *emitter, unsigned reg, uint32_t value);
/* The same with QWORD GS:[offset] and the value's sign extended: what is next read as a whole is
 * written as a whole, or the load would wait for the store to leave the core. */
void emit_state_group(struct emitter *emitter, unsigned op, size_t offset, uint32_t value);
/* TEST DWORD GS:[offset], value */
void emit_state_test(struct emitter *emitter, size_t offset, uint32_t value);
/* SHL and SHR of 32 bits, as ModRM.reg of C1. */
#define SHIFT_LEFT  4
#define SHIFT_RIGHT 5
void emit_shift(struct emitter *emitter, unsigned op, unsigned reg, unsigned count);
/* MOVZX of 32 bits from a byte or a word at GS:[offset]. */
void emit_load_state_u8(struct emitter *emitter, unsigned reg, size_t offset);
void emit_load_state_u16(struct emitter *emitter, unsigned reg, size_t offset);
/* MOV QWORD GS:[offset], value, sign-extended; MOV BYTE; and WORD from a register. */
void emit_store_state_i64(struct emitter *emitter, size_t offset, int32_t value);
void emit_store_state_u8(struct emitter *emitter, size_t offset, uint8_t value);
void emit_store_state_word(struct emitter *emitter, unsigned reg, size_t offset);

/* JMP or Jcc rel32, to be bound later: returns where the rel32 is. */
uint8_t *emit_jump(struct emitter *emitter);
uint8_t *emit_jcc(struct emitter *emitter, unsigned condition);

#define CONDITION_B  2
#define CONDITION_AE 3
#define CONDITION_A  7
#define CONDITION_E  4
#define CONDITION_NE 5

static inline void emit_bind(uint8_t *rel32, const uint8_t *target)
{
	*(host_u32 *)rel32 = (uint32_t)(target - (rel32 + 4));
}

#endif
