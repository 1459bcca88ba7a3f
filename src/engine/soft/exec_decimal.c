/*
 * Decimal arithmetic: AAA, AAS, AAM, AAD, DAA, DAS (SDM 2). Not in 64-bit mode.
 *
 * Flags the manual leaves undefined: AAA and AAS keep them, the others clear them.
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

/* SF, ZF and PF by `value`; the rest cleared. */
static void flags_by_result(struct vcpu *vcpu, uint8_t value)
{
	uint32_t flags;

	asm("test %[value], %[value]" FLAGS_SAVE : "=a"(flags) : [value] "q"(value));
	flags_set_image(vcpu, flags);
	flags_assign(vcpu, FLAGS_AF, false);
}

/* `sign` is 1 for AAA, -1 for AAS. */
static void ascii_adjust(struct vcpu *vcpu, int sign)
{
	uint16_t ax = (uint16_t)vcpu->gpr[X86_RAX];
	bool adjust = (ax & 0xf) > 9 || (vcpu->flags_low & FLAGS_AF);

	if (adjust)
		ax = (uint16_t)(ax + sign * 0x106);
	reg_write_w(vcpu, X86_RAX, ax & 0xff0f);
	flags_assign(vcpu, FLAGS_AF, adjust);
	flags_assign(vcpu, FLAGS_CF, adjust);
}

EXEC(exec_aaa)
{
	(void)insn;
	ascii_adjust(vcpu, 1);
}

EXEC(exec_aas)
{
	(void)insn;
	ascii_adjust(vcpu, -1);
}

EXEC(exec_aam)
{
	uint8_t base = (uint8_t)insn->imm, al = (uint8_t)vcpu->gpr[X86_RAX];

	if (base == 0)
		cpu_raise(vcpu, X86_DE);
	reg_write_w(vcpu, X86_RAX, (uint16_t)((al / base) << 8 | al % base));
	flags_by_result(vcpu, al % base);
}

EXEC(exec_aad)
{
	uint16_t ax = (uint16_t)vcpu->gpr[X86_RAX];
	uint8_t al = (uint8_t)(ax + (ax >> 8) * (uint8_t)insn->imm);

	reg_write_w(vcpu, X86_RAX, al);
	flags_by_result(vcpu, al);
}

static void decimal_adjust(struct vcpu *vcpu, int sign)
{
	uint8_t old = (uint8_t)vcpu->gpr[X86_RAX], al = old;
	bool carry_in = vcpu->flags_low & FLAGS_CF;
	bool low = (old & 0xf) > 9 || (vcpu->flags_low & FLAGS_AF);
	bool high = old > 0x99 || carry_in;
	bool carry = high;

	if (low) {
		al = (uint8_t)(al + sign * 6);
		carry |= sign < 0 && old < 6;
	}
	if (high)
		al = (uint8_t)(al + sign * 0x60);
	reg_write_b(vcpu, X86_RAX, al);
	flags_by_result(vcpu, al);
	flags_assign(vcpu, FLAGS_AF, low);
	flags_assign(vcpu, FLAGS_CF, carry);
}

EXEC(exec_daa)
{
	(void)insn;
	decimal_adjust(vcpu, 1);
}

EXEC(exec_das)
{
	(void)insn;
	decimal_adjust(vcpu, -1);
}
