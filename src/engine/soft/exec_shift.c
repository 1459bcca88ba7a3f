/*
 * Shifts and rotates: ROL, ROR, RCL, RCR, SHL, SHR, SAR, SHLD, SHRD (SDM 2).
 *
 * A count that masks to 0 leaves the flags alone but is a write nonetheless; the host does both.
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

#define SHIFT(name, s)                                                                             \
	static inline operand_##s name##_##s(struct vcpu *vcpu, operand_##s a, uint8_t count)      \
	{                                                                                          \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		asm(FLAGS_LOAD #name " %%cl, %[a]" FLAGS_SAVE                                      \
			: [a] "+&r"(a), "+&a"(flags)                                               \
			: "c"(count));                                                             \
		flags_set_image(vcpu, flags);                                                      \
		return a;                                                                          \
	}

#define SHIFT_E_R(name, by, count, s)                                                              \
	EXEC(exec_##name##_##by##_##s##_r)                                                         \
	{                                                                                          \
		reg_write_##s(                                                                     \
			vcpu, insn->rm, name##_##s(vcpu, reg_read_##s(vcpu, insn->rm), count));    \
	}
#define SHIFT_E_M(name, by, count, s)                                                              \
	EXEC(exec_##name##_##by##_##s##_m)                                                         \
	{                                                                                          \
		struct rmw rmw;                                                                    \
		volatile operand_##s *a = rmw_begin(vcpu, insn, &rmw, sizeof(*a), false);          \
                                                                                                   \
		*a = name##_##s(vcpu, *a, count);                                                  \
		rmw_end(vcpu, &rmw, sizeof(*a));                                                   \
	}

#define CL    ((uint8_t)vcpu->gpr[X86_RCX])
#define IMM_8 ((uint8_t)insn->imm)

#define SHIFT_SIZE(name, s)                                                                        \
	SHIFT(name, s)                                                                             \
	SHIFT_E_R(name, 1, 1, s)                                                                   \
	SHIFT_E_M(name, 1, 1, s)                                                                   \
	SHIFT_E_R(name, cl, CL, s)                                                                 \
	SHIFT_E_M(name, cl, CL, s)                                                                 \
	SHIFT_E_R(name, imm, IMM_8, s)                                                             \
	SHIFT_E_M(name, imm, IMM_8, s)
#define SHIFT_ALL(name)                                                                            \
	SHIFT_SIZE(name, b)                                                                        \
	SHIFT_SIZE(name, w)                                                                        \
	SHIFT_SIZE(name, l)                                                                        \
	SHIFT_SIZE(name, q)

SHIFT_ALL(rol)
SHIFT_ALL(ror)
SHIFT_ALL(rcl)
SHIFT_ALL(rcr)
SHIFT_ALL(shl)
SHIFT_ALL(shr)
SHIFT_ALL(sar)

#define DOUBLE_SHIFT(name, s)                                                                      \
	static inline operand_##s name##_##s(                                                      \
		struct vcpu *vcpu, operand_##s a, operand_##s b, uint8_t count)                    \
	{                                                                                          \
		uint32_t flags = flags_image(vcpu);                                                \
                                                                                                   \
		asm(FLAGS_LOAD #name " %%cl, %[b], %[a]" FLAGS_SAVE                                \
			: [a] "+&r"(a), "+&a"(flags)                                               \
			: [b] "r"(b), "c"(count));                                                 \
		flags_set_image(vcpu, flags);                                                      \
		return a;                                                                          \
	}
#define DOUBLE_SHIFT_E(name, by, count, s)                                                         \
	EXEC(exec_##name##_##by##_##s##_r)                                                         \
	{                                                                                          \
		operand_##s b = reg_read_##s(vcpu, insn->reg);                                     \
                                                                                                   \
		reg_write_##s(                                                                     \
			vcpu, insn->rm, name##_##s(vcpu, reg_read_##s(vcpu, insn->rm), b, count)); \
	}                                                                                          \
	EXEC(exec_##name##_##by##_##s##_m)                                                         \
	{                                                                                          \
		operand_##s b = reg_read_##s(vcpu, insn->reg);                                     \
		struct rmw rmw;                                                                    \
		volatile operand_##s *a = rmw_begin(vcpu, insn, &rmw, sizeof(*a), false);          \
                                                                                                   \
		*a = name##_##s(vcpu, *a, b, count);                                               \
		rmw_end(vcpu, &rmw, sizeof(*a));                                                   \
	}
#define DOUBLE_SHIFT_SIZE(name, s)                                                                 \
	DOUBLE_SHIFT(name, s)                                                                      \
	DOUBLE_SHIFT_E(name, cl, CL, s)                                                            \
	DOUBLE_SHIFT_E(name, imm, IMM_8, s)

DOUBLE_SHIFT_SIZE(shld, w)
DOUBLE_SHIFT_SIZE(shld, l)
DOUBLE_SHIFT_SIZE(shld, q)
DOUBLE_SHIFT_SIZE(shrd, w)
DOUBLE_SHIFT_SIZE(shrd, l)
DOUBLE_SHIFT_SIZE(shrd, q)
