/*
 * BT, BTS, BTR and BTC of memory with the bit's number in a register: the operand they access is
 * the one the bit is in, anywhere in memory (SDM 2 BT; SDM 1 table 3-1).
 */
#include "engine/soft/translator.h"

/* R10 = the guest's register, sign-extended from `bytes`. */
static void load_signed(struct emitter *emitter, unsigned gpr, unsigned bytes)
{
	static const uint8_t movsx_r10_r10w[] = { 0x4d, 0x0f, 0xbf, 0xd2 };
	static const uint8_t movsxd_r10_r10d[] = { 0x4d, 0x63, 0xd2 };

	if (is_in_memory(gpr))
		emit_load_gpr(emitter, TEMP_B, gpr);
	else
		emit_register_op(emitter, OPCODE_LOAD, TEMP_B, gpr);
	if (bytes == 2)
		emit_bytes(emitter, movsx_r10_r10w, sizeof(movsx_r10_r10w));
	else if (bytes == 4)
		emit_bytes(emitter, movsxd_r10_r10d, sizeof(movsxd_r10_r10d));
}

/* R11 = the linear address of the operand with the bit; its offset where code is not 64-bit. */
static void load_address(struct work *work, const struct insn *insn)
{
	static const uint8_t sar_r10_3[] = { 0x49, 0xc1, 0xfa, 3 };
	static const uint8_t and_r10[] = { 0x49, 0x83, 0xe2 };
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);

	load_signed(emitter, insn->reg, insn->operand_bytes);
	emit_bytes(emitter, sar_r10_3, sizeof(sar_r10_3));
	emit_bytes(emitter, and_r10, sizeof(and_r10));
	emit_u8(emitter, (uint8_t)-insn->operand_bytes);
	emit_state_op(emitter, OPCODE_STORE, TEMP_B, spill);
	if (mode_is_wide(work->mode))
		work_linear(work, insn);
	else
		work_offset(work, insn);
	emit_state_op(emitter, OPCODE_ADD, TEMP_A, spill);
	if (insn->address_bytes != 8)
		emit_move_sized(emitter, insn->address_bytes, TEMP_A, TEMP_A);
}

/* Both temporaries are in use. */
static void restore_flags(struct work *work)
{
	static const uint8_t add_al_7f_sahf[] = { 0x04, 0x7f, 0x9e };
	struct emitter *emitter = &work->emitter;
	size_t scratch = offsetof(struct vcpu, translate.scratch);

	if (work->flags_in_host || !work->live[work->n])
		return;
	emit_state_op(emitter, OPCODE_STORE, X86_RAX, scratch);
	emit_load_state_u16(emitter, X86_RAX, offsetof(struct vcpu, flags_of));
	emit_bytes(emitter, add_al_7f_sahf, sizeof(add_al_7f_sahf));
	emit_state_op(emitter, OPCODE_LOAD, X86_RAX, scratch);
}

/* The instruction with [R11] and R10. */
static void emit_insn(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;

	if (insn->prefixes & PREFIX_LOCK)
		emit_u8(emitter, 0xf0);
	if (insn->operand_bytes == 2)
		emit_u8(emitter, 0x66);
	emit_u8(emitter, insn->operand_bytes == 8 ? 0x4d : 0x45);
	emit_u8(emitter, 0x0f);
	emit_u8(emitter, insn->opcode);
	emit_u8(emitter, 0x13);
}

void work_bit_string(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	bool write = insn_row(insn)->memory & ISA_MEM_WRITE;
	struct emit_memory memory;

	work_before_clobber(work);
	load_address(work, insn);
	if (mode_is_wide(work->mode))
		memory = work_check_r11(work, insn->operand_bytes, write);
	else
		memory = work_check_offset_r11(work, insn->segment, insn->operand_bytes, write);
	emit_memory_op(emitter, OPCODE_LEA, TEMP_A, memory);
	load_signed(emitter, insn->reg, 8);
	emit_group(emitter, GROUP_AND, TEMP_B, 8u * insn->operand_bytes - 1);
	restore_flags(work);
	emit_insn(work, insn);
	work_flags_written(work);
}
