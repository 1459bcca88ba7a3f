/*
 * How blocks end: direct branches become links, which lead to a stub until their target is known;
 * indirect ones go through the jump cache, with the target in R11 and the flags in memory.
 *
 * Within a page a link goes to its target's body, or to its poll if it leads backward. Into another
 * page it goes to the target's guard, for which the flags have to be in memory.
 */
#include "engine/soft/translator.h"

static const struct place_in_memory below_top = { .base = X86_RSP, .disp = -8 };
static const struct place_in_memory top = { .base = X86_RSP };

static uint32_t new_link(struct work *work, gva_t target, unsigned set)
{
	struct translator *translator = work->translator;

	translator->links[translator->nr_links] = (struct link){
		.from = (uint32_t)(work->translation - translator->translations),
		.target = target,
		.set = (uint8_t)set,
		.in_page = set == work->set && work_in_page(work, target),
		.backward = target <= work->rip,
		.flags_in_host = work->flags_in_host,
	};
	return translator->nr_links++;
}

void work_link_to_set(struct work *work, gva_t target, unsigned set)
{
	if (set != work->set || !work_in_page(work, target))
		work_save_flags(work);
	work_stub(work, emit_jump(&work->emitter), EXIT_LINK, new_link(work, target, set), false);
}

void work_leave_group(struct work *work, uint8_t *at)
{
	uint32_t link = new_link(work, work->rip, work->set);

	work->translator->links[link].insn = (uint8_t)work->n;
	work->translator->links[link].backward = false;
	work_stub(work, at, EXIT_GROUP, link, false);
}

void work_link(struct work *work, gva_t target)
{
	work_link_to_set(work, target, work->set);
}

void work_jcc(struct work *work, const struct insn *insn)
{
	gva_t target = work->next_rip + insn->imm;
	uint8_t *at;
	bool save;

	work_restore_flags(work, TEMP_A);
	save = !work_in_page(work, target) && !work->flags_in_memory;
	at = emit_jcc(&work->emitter, insn->opcode & 15);
	work_stub(work, at, EXIT_LINK, new_link(work, target, work->set), save);
	if (work->n + 1 == work->nr_insns)
		work_link(work, work->next_rip);
}

void work_jmp(struct work *work, const struct insn *insn)
{
	work_link(work, work->next_rip + insn->imm);
}

void work_jump_r11(struct work *work, unsigned set)
{
	struct emitter *emitter = &work->emitter;

	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	emit_u8(emitter, 0x41); /* and r10d, mask */
	emit_u8(emitter, 0x81);
	emit_u8(emitter, 0xe2);
	emit_u32(emitter, JUMP_CACHE_SIZE - 1);
	emit_u8(emitter, 0x65); /* jmp gs:[r10*8 + cache] */
	emit_u8(emitter, 0x42);
	emit_u8(emitter, 0xff);
	emit_u8(emitter, 0x24);
	emit_u8(emitter, 0xd5);
	emit_u32(emitter, (uint32_t)(offsetof(struct vcpu, translate.jump_cache) +
				     set * JUMP_CACHE_SIZE * sizeof(uint64_t)));
}

/* R11 is the target: #GP is the interpreter's to raise, while nothing has happened yet. */
void work_check_canonical(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	emit_u8(emitter, 0x49); /* shl r10, 16 */
	emit_u8(emitter, 0xc1);
	emit_u8(emitter, 0xe2);
	emit_u8(emitter, 16);
	emit_u8(emitter, 0x49); /* sar r10, 16 */
	emit_u8(emitter, 0xc1);
	emit_u8(emitter, 0xfa);
	emit_u8(emitter, 16);
	emit_register_op(emitter, OPCODE_CMP, TEMP_B, TEMP_A);
	work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	work->flags_in_host = false;
}

static void load_operand_register(struct work *work, const struct insn *insn)
{
	if (is_in_memory(insn->rm))
		emit_load_gpr(&work->emitter, TEMP_A, insn->rm);
	else
		emit_register_op(&work->emitter, OPCODE_LOAD, TEMP_A, insn->rm);
	work_check_canonical(work);
}

static void load_operand_memory(struct work *work, const struct insn *insn)
{
	struct emit_memory memory =
		work_check(work, (struct place_in_memory){ .insn = insn }, 8, false);

	emit_memory_op(&work->emitter, OPCODE_LOAD, TEMP_A, memory);
	work_check_canonical(work);
}

void work_jmp_operand(struct work *work, const struct insn *insn)
{
	work_save_flags(work);
	if (insn->has_memory)
		load_operand_memory(work, insn);
	else
		load_operand_register(work, insn);
	work_jump_r11(work, work->set);
}

static void emit_lea_rsp(struct emitter *emitter, int32_t disp)
{
	emit_memory_op(emitter, OPCODE_LEA, X86_RSP,
		(struct emit_memory){ X86_RSP, EMIT_NO_REGISTER, disp });
}

/* Writes the return address, with RSP still to be moved. */
static void store_return_address(struct work *work)
{
	struct emitter *emitter = &work->emitter;
	struct emit_memory memory = work_check(work, below_top, 8, true);

	emit_load_immediate(emitter, TEMP_A, work->next_rip);
	emit_memory_op(emitter, OPCODE_STORE, TEMP_A, memory);
}

void work_call(struct work *work, const struct insn *insn)
{
	store_return_address(work);
	emit_lea_rsp(&work->emitter, -8);
	work_link(work, work->next_rip + insn->imm);
}

void work_call_operand(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);

	work_save_flags(work);
	if (insn->has_memory)
		load_operand_memory(work, insn);
	else
		load_operand_register(work, insn);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, spill);
	store_return_address(work);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, spill);
	emit_lea_rsp(emitter, -8);
	work_jump_r11(work, work->set);
}

void work_ret(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	bool has_immediate = insn_row(insn)->immediate[0] != ISA_SIZE_NONE;
	struct emit_memory memory;

	work_save_flags(work);
	memory = work_check(work, top, 8, false);
	emit_memory_op(emitter, OPCODE_LOAD, TEMP_A, memory);
	work_check_canonical(work);
	emit_lea_rsp(emitter, 8 + (has_immediate ? (uint16_t)insn->imm : 0));
	work_jump_r11(work, work->set);
}

/* The interpreter executes the instruction. */
void work_exit_insn(struct work *work)
{
	work_stub(work, emit_jump(&work->emitter), EXIT_INSN, 0, false);
	/* Where it goes on, the flags are in both places. */
	work->flags_in_host = work->flags_in_memory = true;
}
