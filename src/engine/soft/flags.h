/*
 * Arithmetic flags by the host's ALU.
 *
 * The host has the guest's instructions, so an instruction's flags are what the host's own
 * instruction leaves, the undefined ones included. FLAGS_SAVE after it stores them in AX: LAHF's
 * byte in AH, OF in AL, the layout of vcpu->flags_of and flags_low. FLAGS_LOAD is the inverse, for
 * instructions that read flags or leave some alone; FLAGS_LOAD_CF does CF only and is cheaper.
 * PUSHFQ and POPFQ would cost ten times as much.
 *
 * Within an asm statement the image is the operand "+a" (or "=a" where no flag is loaded), and
 * nothing between FLAGS_LOAD and the instruction may change flags or RAX.
 */
#ifndef ENGINE_SOFT_FLAGS_H
#define ENGINE_SOFT_FLAGS_H

#include "engine/soft/vcpu.h"

#define FLAGS_SAVE    "\n\tlahf\n\tseto %%al"
#define FLAGS_LOAD    "addb $0x7f, %%al\n\tsahf\n\t"
#define FLAGS_LOAD_CF "btl $8, %%eax\n\t"

/* Bits of vcpu->flags_low. */
#define FLAGS_CF 0x01
#define FLAGS_PF 0x04
#define FLAGS_AF 0x10
#define FLAGS_ZF 0x40
#define FLAGS_SF 0x80

static inline uint32_t flags_image(const struct vcpu *vcpu)
{
	return vcpu->flags_of | (uint32_t)vcpu->flags_low << 8;
}

static inline void flags_set_image(struct vcpu *vcpu, uint32_t image)
{
	vcpu->flags_of = (uint8_t)image;
	vcpu->flags_low = (uint8_t)(image >> 8);
}

static inline void flags_assign(struct vcpu *vcpu, uint8_t flag, bool set)
{
	vcpu->flags_low = set ? vcpu->flags_low | flag : vcpu->flags_low & ~flag;
}

/* The condition of Jcc, SETcc and CMOVcc: the low four bits of the opcode (SDM 1 appendix B). */
static inline bool flags_condition(const struct vcpu *vcpu, unsigned condition)
{
	uint8_t low = vcpu->flags_low;
	bool less = (low >> 7) != vcpu->flags_of;
	bool holds;

	switch (condition >> 1) {
	case 0: holds = vcpu->flags_of; break;
	case 1: holds = low & FLAGS_CF; break;
	case 2: holds = low & FLAGS_ZF; break;
	case 3: holds = low & (FLAGS_CF | FLAGS_ZF); break;
	case 4: holds = low & FLAGS_SF; break;
	case 5: holds = low & FLAGS_PF; break;
	case 6: holds = less; break;
	default: holds = less || (low & FLAGS_ZF);
	}
	return holds != (condition & 1);
}

/* Calls X(name, condition) for each condition, named as the disassembler names it. */
#define FOR_CONDITIONS(X)                                                                          \
	X(o, 0)                                                                                    \
	X(no, 1)                                                                                   \
	X(b, 2)                                                                                    \
	X(nb, 3)                                                                                   \
	X(z, 4)                                                                                    \
	X(nz, 5)                                                                                   \
	X(be, 6)                                                                                   \
	X(nbe, 7)                                                                                  \
	X(s, 8)                                                                                    \
	X(ns, 9)                                                                                   \
	X(p, 10)                                                                                   \
	X(np, 11)                                                                                  \
	X(l, 12)                                                                                   \
	X(nl, 13)                                                                                  \
	X(le, 14)                                                                                  \
	X(nle, 15)

#endif
