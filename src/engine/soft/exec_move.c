/*
 * MOV between general registers, memory and immediates, MOVZX, MOVSX, MOVSXD, MOVBE, MOVNTI, LEA,
 * BSWAP, CMOVcc, SETcc, XLAT, the sign extensions of RAX, and the flag moves (SDM 2).
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

#define MOV(s, k)                                                                                  \
	EXEC(exec_mov_e_g_##s##_##k)                                                               \
	{                                                                                          \
		rm_write_##s##_##k(vcpu, insn, reg_read_##s(vcpu, insn->reg));                     \
	}                                                                                          \
	EXEC(exec_mov_g_e_##s##_##k)                                                               \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg, rm_read_##s##_##k(vcpu, insn));                     \
	}                                                                                          \
	EXEC(exec_mov_e_i_##s##_##k)                                                               \
	{                                                                                          \
		rm_write_##s##_##k(vcpu, insn, (operand_##s)insn->imm);                            \
	}
FOR_OPERANDS(MOV)

/* A0..A3: the offset is an immediate of the address size. */
static gva_t moffs_linear(
	struct vcpu *vcpu, const struct insn *insn, unsigned bytes, enum mmu_access access)
{
	return segment_linear(
		vcpu, insn->segment, insn->imm & byte_mask(insn->address_bytes), bytes, access);
}

#define MOV_IMMEDIATE(s)                                                                           \
	EXEC(exec_mov_r_i_##s##_r)                                                                 \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg, (operand_##s)insn->imm);                            \
	}
#define MOV_OFFSET(s)                                                                              \
	EXEC(exec_mov_load_moffs_##s##_r)                                                          \
	{                                                                                          \
		unsigned bytes = sizeof(operand_##s);                                              \
		gva_t address = moffs_linear(vcpu, insn, bytes, MMU_READ);                         \
                                                                                                   \
		reg_write_##s(vcpu, X86_RAX, (operand_##s)mmu_read_sized(vcpu, address, bytes));   \
	}                                                                                          \
	EXEC(exec_mov_store_moffs_##s##_r)                                                         \
	{                                                                                          \
		unsigned bytes = sizeof(operand_##s);                                              \
		gva_t address = moffs_linear(vcpu, insn, bytes, MMU_WRITE);                        \
                                                                                                   \
		mmu_write_sized(vcpu, address, bytes, vcpu->gpr[X86_RAX]);                         \
	}
FOR_SIZES(MOV_IMMEDIATE)
FOR_SIZES(MOV_OFFSET)

#define MOVX_BYTE(s, k)                                                                            \
	EXEC(exec_movzx_b_##s##_##k)                                                               \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg, rm_read_b_##k(vcpu, insn));                         \
	}                                                                                          \
	EXEC(exec_movsx_b_##s##_##k)                                                               \
	{                                                                                          \
		reg_write_##s(                                                                     \
			vcpu, insn->reg, (operand_##s)(int64_t)(int8_t)rm_read_b_##k(vcpu, insn)); \
	}
#define MOVX_WORD(s, k)                                                                            \
	EXEC(exec_movzx_w_##s##_##k)                                                               \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg, rm_read_w_##k(vcpu, insn));                         \
	}                                                                                          \
	EXEC(exec_movsx_w_##s##_##k)                                                               \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg,                                                     \
			(operand_##s)(int64_t)(int16_t)rm_read_w_##k(vcpu, insn));                 \
	}
FOR_WIDE_OPERANDS(MOVX_BYTE)
FOR_WIDE_OPERANDS(MOVX_WORD)

/* The source has 32 bits whatever the operand size is. */
#define MOVSXD(k)                                                                                  \
	EXEC(exec_movsxd_w_##k)                                                                    \
	{                                                                                          \
		reg_write_w(vcpu, insn->reg, (uint16_t)rm_read_l_##k(vcpu, insn));                 \
	}                                                                                          \
	EXEC(exec_movsxd_l_##k)                                                                    \
	{                                                                                          \
		reg_write_l(vcpu, insn->reg, rm_read_l_##k(vcpu, insn));                           \
	}                                                                                          \
	EXEC(exec_movsxd_q_##k)                                                                    \
	{                                                                                          \
		reg_write_q(vcpu, insn->reg, sign_extend(rm_read_l_##k(vcpu, insn), 4));           \
	}
MOVSXD(r)
MOVSXD(m)

#define BYTE_SWAP_w __builtin_bswap16
#define BYTE_SWAP_l __builtin_bswap32
#define BYTE_SWAP_q __builtin_bswap64
#define MOVBE(s)                                                                                   \
	EXEC(exec_movbe_load_##s##_m)                                                              \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg, BYTE_SWAP_##s(rm_read_##s##_m(vcpu, insn)));        \
	}                                                                                          \
	EXEC(exec_movbe_store_##s##_m)                                                             \
	{                                                                                          \
		rm_write_##s##_m(vcpu, insn, BYTE_SWAP_##s(reg_read_##s(vcpu, insn->reg)));        \
	}
MOVBE(w)
MOVBE(l)
MOVBE(q)

/* With a 16-bit operand the result is undefined; the host decides. */
EXEC(exec_bswap_w_r)
{
	asm(".byte 0x66, 0x0f, 0xc8" : "+a"(vcpu->gpr[insn->reg])); /* bswap %ax */
}

EXEC(exec_bswap_l_r)
{
	reg_write_l(vcpu, insn->reg, __builtin_bswap32(reg_read_l(vcpu, insn->reg)));
}

EXEC(exec_bswap_q_r)
{
	reg_write_q(vcpu, insn->reg, __builtin_bswap64(reg_read_q(vcpu, insn->reg)));
}

EXEC(exec_movnti_l_m)
{
	rm_write_l_m(vcpu, insn, reg_read_l(vcpu, insn->reg));
}

EXEC(exec_movnti_q_m)
{
	rm_write_q_m(vcpu, insn, reg_read_q(vcpu, insn->reg));
}

#define LEA(s)                                                                                     \
	EXEC(exec_lea_##s##_m)                                                                     \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg, (operand_##s)insn_offset(vcpu, insn));              \
	}
FOR_WIDE_SIZES(LEA)

/* A memory source is read, and a 32-bit destination's upper half cleared, whatever the condition.
 */
#define CMOV(s, k, name, condition)                                                                \
	EXEC(exec_cmov##name##_##s##_##k)                                                          \
	{                                                                                          \
		operand_##s value = rm_read_##s##_##k(vcpu, insn);                                 \
                                                                                                   \
		if (!flags_condition(vcpu, condition))                                             \
			value = reg_read_##s(vcpu, insn->reg);                                     \
		reg_write_##s(vcpu, insn->reg, value);                                             \
	}
#define CONDITIONAL_MOVE(name, condition)                                                          \
	CMOV(w, r, name, condition)                                                                \
	CMOV(l, r, name, condition)                                                                \
	CMOV(q, r, name, condition)                                                                \
	CMOV(w, m, name, condition)                                                                \
	CMOV(l, m, name, condition)                                                                \
	CMOV(q, m, name, condition)                                                                \
	EXEC(exec_set##name##_b_r)                                                                 \
	{                                                                                          \
		rm_write_b_r(vcpu, insn, flags_condition(vcpu, condition));                        \
	}                                                                                          \
	EXEC(exec_set##name##_b_m)                                                                 \
	{                                                                                          \
		rm_write_b_m(vcpu, insn, flags_condition(vcpu, condition));                        \
	}
FOR_CONDITIONS(CONDITIONAL_MOVE)

EXEC(exec_xlat)
{
	uint64_t offset = vcpu->gpr[X86_RBX] + (uint8_t)vcpu->gpr[X86_RAX];
	gva_t address = segment_linear(
		vcpu, insn->segment, offset & byte_mask(insn->address_bytes), 1, MMU_READ);

	reg_write_b(vcpu, X86_RAX, mmu_read_u8(vcpu, address));
}

/* CBW, CWDE, CDQE; CWD, CDQ, CQO. */
#define SIGN_EXTEND(s)                                                                             \
	EXEC(exec_cbw_##s##_r)                                                                     \
	{                                                                                          \
		(void)insn;                                                                        \
		reg_write_##s(vcpu, X86_RAX,                                                       \
			(operand_##s)sign_extend(vcpu->gpr[X86_RAX], sizeof(operand_##s) / 2));    \
	}                                                                                          \
	EXEC(exec_cwd_##s##_r)                                                                     \
	{                                                                                          \
		bool negative = sign_extend(vcpu->gpr[X86_RAX], sizeof(operand_##s)) >> 63;        \
                                                                                                   \
		(void)insn;                                                                        \
		reg_write_##s(vcpu, X86_RDX, (operand_##s) - (operand_##s)negative);               \
	}
FOR_WIDE_SIZES(SIGN_EXTEND)

EXEC(exec_lahf)
{
	(void)insn;
	*gpr8_pointer(vcpu, INSN_HIGH_BYTE) = (uint8_t)((vcpu->flags_low & 0xd5) | RFLAGS_ONE);
}

EXEC(exec_sahf)
{
	(void)insn;
	vcpu->flags_low = *gpr8_pointer(vcpu, INSN_HIGH_BYTE) & 0xd5;
}

EXEC(exec_clc)
{
	(void)insn;
	flags_assign(vcpu, FLAGS_CF, false);
}

EXEC(exec_stc)
{
	(void)insn;
	flags_assign(vcpu, FLAGS_CF, true);
}

EXEC(exec_cmc)
{
	(void)insn;
	vcpu->flags_low ^= FLAGS_CF;
}

EXEC(exec_cld)
{
	(void)insn;
	vcpu->flags_system &= ~RFLAGS_DF;
}

EXEC(exec_std)
{
	(void)insn;
	vcpu->flags_system |= RFLAGS_DF;
}

/* D6, undocumented: AL = -CF. */
EXEC(exec_salc)
{
	(void)insn;
	reg_write_b(vcpu, X86_RAX, vcpu->flags_low & FLAGS_CF ? 0xff : 0);
}
